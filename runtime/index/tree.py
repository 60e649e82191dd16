"""What lies under the folders of an index now; looks only, writes nothing."""

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from embedge.models.errors import InputError
from embedge.runtime.cancel import CancelToken
from embedge.runtime.index.rows import RootRow, Selection
from embedge.runtime.walk import MAX_FILE_SIZE, FailedFile, Item, walk


@dataclass(frozen=True)
class Stat:
    """What tells that a file may have changed; `ctime_ns` is None where it means creation."""

    size: int
    mtime_ns: int
    ctime_ns: int | None
    inode: str

    @classmethod
    def of(cls, status: os.stat_result) -> "Stat":
        """Take the fields of `os.stat`."""
        ctime = None if sys.platform == "win32" else status.st_ctime_ns
        return cls(status.st_size, status.st_mtime_ns, ctime, str(status.st_ino))


@dataclass(frozen=True)
class Seen:
    """A file found; `failure` says why it cannot or shall not be read."""

    location: Path
    stat: Stat | None
    failure: InputError | None = None


@dataclass
class RootView:
    """One root as it lies there.

    Attributes:
        seen: files by path below the root, `/` separated.
        members: which of them each collection takes, by its id.
        unlisted: folders that could not be listed, ending with `/`; nothing is said about what is
            below them. "" is the root itself.
        volume_id: a hint, None where unknown.
    """

    root: RootRow
    seen: dict[str, Seen] = field(default_factory=dict)
    members: dict[int, set[str]] = field(default_factory=dict)
    unlisted: dict[str, str] = field(default_factory=dict)
    volume_id: str | None = None

    def is_unlisted(self, rel_path: str) -> bool:
        """Tell whether a path lies below a folder that could not be listed."""
        return any(rel_path.startswith(folder) for folder in self.unlisted)


def look(root: RootRow, wanted: Sequence[tuple[int, Selection]], cancel: CancelToken) -> RootView:
    """Walk a root for every collection that takes files of it.

    Raises:
        InvalidOption: a pattern is not valid.
        Cancelled: the token was used.
    """
    view = RootView(root, volume_id=_volume_id(root.path))
    if os.path.exists(root.path) and not os.path.isdir(root.path):
        view.unlisted[""] = f"{root.path} is no folder any more"
        return view
    limit = max((each.max_file_size or MAX_FILE_SIZE for _, each in wanted), default=MAX_FILE_SIZE)
    by_selection: dict[Selection, list[int]] = {}
    for collection_id, selection in wanted:
        by_selection.setdefault(selection, []).append(collection_id)
    for selection, ids in by_selection.items():
        taken = _take(view, _items(root.path, selection, limit), cancel)
        for collection_id in ids:
            view.members[collection_id] = taken
    return view


def _items(path: str, selection: Selection, limit: int) -> Iterable[Item]:
    return walk(
        [path],
        include=selection.include,
        exclude=selection.exclude,
        gitignore=selection.gitignore,
        hidden=selection.hidden,
        follow_symlinks=selection.follow_symlinks,
        max_file_size=limit,
    )


def _take(view: RootView, items: Iterable[Item], cancel: CancelToken) -> set[str]:
    """Add what a walk yields to the view; return the paths below the root."""
    prefix = _spelled(view.root.path)
    taken = set()
    for item in items:
        cancel.raise_if_cancelled()
        rel_path = item.path.removeprefix(prefix)
        if isinstance(item, FailedFile):
            location = Path(view.root.path, rel_path)
            if item.path.rstrip("/") == prefix.rstrip("/"):
                view.unlisted[""] = str(item.error)
            elif os.path.isdir(location):
                view.unlisted[rel_path + "/"] = str(item.error)
            else:
                view.seen[rel_path] = Seen(location, _stat(location), item.error)
                taken.add(rel_path)
            continue
        if rel_path not in view.seen:
            stat = _stat(item.location)
            if stat is None:  # gone since it was listed
                continue
            view.seen[rel_path] = Seen(item.location, stat)
        taken.add(rel_path)
    return taken


def _spelled(root: str) -> str:
    """Return the root as the walk spells it, with one `/` at its end."""
    return root.replace(os.sep, "/").rstrip("/") + "/"


def _stat(location: Path) -> Stat | None:
    try:
        return Stat.of(os.stat(location))
    except (OSError, ValueError):
        return None


def _volume_id(path: str) -> str | None:
    try:
        if sys.platform == "win32":
            return str(os.stat(path).st_dev)
        return str(os.statvfs(path).f_fsid or "") or None
    except OSError:
        return None
