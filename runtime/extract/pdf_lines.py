"""The lines of a printed page, put together to paragraphs where that is safe.

A PDF has lines, not sentences. Left as they are, passages would be cut at the right margin. Only
a line that is full and breaks in the middle of a sentence is joined with the next one: verses,
lists, tables and headings keep their lines.
"""

import re
from statistics import quantiles

_FULL = 0.75
"""Share of the width of the page's long lines from which a line counts as full."""

_MIN_WIDTH = 25
"""Characters; pages of shorter lines are lists or labels."""

_ENDS = re.compile(r"""[.!?…:;。！？।؟۔]["'”’»)\]】」』]*$""")  # noqa: RUF001
_BEGINS = re.compile(r"[^\W\d_]|[(\[\"'“‘«„\d]")  # noqa: RUF001
_LETTER = re.compile(r"[^\W\d_]")
_BULLET = re.compile(r"(?:[-–—•▪◦*·‣]|\(?\d{1,3}[.)]|\(?[a-zA-Z][.)])\s")  # noqa: RUF001
# Han, Kana, Thai, Lao, Khmer, Myanmar: written without spaces between words.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]"
)


def join_lines(page: str) -> str:
    r"""Return a page with the lines of its running text joined; `\n` separates lines."""
    lines = [line.strip() for line in page.split("\n")]
    width = _width(lines)
    if width < _MIN_WIDTH:
        return "\n".join(lines)
    parts: list[str] = []
    before = ""
    for line in lines:
        if parts:
            parts.append(_between(before, line, width))
        parts.append(line)
        before = line
    return "".join(parts)


def _width(lines: list[str]) -> float:
    """Return the length of the longer lines, whatever a few very long ones have."""
    lengths = [_columns(line) for line in lines if line]
    return quantiles(lengths, n=5)[-1] if len(lengths) > 1 else 0


def _columns(line: str) -> int:
    return len(line) + len(_UNSPACED.findall(line))  # such characters are twice as wide


def _between(before: str, line: str, width: float) -> str:
    if _columns(before) < _FULL * width or _ENDS.search(before):
        return "\n"
    if not _BEGINS.match(line) or _BULLET.match(line) or not _LETTER.search(line):
        return "\n"  # also a number of the page
    return "" if _UNSPACED.match(before[-1]) and _UNSPACED.match(line[0]) else " "
