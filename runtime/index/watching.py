"""Keep an index up to date while the computer is used for something else.

Events only say that something changed; what changed is found by the ordinary scan, which also runs
from time to time because events get lost. One run at a time; a burst of changes is one run.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from embedge.models.errors import Cancelled, EmbedgeError
from embedge.runtime.cancel import CancelToken
from embedge.runtime.index.results import IndexStatus, UpdateReport
from embedge.runtime.index.volumes import is_network_path
from embedge.runtime.progress import ProgressCallback

INTERVAL_S = 900.0
DEBOUNCE_S = 2.0

_POLL_S = 60.0
"""Between looks at folders whose events we do not get: no watchfiles, or a network drive."""

_MOST_SHARE = 0.01
"""Of the time that looks without a result may take: idle costs less than one percent."""

_LONGEST_BURST_S = 30.0
"""After so long a run begins although files still change."""

_TICK_S = 0.25
"""How soon a cancelled watch ends."""


class Updatable(Protocol):
    """What is watched: an `Index`."""

    path: Path

    def update(
        self,
        collections: Sequence[str] | None = None,
        *,
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
    ) -> UpdateReport:
        """Look for changes and embed them."""
        ...

    def status(self) -> IndexStatus:
        """Say what the index holds."""
        ...


class Changes(Protocol):
    """Events of folders."""

    def wait(self, seconds: float) -> bool:
        """Wait for a change, at most so long; True if there was one."""
        ...

    def close(self) -> None:
        """Stop watching."""
        ...


OpenChanges = Callable[[Sequence[str], Path, CancelToken], Changes]


class WatchedFolders:
    """Events from the operating system, through watchfiles."""

    def __init__(self, folders: Sequence[str], database: Path, cancel: CancelToken) -> None:
        """Watch folders; changes of the index's own files are no changes.

        Raises:
            OSError: a folder is gone, or the system watches no more folders.
        """
        import watchfiles

        self._database = str(database)
        self._changes = watchfiles.watch(
            *folders,
            watch_filter=lambda _kind, path: not path.startswith(self._database),
            debounce=200,
            step=50,
            rust_timeout=round(_TICK_S * 1000),
            yield_on_timeout=True,
            raise_interrupt=False,
            ignore_permission_denied=True,
            stop_event=_Stop(cancel),
        )
        # A generator begins to watch when it is first asked; what it tells then counts, too.
        self._early = bool(next(self._changes, None))

    def wait(self, seconds: float) -> bool:
        """Wait for a change; the generator returns at least once per tick."""
        if self._early:
            self._early = False
            return True
        end = time.monotonic() + seconds
        while True:
            changes = next(self._changes, None)
            if changes is None or time.monotonic() >= end:
                return bool(changes)
            if changes:
                return True

    def close(self) -> None:
        """Stop watching."""
        self._changes.close()


class NoEvents:
    """Nothing tells about changes: waiting only."""

    def __init__(self, cancel: CancelToken) -> None:
        self._cancel = cancel

    def wait(self, seconds: float) -> bool:
        """Wait, in ticks so that a cancelled watch ends soon."""
        end = time.monotonic() + seconds
        while not self._cancel.cancelled and (left := end - time.monotonic()) > 0:
            time.sleep(min(_TICK_S, left))
        return False

    def close(self) -> None:
        """Nothing to stop."""


class _Stop:
    """A CancelToken in the shape that watchfiles asks for."""

    def __init__(self, cancel: CancelToken) -> None:
        self._cancel = cancel

    def is_set(self) -> bool:
        return self._cancel.cancelled


def watch(
    index: Updatable,
    *,
    collections: Sequence[str] | None = None,
    interval_s: float = INTERVAL_S,
    debounce_s: float = DEBOUNCE_S,
    cancel: CancelToken,
    on_run: Callable[[UpdateReport], None],
    on_problem: Callable[[Exception], None],
    progress: ProgressCallback | None = None,
    open_changes: OpenChanges = WatchedFolders,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Update an index when its folders change, until the token is used.

    Args:
        index: open for writing.
        collections: names; all of them by default.
        interval_s: between full looks, whether there were events or not.
        debounce_s: a run begins when nothing has changed for so long.
        cancel: ends the watch and a run in it; what was finished is kept.
        on_run: called with the report of each run.
        on_problem: called when a later run fails (the drive is full, another process writes) or
            when folders cannot be watched; the watch goes on.
        progress: of the runs.
        open_changes: where events come from.
        clock: seconds.

    Raises:
        EmbedgeError, OSError: the first run failed.
    """
    watcher = _Watch(index, collections, cancel, on_problem, open_changes, clock)
    is_first = True
    try:
        while not cancel.cancelled:
            watcher.open()  # before the run: nothing that changes meanwhile is missed
            begun = clock()
            try:
                on_run(index.update(collections, progress=progress, cancel=cancel))
            except Cancelled:
                return
            except (EmbedgeError, OSError) as error:
                if is_first:
                    raise
                on_problem(error)
            is_first = False
            watcher.wait(interval_s, debounce_s, last_run_s=clock() - begun)
    finally:
        watcher.close()


class _Watch:
    def __init__(
        self,
        index: Updatable,
        collections: Sequence[str] | None,
        cancel: CancelToken,
        on_problem: Callable[[Exception], None],
        open_changes: OpenChanges,
        clock: Callable[[], float],
    ) -> None:
        self._index = index
        self._collections = None if collections is None else frozenset(collections)
        self._cancel = cancel
        self._on_problem = on_problem
        self._open_changes = open_changes
        self._clock = clock
        self._changes: Changes | None = None
        self._watched: dict[str, tuple[int, int]] = {}
        self._polls = True  # some folder has no events

    def open(self) -> None:
        """Watch the folders that are there now: they come and go with their drives."""
        folders = dict(self._folders())
        local = {path: where for path, where in folders.items() if not is_network_path(Path(path))}
        if self._changes is None or local != self._watched:
            self.close()
            self._watched = local
            self._changes, has_events = self._open(sorted(local))
            self._polls = not has_events or local != folders

    def wait(self, interval_s: float, debounce_s: float, *, last_run_s: float) -> None:
        """Return when another run is due."""
        changes = self._changes
        assert changes is not None
        if self._polls:
            interval_s = min(interval_s, max(_POLL_S, last_run_s / _MOST_SHARE))
        end = self._clock() + interval_s
        while not self._cancel.cancelled and (left := end - self._clock()) > 0:
            if changes.wait(left):
                self._wait_for_quiet(changes, debounce_s)
                return

    def close(self) -> None:
        """Stop watching."""
        if self._changes is not None:
            self._changes.close()
            self._changes = None

    def _wait_for_quiet(self, changes: Changes, debounce_s: float) -> None:
        end = self._clock() + max(_LONGEST_BURST_S, debounce_s)
        while not self._cancel.cancelled and self._clock() < end:
            if not changes.wait(debounce_s):
                return

    def _open(self, folders: Sequence[str]) -> tuple[Changes, bool]:
        if not folders or find_spec("watchfiles") is None:
            return NoEvents(self._cancel), False
        try:
            return self._open_changes(folders, self._index.path, self._cancel), True
        except OSError as error:
            self._on_problem(error)
            return NoEvents(self._cancel), False

    def _folders(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """Yield each folder that is there, and what it is: a drive may be back under its name."""
        for collection in self._index.status().collections:
            if self._collections is not None and collection.name not in self._collections:
                continue
            for root in collection.roots:
                try:
                    status = Path(root.path).stat()
                except OSError:  # away; the scan says so
                    continue
                yield root.path, (status.st_dev, status.st_ino)
