"""From the paths that a user names to the files to read, in a fixed order."""

import os
import stat
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from embedge.models.errors import InputError
from embedge.runtime.ignore_files import (
    IGNORE_FILE,
    IgnoreFile,
    compile_patterns,
    ignore_files_above,
    is_ignored,
    read_ignore_file,
)
from embedge.runtime.patterns import PatternList
from embedge.runtime.read_errors import read_error, too_large

MAX_FILE_SIZE = 64 << 20
"""Bytes; the default of --max-file-size."""

STDIN = "-"

_NEVER_ENTERED = ".git"
# Unix hides names with a dot; Office hides the owner files of open documents on Windows only.
_HIDDEN = (".", "~$")


@dataclass(frozen=True)
class FoundFile:
    """A file to read.

    Attributes:
        path: as records spell it: the argument and the path below it, normalised, separated
            by `/` on every system; `-` is standard input.
        location: what to open.
        size: bytes, or None for standard input, pipes and devices.
        is_explicit: named by the user, not found in a folder.
    """

    path: str
    location: Path
    size: int | None
    is_explicit: bool


@dataclass(frozen=True)
class FailedFile:
    """A path that cannot be read; `error.code` says why."""

    path: str
    error: InputError


Item = FoundFile | FailedFile


def walk(
    paths: Sequence[str],
    *,
    files: Sequence[tuple[str, str]] = (),
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    gitignore: bool = True,
    hidden: bool = False,
    follow_symlinks: bool = False,
    max_file_size: int = MAX_FILE_SIZE,
) -> Iterator[Item]:
    """Yield every selected file once: arguments in their order, folders sorted by name.

    A file that is named is taken whatever the filters say. In folders, links are left alone
    unless `follow_symlinks`; then a folder is entered once, whatever leads to it.

    Args:
        paths: files, folders, or `-`.
        files: pairs of a folder and a pattern that its files must match.
        include: patterns, one of which a file must match; all files when empty.
        exclude: patterns that no file, and no folder above it, may match.
        gitignore: leave out what `.gitignore` files leave out.
        hidden: take names that start with a dot or `~$`, too (never `.git`).
        follow_symlinks: enter linked folders and read linked files.
        max_file_size: bytes.

    Raises:
        InvalidOption: a pattern is not valid.
    """
    excluded = compile_patterns(exclude, "--exclude")
    options = _Options(gitignore, hidden, follow_symlinks, max_file_size)
    walks = [_Walk(_Selection.of(include, excluded, "--include"), options, path) for path in paths]
    for folder, pattern in files:
        selection = _Selection.of([pattern], excluded, "--files")
        walks.append(_Walk(selection, options, folder, folder_only=True))
    return _once(walks)


def _once(walks: Sequence["_Walk"]) -> Iterator[Item]:
    """Drop repeated paths, so that the ids of one run are unique."""
    seen: set[str] = set()
    for each in walks:
        for item in each.items():
            if item.path not in seen:
                seen.add(item.path)
                yield item


def spell(argument: str, below: str = "") -> str:
    """Return the path of a record: argument and path below it, normalised, `/` separated."""
    joined = os.path.normpath(os.path.join(argument, below) if below else argument)
    return joined.replace(os.sep, "/")


@dataclass(frozen=True)
class _Options:
    gitignore: bool
    hidden: bool
    follow_symlinks: bool
    max_file_size: int


@dataclass(frozen=True)
class _Selection:
    included: PatternList | None
    excluded: PatternList

    @classmethod
    def of(cls, include: Sequence[str], excluded: PatternList, flag: str) -> "_Selection":
        return cls(compile_patterns(include, flag) if include else None, excluded)

    def rejects_folder(self, path: str) -> bool:
        return bool(self.excluded.verdict(path + "/"))

    def takes_file(self, path: str) -> bool:
        if self.excluded.verdict(path):
            return False
        return self.included is None or self.included.matches_within(path)


@dataclass(frozen=True)
class _Folder:
    """A folder on the way: its path below the argument, what is left in it, its rules."""

    below: str  # "" for the argument itself, otherwise ends with "/"
    entries: Iterator[os.DirEntry[str]]
    ignore_files: tuple[IgnoreFile, ...]


@dataclass
class _Walk:
    """The walk of one argument."""

    selection: _Selection
    options: _Options
    argument: str
    folder_only: bool = False
    entered: set[tuple[int, int]] = field(default_factory=set)  # (device, inode)

    def items(self) -> Iterator[Item]:
        argument = self.argument
        if argument == STDIN and not self.folder_only:
            yield FoundFile(STDIN, Path(STDIN), None, True)
            return
        try:
            argument.encode()
            status = os.stat(argument)
        except UnicodeEncodeError:
            yield _unspeakable(argument)
        except OSError as error:
            failure = read_error(spell(argument), error, was_listed=False)
            yield FailedFile(spell(argument), failure)
        except ValueError:  # a NUL in the path
            message = f"{argument!r} cannot be the name of a file; check the spelling"
            yield FailedFile(argument.replace("\0", "\\x00"), InputError(message, "not_found"))
        else:
            if stat.S_ISDIR(status.st_mode):
                yield from self._folder_items()
            elif self.folder_only:
                message = f"--files {argument} is not a folder; name the file itself instead"
                yield FailedFile(spell(argument), InputError(message, "not_found"))
            else:
                yield self._file(spell(argument), Path(argument), status, is_explicit=True)

    def _folder_items(self) -> Iterator[Item]:
        """Walk depth first with a stack of our own: folders nest deeper than Python calls."""
        above: tuple[IgnoreFile, ...] = ()
        if self.options.gitignore:
            try:
                above = tuple(ignore_files_above(Path(self.argument)))
            except OSError as error:
                yield self._failure(str(error.filename), error)
        stack = yield from self._open("", above)
        while stack:
            folder = stack[-1]
            entry = next(folder.entries, None)
            if entry is None:
                stack.pop()
            elif self._is_considered(entry):
                below = folder.below + entry.name
                if not self._is_folder(entry):
                    yield from self._entry_items(folder, entry, below)
                elif not self._is_folder_left_out(folder, below):
                    stack += yield from self._open(below + "/", folder.ignore_files)

    def _open(
        self, below: str, ignore_files: tuple[IgnoreFile, ...]
    ) -> Generator[Item, None, list[_Folder]]:
        """List a folder; return it, or nothing when it cannot be listed or was entered before."""
        path = os.path.join(self.argument, below)
        try:
            below.encode()
            if self.options.follow_symlinks and not self._enter(path):
                return []
            with os.scandir(path) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except UnicodeEncodeError:
            yield _unspeakable(spell(self.argument, below))
            return []
        except OSError as error:
            yield self._failure(below, error)
            return []
        if self.options.gitignore and any(entry.name == IGNORE_FILE for entry in entries):
            try:
                spec = read_ignore_file(Path(path, IGNORE_FILE))
                ignore_files += (IgnoreFile(spec, depth=len(below)),)
            except OSError as error:
                yield self._failure(below + IGNORE_FILE, error)
        return [_Folder(below, iter(entries), ignore_files)]

    def _enter(self, path: str) -> bool:
        status = os.stat(path)
        identity = (status.st_dev, status.st_ino)
        is_new = identity not in self.entered
        self.entered.add(identity)
        return is_new

    def _is_considered(self, entry: os.DirEntry[str]) -> bool:
        if entry.name == _NEVER_ENTERED:
            return False
        if entry.name.startswith(_HIDDEN) and not self.options.hidden:
            return False
        return self.options.follow_symlinks or not entry.is_symlink()

    def _is_folder(self, entry: os.DirEntry[str]) -> bool:
        try:
            return entry.is_dir(follow_symlinks=self.options.follow_symlinks)
        except OSError:  # a link in a circle: reported where its size is asked for
            return False

    def _is_folder_left_out(self, folder: _Folder, below: str) -> bool:
        if self.selection.rejects_folder(below):
            return True
        return is_ignored(folder.ignore_files, below + "/")

    def _entry_items(self, folder: _Folder, entry: os.DirEntry[str], below: str) -> Iterator[Item]:
        """Yield a file of a folder; pipes, sockets and devices there are passed over."""
        if not self.selection.takes_file(below) or is_ignored(folder.ignore_files, below):
            return
        path = spell(self.argument, below)
        try:
            path.encode()
            status = entry.stat(follow_symlinks=self.options.follow_symlinks)
        except UnicodeEncodeError:
            yield _unspeakable(path)
        except OSError as error:
            yield self._failure(below, error)
        else:
            if stat.S_ISREG(status.st_mode):
                yield self._file(path, Path(self.argument, below), status, is_explicit=False)

    def _file(
        self, path: str, location: Path, status: os.stat_result, *, is_explicit: bool
    ) -> Item:
        size = status.st_size if stat.S_ISREG(status.st_mode) else None
        if size is not None and size > self.options.max_file_size:
            return FailedFile(path, too_large(path, size, self.options.max_file_size))
        return FoundFile(path, location, size, is_explicit)

    def _failure(self, below: str, error: OSError) -> FailedFile:
        path = spell(self.argument, below)
        return FailedFile(path, read_error(path, error, was_listed=bool(below)))


def _unspeakable(path: str) -> FailedFile:
    """Return the error for a name whose bytes are no Unicode; it is shown with hex escapes."""
    shown = os.fsencode(path).decode("utf-8", "backslashreplace")
    message = f"{shown}: the name is not valid Unicode; rename it"
    return FailedFile(shown, InputError(message, "path_encoding"))
