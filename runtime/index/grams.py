"""Pairs of characters, for scripts that write words without spaces between them.

The answer for a text must stay the same for ever, because a contentless full-text table forgets
a row only when the same value is given again. So code-point ranges and the half-width table are
fixed here, and no Unicode library is asked. A change raises `GRAMS_VERSION`, which rebuilds the
table.
"""

import re

GRAMS_VERSION = "1"

_RANGES = (
    (0x0E00, 0x0E7F),  # Thai
    (0x0E80, 0x0EFF),  # Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1100, 0x11FF),  # Hangul letters
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x2FDF),  # radicals
    (0x3005, 0x3007),  # marks and the zero that stand in Han text
    (0x3021, 0x3029),
    (0x3041, 0x3096),  # Hiragana
    (0x3099, 0x309F),
    (0x30A1, 0x30FF),  # Katakana
    (0x3105, 0x31BF),  # Bopomofo, Hangul compatibility letters
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0xA960, 0xA97F),
    (0xA9E0, 0xA9FF),
    (0xAA60, 0xAA7F),
    (0xAC00, 0xD7FB),  # Hangul syllables
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F),  # half-width Katakana
    (0x20000, 0x323AF),
)
_RUN = re.compile("[" + "".join(f"{chr(low)}-{chr(high)}" for low, high in _RANGES) + "]+")

_HALF = "".join(map(chr, range(0xFF66, 0xFF9E)))
_FULL = (
    "ヲァィゥェォャュョッーアイウエオカキクケコサシスセソ"
    "タチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワン"
)
_WIDE = dict(zip(map(ord, _HALF), _FULL, strict=True)) | {0xFF9E: "\u3099", 0xFF9F: "\u309a"}
_PLAIN = "カキクケコサシスセソタチツテトハヒフヘホウ" + "かきくけこさしすせそたちつてとはひふへほう"
_VOICED = (
    "ガギグゲゴザジズゼゾダヂヅデドバビブベボヴ" + "がぎぐげござじずぜぞだぢづでどばびぶべぼゔ"
)
_JOINED = {plain + "\u3099": voiced for plain, voiced in zip(_PLAIN, _VOICED, strict=True)} | {
    plain + "\u309a": joined
    for plain, joined in zip("ハヒフヘホはひふへほ", "パピプペポぱぴぷぺぽ", strict=True)
}
_MARKED = re.compile("[" + "".join(sorted({pair[0] for pair in _JOINED})) + "][\u3099\u309a]")


def find_runs(text: str) -> list[str]:
    """Return every longest run of these scripts, Kana in full width and composed."""
    return [_normal(run) for run in _RUN.findall(text)]


def without_runs(text: str) -> str:
    """Return the text with every such run replaced by a space."""
    return _RUN.sub(" ", text)


def embed_grams(text: str) -> str:
    """Return the overlapping pairs of each run and its last character, separated by spaces.

    The last character lets a query of one character be a prefix query.
    """
    words: list[str] = []
    for run in find_runs(text):
        words += pairs_of(run)
        words.append(run[-1])
    return " ".join(words)


def pairs_of(run: str) -> list[str]:
    """Return the overlapping pairs of one run; none for a single character."""
    return [run[place : place + 2] for place in range(len(run) - 1)]


def _normal(run: str) -> str:
    wide = run.translate(_WIDE)
    return _MARKED.sub(lambda found: _JOINED.get(found.group(), found.group()), wide)
