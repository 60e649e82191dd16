"""Long texts in pieces that tokenize as the whole does.

The tokenizer library holds the interpreter while it encodes: two megabytes in one call would stop
every other thread for seconds. Between two letters or digits a single space or line break ends a
token in most tokenizers; whether it does in a given one is tried, not assumed.
"""

import re
from collections.abc import Callable, Iterator, Sequence

PIECE_CHARS = 20_000
"""A piece ends at the next break after so many code points."""

Encode = Callable[[str], tuple[Sequence[int], Sequence[tuple[int, int]]]]
"""From a text to the ids and the places of its tokens."""

_PROBES = (("river", "night"), ("12", "3"), ("日本", "人"), ("ไทย", "ง่าย"), ("Ab", "cD"))
_BREAKS = (" ", "\n")


def safe_breaks(encode: Encode) -> str:
    """Return the characters at which a text can be cut, by trying them on several scripts."""
    return "".join(char for char in _BREAKS if all(_is_safe(encode, char, p) for p in _PROBES))


def _is_safe(encode: Encode, char: str, probe: tuple[str, str]) -> bool:
    left, right = probe
    ids, places = encode(f"{left}{char}{right}")
    (left_ids, left_places), (right_ids, right_places) = encode(left), encode(right)
    shift = len(left) + 1
    moved = [(start + shift, end + shift) for start, end in right_places]
    return list(ids) == [*left_ids, *right_ids] and list(places) == [*left_places, *moved]


def cut_pieces(text: str, breaks: str) -> Iterator[tuple[int, str]]:
    """Yield start and text of each piece; the break between two pieces belongs to neither.

    Args:
        text: of any length; a short one is one piece.
        breaks: from `safe_breaks`.
    """
    start = 0
    if breaks and len(text) > PIECE_CHARS:
        place = re.compile(rf"(?<=[^\W_])[{breaks}](?=[^\W_])")
        while (found := place.search(text, start + PIECE_CHARS)) is not None:
            yield start, text[start : found.start()]
            start = found.end()
    yield start, text[start:]
