"""Places where a text may be cut, and how good each is."""

import re
from array import array
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedge.runtime.chunking.characters import (
    CLOSERS,
    PLAIN_ENDS,
    SPACED_ENDS,
    WHITE,
    is_grapheme_edge,
)
from embedge.runtime.chunking.chunk import ChunkKind
from embedge.runtime.chunking.outline import Outline

SECTION, PARAGRAPH, LINE, SENTENCE, SPACE, GRAPHEME = range(6)
"""Classes of boundaries, best first. Class 5 is not listed: see `splits.py`."""

_white, _plain, _closers = (re.escape(each) for each in (WHITE, PLAIN_ENDS, CLOSERS))
_PLACE = re.compile(f"[{_plain}]+[{_closers}]*[{_white}]*|[{_white}]+")
_LOOK_BACK = 8
"""Closing quotes and brackets between the end of a sentence and the space after it."""


@dataclass(frozen=True)
class Boundaries:
    """Positions in code points (ascending, strictly inside the text) and their classes.

    White space belongs to what is before it, except the indentation of a line. So there is
    one boundary per run of white space, and none inside it.
    """

    positions: NDArray[np.int64]  # (boundaries,)
    classes: NDArray[np.int8]  # (boundaries,)


def find_boundaries(
    text: str, kind: ChunkKind, outline: Outline, pages: tuple[int, ...] = ()
) -> Boundaries:
    """List every boundary of classes 0 to 4 in one pass.

    Args:
        text: the whole text.
        kind: `code` makes a line without indentation after a blank line a class 0.
        outline: its headings become class 0; inside its fences nothing is above class 2.
        pages: start of each page; a boundary there becomes class 0.
    """
    found_positions, found_classes = array("q"), array("b")
    size = len(text)
    for match in _PLACE.finditer(text):
        position, rank = _classify(text, match.start(), match.end(), kind)
        if 0 < position < size and is_grapheme_edge(text, position):
            found_positions.append(position)
            found_classes.append(rank)
    positions = np.array(found_positions, dtype=np.int64)
    classes = np.array(found_classes, dtype=np.int8)
    fenced = outline.fenced(positions)
    classes[fenced & (classes < LINE)] = LINE
    starts = np.array([heading.position for heading in outline.headings], dtype=np.int64)
    classes[np.isin(positions, starts)] = SECTION
    _raise_page_starts(text, positions, classes, pages)
    return Boundaries(positions, classes)


def _classify(text: str, start: int, end: int, kind: ChunkKind) -> tuple[int, int]:
    """Return position and class of the boundary in the run text[start:end]."""
    if end - start == 1 and text[start] == " ":  # nearly all of them
        return end, SENTENCE if _ends_sentence(text, start) else SPACE
    run = text[start:end]
    breaks = run.count("\n") + run.count("\r") - run.count("\r\n")
    if breaks == 0 and "\x0c" not in run:
        ended = run[0] in PLAIN_ENDS or _ends_sentence(text, start)
        return end, SENTENCE if ended else SPACE
    position = start + 1 + max(run.rfind("\n"), run.rfind("\r"), run.rfind("\x0c"))
    if "\x0c" in run:
        return position, SECTION
    if breaks == 1:
        return position, LINE
    is_definition = kind == "code" and position == end and text[end : end + 1] not in (*")]}", "")
    return position, SECTION if is_definition else PARAGRAPH


def _ends_sentence(text: str, end: int) -> bool:
    """Tell whether the characters just before `end` end a sentence."""
    if end == 0:
        return False
    last = text[end - 1]
    if last in SPACED_ENDS:
        return True
    if last not in CLOSERS:
        return False
    rest = text[max(0, end - _LOOK_BACK) : end].rstrip(CLOSERS)
    return bool(rest) and rest[-1] in SPACED_ENDS


def _raise_page_starts(
    text: str, positions: NDArray[np.int64], classes: NDArray[np.int8], pages: tuple[int, ...]
) -> None:
    """Make the boundary in the white space before a page, or at its start, a class 0."""
    for page in pages:
        nearest = int(np.searchsorted(positions, page, side="right")) - 1
        if nearest >= 0 and not text[positions[nearest] : page].strip():
            classes[nearest] = SECTION
