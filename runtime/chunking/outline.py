"""Headings and fenced blocks of a text, found line by line."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedge.runtime.chunking.chunk import ChunkKind

MAX_TITLE = 200
"""Longer titles are cut; a heading is repeated in the record of every chunk below it."""

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)?")
_HEAD = 400
"""Only this much of a line is looked at, so that one 50 MB line costs no more than others."""

_ATX = re.compile(r" {0,3}(#{1,6})(?=[ \t]|$)")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_NOT_A_PARAGRAPH = re.compile(r" {0,3}(?:[-*+>|#<]|\d+[.)]|```|~~~)|\t| {4}")
_HTML_HEADING = re.compile(r" {0,3}<h([1-6])(?:\s[^>]*)?>(.*)", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")
_RST_ADORNMENT = re.compile(r"""([=\-`:'"~^_*+#<>.])\1{2,}[ \t]*$""")


@dataclass(frozen=True)
class Heading:
    """Start of the heading's first line, its level from 1, its title."""

    position: int
    level: int
    title: str


@dataclass(frozen=True)
class Outline:
    """Headings in order, and fences as (start of the opening line, start of the closing one)."""

    headings: tuple[Heading, ...] = ()
    fences: tuple[tuple[int, int], ...] = ()

    def paths(self) -> list[str]:
        """Return for each heading the titles of all open headings, joined by ` > `."""
        open_headings: list[Heading] = []
        paths = []
        for heading in self.headings:
            while open_headings and open_headings[-1].level >= heading.level:
                open_headings.pop()
            open_headings.append(heading)
            paths.append(" > ".join(each.title for each in open_headings if each.title))
        return paths

    def fenced(self, positions: NDArray[np.int64]) -> NDArray[np.bool]:
        """Tell for each position whether it lies inside a fence; same shape, bool."""
        if not self.fences:
            return np.zeros(len(positions), dtype=bool)
        opening, closing = np.array(self.fences, dtype=np.int64).T
        nearest = np.searchsorted(opening, positions, side="left") - 1  # opened before here
        inside: NDArray[np.bool] = (nearest >= 0) & (positions <= closing[nearest])
        return inside


@dataclass(frozen=True)
class _Line:
    position: int
    head: str  # the first characters, without the line break
    is_whole: bool

    @property
    def is_blank(self) -> bool:
        return self.is_whole and not self.head.strip()


def read_outline(text: str, kind: ChunkKind) -> Outline:
    """Find headings and fences; plain text and code have none."""
    if kind == "markdown":
        return _read_markdown(text)
    if kind == "rst":
        return Outline(tuple(_rst_headings(list(_lines(text)))))
    return Outline()


def _lines(text: str) -> Iterator[_Line]:
    for match in _LINE.finditer(text):
        start, end = match.span()
        if start == end:
            return
        head = text[start : min(end, start + _HEAD)]
        yield _Line(start, head.rstrip("\r\n"), end - start <= _HEAD)


def _read_markdown(text: str) -> Outline:
    headings: list[Heading] = []
    fences: list[tuple[int, int]] = []
    marker, opened = "", 0
    before, two_before = _Line(0, "", True), _Line(0, "", True)
    for line in _after_front_matter(text):
        fence = _FENCE.match(line.head)
        if marker:
            if fence and _closes(line.head, fence.group(1), marker):
                fences.append((opened, line.position))
                marker = ""
        elif fence and not ("`" in line.head[fence.end() :] and fence.group(1)[0] == "`"):
            marker, opened = fence.group(1), line.position
        else:
            heading = _markdown_heading(line, before, two_before)
            if heading:
                headings.append(heading)
        before, two_before = (_Line(0, "", True) if marker or fence else line), before
    if marker:
        fences.append((opened, len(text)))
    return Outline(tuple(headings), tuple(fences))


def _after_front_matter(text: str) -> Iterator[_Line]:
    """Skip a leading YAML block, whose last line would pass for an underline."""
    lines = _lines(text)
    if re.match(r"---[ \t]*(?:\r\n|\r|\n)", text):
        end = re.search(r"[\r\n](?:---|\.\.\.)[ \t]*(?:[\r\n]|$)", text[: 1 << 16])
        if end:
            return (line for line in lines if line.position >= end.end())
    return lines


def _closes(head: str, fence: str, marker: str) -> bool:
    is_longer = fence[0] == marker[0] and len(fence) >= len(marker)
    return is_longer and not head.strip().strip(marker[0])


def _markdown_heading(line: _Line, before: _Line, two_before: _Line) -> Heading | None:
    if atx := _ATX.match(line.head):
        title = line.head[atx.end() :].strip()
        closed = title.rstrip("#")
        if not closed or closed[-1] in " \t":  # `# Title #`, but not `# C#`
            title = closed
        return Heading(line.position, len(atx.group(1)), short_title(title))
    if html := _HTML_HEADING.match(line.head):
        inner = re.split(r"</h[1-6]", html.group(2), maxsplit=1, flags=re.IGNORECASE)[0]
        return Heading(line.position, int(html.group(1)), short_title(_TAG.sub("", inner)))
    underline = line.is_whole and _UNDERLINE.match(line.head)
    is_paragraph = before.head.strip() and not _NOT_A_PARAGRAPH.match(before.head)
    if underline and is_paragraph and two_before.is_blank:
        level = 1 if underline.group(1)[0] == "=" else 2
        return Heading(before.position, level, short_title(before.head))
    return None


def _rst_headings(lines: list[_Line]) -> Iterator[Heading]:
    """Yield underlined titles; the level of a style is its order of appearance."""
    styles: list[str] = []
    for number in range(1, len(lines)):
        title, under = lines[number - 1], lines[number]
        adornment = _RST_ADORNMENT.match(under.head)
        if not adornment or not title.head.strip() or _RST_ADORNMENT.match(title.head):
            continue
        if len(under.head.rstrip()) < len(title.head.rstrip()):
            continue
        over = lines[number - 2] if number > 1 else None
        is_over = over is not None and over.head.rstrip() == under.head.rstrip()
        if over is not None and not (is_over or over.is_blank):
            continue
        style = adornment.group(1) + ("^" if is_over else "")
        if style not in styles:
            styles.append(style)
        start = over.position if over is not None and is_over else title.position
        yield Heading(start, styles.index(style) + 1, short_title(title.head))


def short_title(raw: str) -> str:
    """Return a title on one line, at most `MAX_TITLE` characters long."""
    title = " ".join(raw.split())
    return title if len(title) <= MAX_TITLE else title[: MAX_TITLE - 1] + "…"
