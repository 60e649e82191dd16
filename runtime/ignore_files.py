"""`.gitignore` files and the patterns of --include and --exclude, with git's meaning."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from embedge.models.errors import InvalidOption
from embedge.runtime.patterns import PatternList, is_pattern

IGNORE_FILE = ".gitignore"


@dataclass(frozen=True)
class IgnoreFile:
    """One `.gitignore`, seen from the root of a walk.

    A path below the root becomes one below the folder of the file by putting `prefix` before
    it (the file lies above the root) or cutting `depth` characters off (below the root).
    """

    patterns: PatternList
    prefix: str = ""
    depth: int = 0

    def verdict(self, path: str) -> bool | None:
        """Return True for ignored, False for kept by a `!` pattern, None for not mentioned.

        Folders end with `/`.
        """
        return self.patterns.verdict(self.prefix + path[self.depth :])


def is_ignored(files: Sequence[IgnoreFile], path: str) -> bool:
    """Ask the deepest `.gitignore` first; the first that mentions the path decides.

    The caller must not ask about paths below an ignored folder: as in git, nothing there can
    be kept again.
    """
    for file in reversed(files):
        verdict = file.verdict(path)
        if verdict is not None:
            return verdict
    return False


def read_ignore_file(path: Path) -> PatternList:
    """Read patterns; a line that is no valid pattern matches nothing, as in git.

    Raises:
        OSError: the file cannot be read.
    """
    lines = path.read_bytes().decode("utf-8-sig", "surrogateescape").split("\n")
    return PatternList(
        line for line in (line.removesuffix("\r") for line in lines) if is_pattern(line)
    )


def ignore_files_above(root: Path) -> list[IgnoreFile]:
    """Return the `.gitignore` files between the top of the work tree and `root`, top first.

    None when `root` is not inside a git work tree. A file that ignores `root` itself is left
    out: who names an ignored folder wants what is in it.

    Raises:
        OSError: a `.gitignore` exists and cannot be read.
    """
    folder = Path(os.path.realpath(root))
    above = [folder, *folder.parents]
    top = next((at for at, parent in enumerate(above) if (parent / ".git").exists()), None)
    if not top:
        return []
    files = []
    for parent in reversed(above[1 : top + 1]):
        path = parent / IGNORE_FILE
        prefix = folder.relative_to(parent).as_posix() + "/"
        patterns = read_ignore_file(path) if path.is_file() else None
        if patterns is not None and not patterns.matches_within(prefix):
            files.append(IgnoreFile(patterns, prefix=prefix))
    return files


def compile_patterns(patterns: Sequence[str], flag: str) -> PatternList:
    """Compile the values of a flag.

    Raises:
        InvalidOption: a value is no valid pattern.
    """
    for pattern in patterns:
        if not is_pattern(pattern):
            raise InvalidOption(
                f"{flag} {pattern!r} is no valid pattern; it is read like a line of .gitignore, "
                f"for example {flag} '*.md'"
            )
    return PatternList(patterns)
