"""Compare what lies under the roots with what the index knows; looks only, writes nothing.

Files are opened only where size, times or inode say that they may have changed, or where one may
be a file that is missing elsewhere. New and missing files are matched as moves after all roots
were looked at.
"""

import os
import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embedge.models.durable import file_sha256
from embedge.models.errors import InputError
from embedge.runtime.cancel import CancelToken
from embedge.runtime.index.connection import now_ms
from embedge.runtime.index.rows import RootRow, Selection
from embedge.runtime.index.tree import RootView, Seen, Stat, look
from embedge.runtime.read_errors import read_error

SKIPPED_REASONS = frozenset({"binary", "too_large", "no_text", "empty", "missing_extra"})
"""Reasons for which a file is no error; every other reason is one."""

_RETRIED = frozenset({"changed_while_reading", "vanished", "permission"})
_RACY_MS = 2_000
_MANY_LOST = 100


@dataclass(frozen=True)
class Known:
    """A row of `files`."""

    id: int
    root_id: int
    rel_path: str
    stat: Stat | None
    sha256: bytes | None
    state: str
    reason: str | None
    message: str | None
    scanned_ms: int


@dataclass(frozen=True)
class Change:
    """One file whose row is to change.

    Attributes:
        file_id: None for a new file.
        state: the new one.
        kind: `new`, `changed`, `moved`, `returned`, `touched`, `failed` or `missing`.
    """

    file_id: int | None
    root_id: int
    rel_path: str
    stat: Stat | None
    state: str
    kind: str
    reason: str | None = None
    message: str | None = None


@dataclass
class Scan:
    """What was found.

    Attributes:
        changes: rows to write.
        members: files of each collection, as (root id, path below it).
        online, offline: the roots looked at; nothing under the latter is touched.
        kept: known files that are online but were not looked at (unlisted folders), by id.
        n_seen: files looked at.
        warnings: lines for the user.
    """

    changes: list[Change] = field(default_factory=list)
    members: dict[int, set[tuple[int, str]]] = field(default_factory=dict)
    online: dict[int, str | None] = field(default_factory=dict)
    offline: dict[int, str] = field(default_factory=dict)
    kept: set[int] = field(default_factory=set)
    n_seen: int = 0
    warnings: list[str] = field(default_factory=list)
    scanned_ms: int = 0

    def count(self, kind: str, state: str | None = None) -> int:
        """Return the number of changes of a kind, and to a state."""
        return sum(change.kind == kind and state in (None, change.state) for change in self.changes)


Wanted = Mapping[RootRow, Sequence[tuple[int, Selection]]]
"""Per root: the collections that take files of it, and which."""


def scan(
    connection: sqlite3.Connection,
    wanted: Wanted,
    *,
    cancel: CancelToken,
    rescan: bool = False,
    accept_empty: Sequence[str] = (),
) -> Scan:
    """Look at every root.

    Args:
        connection: to read what is known.
        wanted: roots and what is taken of each.
        cancel: ends the scan.
        rescan: hash every file.
        accept_empty: roots that were really emptied.

    Raises:
        Cancelled: the token was used.
        InvalidOption: a pattern is not valid.
    """
    result = Scan(scanned_ms=now_ms())
    fresh: list[tuple[RootRow, str, Seen]] = []
    lost: list[Known] = []
    for root, collections in wanted.items():
        view = look(root, collections, cancel)
        known = known_files(connection, root.id)
        away = _why_offline(view, known, accepted=root.path in accept_empty)
        if away is not None:
            result.offline[root.id] = away
            continue
        result.online[root.id] = view.volume_id
        result.warnings += view.unlisted.values()
        for collection_id, paths in view.members.items():
            members = result.members.setdefault(collection_id, set())
            members.update((root.id, path) for path in paths)
        compare = _Comparison(result, root, cancel, rescan=rescan)
        for path, seen in view.seen.items():
            row = known.get(path)
            if row is None:
                fresh.append((root, path, seen))
            else:
                compare.known_file(row, seen)
        result.n_seen += len(view.seen)
        gone = compare.unseen_files(view, known)
        lost += gone
        _warn_of_loss(result, root, len(gone), len(known))
    _match_moves(connection, result, fresh, lost, cancel)
    return result


def known_files(connection: sqlite3.Connection, root_id: int) -> dict[str, Known]:
    """Return the rows of a root by path."""
    rows = connection.execute(f"SELECT {_KNOWN} FROM files WHERE root_id = ?", (root_id,))
    return {row[2]: _known(row) for row in rows}


class _Comparison:
    """Compares the files of one root with their rows."""

    def __init__(self, result: Scan, root: RootRow, cancel: CancelToken, *, rescan: bool) -> None:
        self._result, self._root = result, root
        self._cancel, self._rescan = cancel, rescan

    def known_file(self, row: Known, seen: Seen) -> None:
        """Find out whether a file that has a row is still the same."""
        if seen.failure is not None:
            self._failed(row, seen, seen.failure)
        elif row.state == "error" and row.reason in _RETRIED:
            self._add(row, seen.stat, "pending", "changed")
        elif row.state == "skipped" and row.reason == "too_large":
            self._add(row, seen.stat, "pending", "changed")
        elif row.stat != seen.stat or self._is_racy(row) or self._rescan:
            self._maybe_changed(row, seen)
        elif row.state == "missing":
            self._add(row, seen.stat, _state_before(row), "returned")

    def unseen_files(self, view: RootView, known: Mapping[str, Known]) -> list[Known]:
        """Return the files that are gone; one that was only deselected keeps its row."""
        gone = []
        for path, row in known.items():
            if path in view.seen or row.state == "missing":
                continue
            if view.is_unlisted(path):
                self._result.kept.add(row.id)
            elif not os.path.lexists(Path(self._root.path, path)):
                gone.append(row)
        return gone

    def _is_racy(self, row: Known) -> bool:
        """A file written just before it was read may have changed again in the same instant."""
        mtime_ms = row.stat.mtime_ns // 1_000_000 if row.stat else 0
        return row.sha256 is not None and mtime_ms > row.scanned_ms - _RACY_MS

    def _maybe_changed(self, row: Known, seen: Seen) -> None:
        self._cancel.raise_if_cancelled()
        if row.sha256 is None or row.stat is None or seen.stat is None:
            return self._add(row, seen.stat, "pending", "changed")
        if row.stat.size != seen.stat.size:
            return self._add(row, seen.stat, "pending", "changed")
        try:
            is_same = bytes.fromhex(file_sha256(seen.location)) == row.sha256
        except OSError as error:
            return self._failed(row, seen, read_error(row.rel_path, error, was_listed=True))
        if not is_same:
            self._add(row, seen.stat, "pending", "changed")
        elif row.state == "missing":
            self._add(row, seen.stat, _state_before(row), "returned")
        else:
            self._add(row, seen.stat, row.state, "touched", row.reason, row.message)

    def _failed(self, row: Known, seen: Seen, failure: InputError) -> None:
        state, message = state_of(failure), str(failure)
        if (row.state, row.reason, row.message) != (state, failure.code, message):
            self._add(row, seen.stat, state, "failed", failure.code, message)

    def _add(
        self,
        row: Known,
        stat: Stat | None,
        state: str,
        kind: str,
        reason: str | None = None,
        message: str | None = None,
    ) -> None:
        self._result.changes.append(
            Change(row.id, row.root_id, row.rel_path, stat, state, kind, reason, message)
        )


def state_of(failure: InputError) -> str:
    """Return the state of a file that cannot be read or is not for us."""
    return "skipped" if failure.code in SKIPPED_REASONS else "error"


def _why_offline(view: RootView, known: Mapping[str, Known], *, accepted: bool) -> str | None:
    """Return why a root counts as away, None if it does not."""
    path = view.root.path
    if "" in view.unlisted:
        return f"{path} cannot be listed; its files stay searchable until it is back"
    present = [row for row in known.values() if row.state != "missing"]
    if accepted or not present:
        return None
    n_seen = sum(row.rel_path in view.seen for row in present)
    volumes = (view.root.volume_id, view.volume_id)
    is_same_drive = None not in volumes and volumes[0] == volumes[1]
    if n_seen == 0 and not (view.seen and is_same_drive):
        # Where other files lie on the same drive, a folder was renamed. Files that patterns leave
        # out now are still there.
        if not any(os.path.lexists(Path(path, row.rel_path)) for row in present):
            return (
                f"{path} shows none of its {len(present)} files, as an unmounted drive does; they "
                "stay searchable. If you emptied it: "
                f"embed index update --accept-empty {path}"
            )
    if None not in volumes and not is_same_drive and n_seen * 2 < len(present):
        return (
            f"{path} lies on another drive than before and shows {n_seen} of {len(present)} files; "
            f"nothing was changed. If that is right: embed index update --accept-empty {path}"
        )
    return None


def _warn_of_loss(result: Scan, root: RootRow, n_lost: int, n_known: int) -> None:
    if n_lost > _MANY_LOST and n_lost * 2 > n_known:
        result.warnings.append(
            f"{root.path} lost {n_lost} of {n_known} files; they are hidden from search, and "
            "`embed index gc` forgets them after its grace time"
        )


def _match_moves(
    connection: sqlite3.Connection,
    result: Scan,
    fresh: Sequence[tuple[RootRow, str, Seen]],
    lost: Sequence[Known],
    cancel: CancelToken,
) -> None:
    """Tell moved files from new ones by their content; only equal sizes are hashed."""
    returned = {change.file_id for change in result.changes}
    rows = connection.execute(f"SELECT {_KNOWN} FROM files WHERE state = 'missing'")
    away = [row for row in map(_known, rows) if row.id not in returned]
    by_size: dict[int, list[Known]] = defaultdict(list)
    for row in [*lost, *away]:
        if row.sha256 is not None and row.stat is not None:
            by_size[row.stat.size].append(row)
    moved: set[int] = set()
    for root, path, seen in fresh:
        cancel.raise_if_cancelled()
        source = _moved_here(seen, path, by_size, moved)
        if source is not None:
            moved.add(source.id)
            state = _state_before(source) if source.state == "missing" else source.state
            reason, message = source.reason, source.message
            result.changes.append(
                Change(source.id, root.id, path, seen.stat, state, "moved", reason, message)
            )
        elif seen.failure is not None:
            result.changes.append(
                Change(
                    None, root.id, path, seen.stat, state_of(seen.failure), "failed",
                    seen.failure.code, str(seen.failure),
                )
            )  # fmt: skip
        else:
            result.changes.append(Change(None, root.id, path, seen.stat, "pending", "new"))
    result.changes += [
        Change(row.id, row.root_id, row.rel_path, None, "missing", "missing", row.reason)
        for row in lost
        if row.id not in moved
    ]


def _moved_here(
    seen: Seen, path: str, by_size: Mapping[int, list[Known]], moved: set[int]
) -> Known | None:
    if seen.stat is None or seen.failure is not None:
        return None
    candidates = [row for row in by_size.get(seen.stat.size, ()) if row.id not in moved]
    if not candidates:
        return None
    try:
        digest = bytes.fromhex(file_sha256(seen.location))
    except OSError:  # unreadable: the reading phase says why
        return None
    same = [row for row in candidates if row.sha256 == digest]
    name = path.rpartition("/")[2]
    return max(same, key=lambda row: row.rel_path.rpartition("/")[2] == name, default=None)


def _state_before(row: Known) -> str:
    """A missing file was read, skipped or failed before; its reason was kept."""
    if row.sha256 is None:
        return "pending"
    if row.reason is None:
        return "read"
    return "skipped" if row.reason in SKIPPED_REASONS else "error"


def _known(row: Sequence[Any]) -> Known:
    file_id, root_id, rel_path, size, mtime, ctime, inode, *rest = row
    stat = None if size is None else Stat(size, mtime, ctime, inode)
    sha256, state, reason, message, scanned = rest
    return Known(file_id, root_id, rel_path, stat, sha256, state, reason, message, scanned or 0)


_KNOWN = (
    "id, root_id, rel_path, size, mtime_ns, ctime_ns, inode, sha256, state, reason, message,"
    " scanned_ms"
)
