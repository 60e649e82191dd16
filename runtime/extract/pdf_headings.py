"""Where the bookmarks of a PDF stand in its text.

A bookmark names a page and, nearly always, repeats the heading that is printed there. Its place is
the line with these words; where none has them, the start of the page.
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from embedge.runtime.chunking.outline import Heading, short_title

_MAX_LINES = 3
"""Lines over which a printed heading may run."""

_LONGEST_LINE = 200
"""Characters; longer lines are no headings."""

_MAX_PAGE_LINES = 10_000
"""Headings below that many lines of one page stand at its start."""

_NOT_WORDS = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Bookmark:
    """One entry of a PDF's outline: depth from 0, title, page from 0 or None without one."""

    depth: int
    title: str
    page: int | None


def place_bookmarks(
    bookmarks: Sequence[Bookmark], pages: Sequence[str], starts: Sequence[int]
) -> tuple[Heading, ...]:
    """Return a heading for each bookmark that leads into the text, by position.

    A bookmark without a page, such as a part that has only chapters, stands where its first
    descendant with one does.

    Args:
        bookmarks: parents before children, in the order of the outline.
        pages: text of each page.
        starts: where each page starts in the whole text.
    """
    lines_of: dict[int, _PageLines] = {}
    positions: list[int | None] = []
    before: dict[int, int] = {}  # page -> place of the last bookmark there
    for bookmark in bookmarks:
        page = bookmark.page
        if page is None or not 0 <= page < len(pages):
            positions.append(None)
            continue
        if page not in lines_of:
            lines_of[page] = _PageLines(pages[page])
        before[page] = lines_of[page].find(bookmark.title, after=before.get(page, -1))
        positions.append(starts[page] + before[page])
    headings = [
        Heading(position, bookmark.depth + 1, short_title(bookmark.title))
        for bookmark, position in zip(bookmarks, _filled(bookmarks, positions), strict=True)
        if position is not None
    ]
    return tuple(sorted(headings, key=lambda heading: heading.position))


def _filled(bookmarks: Sequence[Bookmark], positions: Sequence[int | None]) -> list[int | None]:
    filled = list(positions)
    for number in range(len(bookmarks) - 2, -1, -1):
        if filled[number] is None and bookmarks[number + 1].depth > bookmarks[number].depth:
            filled[number] = filled[number + 1]
    return filled


class _PageLines:
    """The lines of a page by their words, alone and together with the next ones."""

    def __init__(self, page: str) -> None:
        self._places: dict[str, list[int]] = {}  # words -> ascending positions
        lines: list[tuple[int, str]] = []
        position = 0
        for line in page.split("\n", _MAX_PAGE_LINES):
            if len(line) <= _LONGEST_LINE and (words := _words(line)):
                lines.append((position, words))
            position += len(line) + 1
        for number, (position, _) in enumerate(lines):
            key = ""
            for _, words in lines[number : number + _MAX_LINES]:
                key += words
                self._places.setdefault(_unnumbered(key), []).append(position)

    def find(self, title: str, *, after: int) -> int:
        """Return the first place of a title after `after`, else `after`, at least 0."""
        places = self._places.get(_unnumbered(_words(title[:_LONGEST_LINE])), [])
        number = bisect_right(places, after)
        return places[number] if number < len(places) else max(after, 0)


def _words(text: str) -> str:
    """Return the letters and digits only, without case, ligatures and accents of their own."""
    return _NOT_WORDS.sub("", unicodedata.normalize("NFKC", text)).casefold()


def _unnumbered(words: str) -> str:
    """Leave the number of a section away: often only one of the two has it."""
    return words.lstrip("0123456789") or words
