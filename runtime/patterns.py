"""Lists of patterns with exactly git's meaning, on top of pathspec.

pathspec matches a path also through the folders above it, and weighs such matches by rules of
its own; then `*`, `!*/`, `!*.md` keeps nothing in folders. A walk asks about every folder on
the way, so here a pattern matches a path itself or not at all, and the last match decides.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pathspec import GitIgnoreSpec
from pathspec.pattern import Pattern as CompiledPattern

_NO_NAME = "\x01" * 8
"""A name that no file has."""


@dataclass(frozen=True)
class _Pattern:
    compiled: CompiledPattern
    is_negated: bool
    is_folder_only: bool
    is_tail: bool  # matched against the last `depth` components, wherever they are
    depth: int | None  # components of what it can match; None: any number
    takes_any_name: bool

    def matches(self, path: str) -> bool:
        """Tell whether the pattern matches this path itself; no `/` at the end."""
        parts = path.split("/")
        if self.depth is not None:
            is_possible = len(parts) == self.depth or (self.is_tail and len(parts) > self.depth)
            return is_possible and self._covers("/".join(parts[-self.depth :]))
        if not self._covers(path):
            return False
        # With `**` inside, the path is covered itself or through a folder above it: then any
        # other name in its place would be, too.
        return self.takes_any_name or not self._covers("/".join([*parts[:-1], _NO_NAME]))

    def _covers(self, path: str) -> bool:
        return self.compiled.match_file(path) is not None


class PatternList:
    """Patterns of one `.gitignore`, or of one flag."""

    def __init__(self, lines: Iterable[str]) -> None:
        """Compile lines; comments and blank ones match nothing.

        Raises:
            ValueError: a line is no valid pattern.
        """
        compiled = [_compile(line) for line in lines]
        self._patterns = [pattern for pattern in reversed(compiled) if pattern is not None]

    def verdict(self, path: str) -> bool | None:
        """Return True if the path itself is matched, False by a `!` pattern, None if by none.

        Folders end with `/`.
        """
        bare = path.removesuffix("/")
        for pattern in self._patterns:
            if pattern.is_folder_only and bare == path:
                continue
            if pattern.matches(bare):
                return not pattern.is_negated
        return None

    def matches_within(self, path: str) -> bool:
        """Tell whether the path or, if nothing is said about it, a folder above is matched."""
        while path:
            verdict = self.verdict(path)
            if verdict is not None:
                return verdict
            parent, slash, _ = path.removesuffix("/").rpartition("/")
            path = parent + slash
        return False


def is_pattern(line: str) -> bool:
    """Tell whether a line is a valid pattern, a comment or blank."""
    try:
        _compile(line)
    except ValueError:
        return False
    return True


def _compile(line: str) -> _Pattern | None:
    if line.startswith("#"):
        return None
    line = re.sub(r"(?<!\\)[ ]+\Z", "", line)
    if not line:
        return None
    is_negated = line.startswith("!")
    body = line[1:] if is_negated else line
    is_folder_only = body.endswith("/")
    body = body.removesuffix("/")
    if not body:
        raise ValueError(f"{line!r} names nothing")
    tail = re.sub(r"\A/?(?:\*\*/)+", "", body)
    is_tail = tail != body or "/" not in body
    segments = tail.removeprefix("/").split("/")
    return _Pattern(
        compiled=_compile_one("/" + "/".join(segments)),
        is_negated=is_negated,
        is_folder_only=is_folder_only,
        is_tail=is_tail,
        depth=None if "**" in segments else len(segments),
        takes_any_name=_compile_one("/" + segments[-1]).match_file(_NO_NAME) is not None,
    )


def _compile_one(line: str) -> CompiledPattern:
    (compiled,) = GitIgnoreSpec.from_lines([line]).patterns
    return compiled
