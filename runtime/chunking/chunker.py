"""From a text to its chunks: boundaries, cuts, splits, overlap, places."""

import itertools
import re
from collections.abc import Sequence
from typing import cast, get_args

import numpy as np
from numpy.typing import NDArray

from embedge.models.errors import InvalidOption
from embedge.runtime.chunking.boundaries import find_boundaries
from embedge.runtime.chunking.chunk import Chunk, ChunkKind, TokenCounter
from embedge.runtime.chunking.keys import KeyTable
from embedge.runtime.chunking.local_minima import find_cuts
from embedge.runtime.chunking.outline import Heading, Outline, read_outline
from embedge.runtime.chunking.splits import Splitter
from embedge.runtime.chunking.token_map import TokenMap, map_tokens

MIN_TOKENS = 8
"""Smallest `max_tokens`: room for the tokens of any single character."""

_LINE_BREAK = re.compile(r"\r\n|\r|\n")
_SURROGATE = re.compile("[\ud800-\udfff]")


def chunk_text(
    text: str,
    tokens: TokenCounter,
    *,
    max_tokens: int,
    overlap: int = 64,
    kind: str = "text",
    pages: Sequence[int] = (),
    headings: Sequence[Heading] = (),
) -> list[Chunk]:
    """Cut a text at natural places into chunks that fit the model.

    Without their overlap the chunks put together are the text. Cuts further than 128 tokens
    and 32 characters from an edit stay where they are. Time and memory grow linearly with
    the text, whatever it holds. A text of white space only has no chunks.

    Args:
        text: the whole text; lone surrogates become U+FFFD.
        tokens: counts without special tokens.
        max_tokens: most text tokens per chunk, overlap included.
        overlap: most tokens repeated from the chunk before; never more than half of
            `max_tokens`.
        kind: `text`, `markdown`, `rst` or `code`; says what starts a section.
        pages: position at which each page starts, ascending, page 1 first.
        headings: by position, where the file names them apart from its text; then none are
            looked for in the text.

    Raises:
        InvalidOption: `max_tokens` below 8, `overlap` negative, or an unknown `kind`.
    """
    _check_options(max_tokens, overlap, kind)
    checked_kind = cast(ChunkKind, kind)
    text = _SURROGATE.sub("\ufffd", text)
    if not text.strip():
        return []
    overlap = min(overlap, max_tokens // 2)
    outline = Outline(tuple(headings)) if headings else read_outline(text, checked_kind)
    boundaries = find_boundaries(text, checked_kind, outline, tuple(pages))
    token_map = map_tokens(text, tokens)
    keys = KeyTable(text, boundaries.positions)
    splitter = Splitter(boundaries, token_map, keys, max_tokens - overlap)

    cuts = [0, *find_cuts(boundaries, token_map, keys).tolist(), len(text)]
    starts: list[int] = []
    for start, end in itertools.pairwise(cuts):
        starts += [start, *splitter.split(start, end)]
    starts = _without_blank_regions(text, starts)
    repeats = _overlap_starts(starts, boundaries.positions, token_map, overlap, max_tokens)
    return _describe(token_map, starts, repeats, outline, pages)


def _check_options(max_tokens: int, overlap: int, kind: str) -> None:
    problems = []
    if max_tokens < MIN_TOKENS:
        problems.append(f"max_tokens is {max_tokens}, but a chunk needs at least {MIN_TOKENS}")
    if overlap < 0:
        problems.append(f"overlap is {overlap}; use 0 for none")
    if kind not in get_args(ChunkKind):
        problems.append(f"kind is {kind!r}; use one of {', '.join(get_args(ChunkKind))}")
    if problems:
        raise InvalidOption("cannot cut the text: " + "; ".join(problems))


def _without_blank_regions(text: str, starts: list[int]) -> list[int]:
    """Join regions made only of white space to the one before (the first to the next)."""
    ends = [*starts[1:], len(text)]
    kept = [start for start, end in zip(starts, ends, strict=True) if text[start:end].strip()]
    return [0, *kept[1:]]


def _overlap_starts(
    starts: list[int],
    positions: NDArray[np.int64],
    tokens: TokenMap,
    overlap: int,
    max_tokens: int,
) -> list[int]:
    """Return where each chunk really starts: at most `overlap` tokens before its own text."""
    places = tokens.index(positions)
    ends = [*starts[1:], len(tokens.text)]
    repeats = starts[:1]
    for before, start, end in zip(starts[:-1], starts[1:], ends[1:], strict=True):
        place = tokens.index_of(start)
        low = max(
            np.searchsorted(positions, before, side="right"),
            np.searchsorted(places, place - overlap, side="left"),
        )
        high = min(
            np.searchsorted(positions, start, side="left"),
            np.searchsorted(places, place, side="left"),
        )
        options = positions[low:high].tolist() if overlap else []
        fitting = (each for each in options if tokens.count(each, end) <= max_tokens)
        repeats.append(next(fitting, start))
    return repeats


def _describe(
    tokens: TokenMap,
    starts: list[int],
    repeats: list[int],
    outline: Outline,
    pages: Sequence[int],
) -> list[Chunk]:
    text = tokens.text
    ends = [*starts[1:], len(text)]
    breaks = np.array([match.end() for match in _LINE_BREAK.finditer(text)], dtype=np.int64)
    first_lines = 1 + np.searchsorted(breaks, repeats, side="right")
    last_lines = 1 + np.searchsorted(breaks, np.array(ends) - 1, side="right")
    words = [_first_word(text, start, end) for start, end in zip(starts, ends, strict=True)]
    headings = np.array([heading.position for heading in outline.headings], dtype=np.int64)
    open_headings = np.searchsorted(headings, words, side="right") - 1
    paths = outline.paths()
    page_numbers = np.searchsorted(np.asarray(pages, dtype=np.int64), words, side="right")
    return [
        Chunk(
            text=text[repeat:end],
            char_start=repeat,
            char_end=end,
            line_start=int(first_lines[row]),
            line_end=int(last_lines[row]),
            page=int(page_numbers[row]) if len(pages) else None,
            heading=(paths[open_headings[row]] or None) if open_headings[row] >= 0 else None,
            n_tokens=tokens.count(repeat, end),
            overlap_chars=start - repeat,
        )
        for row, (start, repeat, end) in enumerate(zip(starts, repeats, ends, strict=True))
    ]


def _first_word(text: str, start: int, end: int) -> int:
    region = text[start:end]
    return start + len(region) - len(region.lstrip())
