"""Which characters separate words, end sentences, or belong to the one before."""

import unicodedata

WHITE = "\t\n\x0c\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B)))
WHITE += "\u2028\u2029\u202f\u205f\u3000"
"""White space at which token counts add up.

Smaller than `str.isspace`: XLM-R's normaliser deletes the vertical tab and the separators
U+001C to U+001F, which joins the words around them.
"""

SPACED_ENDS = ".!?…"
"""End a sentence only when white space follows (3.14, example.com)."""

PLAIN_ENDS = "。！？।؟۔།"  # noqa: RUF001
"""End a sentence whatever follows."""

CLOSERS = "\"'”’»)]」』）】》〉］｝"  # noqa: RUF001
"""Quotes and brackets that still belong to the sentence before them."""

_WHITE = frozenset(WHITE)
_ZERO_WIDTH_JOINER = "\u200d"
_VIRAMA = 9  # canonical combining class of the signs that join two Indic consonants
_THAI_LAO_VOWELS = "\u0e33\u0eb3"  # letters by category, but part of the cluster before


def is_white(character: str) -> bool:
    """Tell whether token counts add up at this character."""
    return character in _WHITE


def is_grapheme_edge(text: str, position: int) -> bool:
    """Tell whether a reader sees two characters meet here.

    The part of Unicode's rules (UAX 29) that occurs in running text: line ends, combining
    and spacing marks, variation selectors, joined emoji, skin tones, flags, Hangul syllables
    written as letters, Indic conjuncts.
    """
    if not 0 < position < len(text):
        return True
    before, after = text[position - 1], text[position]
    if after < "\u0300" and before < "\u0300":
        return not (before == "\r" and after == "\n")
    return not (
        _extends(after)
        or _joins_next(before, after)
        or _is_same_flag(text, position)
        or _is_same_syllable(before, after)
    )


def _extends(character: str) -> bool:
    return (
        character == _ZERO_WIDTH_JOINER
        or character in _THAI_LAO_VOWELS
        or "\U0001f3fb" <= character <= "\U0001f3ff"
        or "\U000e0020" <= character <= "\U000e007f"
        or unicodedata.category(character)[0] == "M"
    )


def _joins_next(before: str, after: str) -> bool:
    if before == _ZERO_WIDTH_JOINER:
        return not is_white(after)
    return unicodedata.combining(before) == _VIRAMA and unicodedata.category(after) == "Lo"


def _is_same_flag(text: str, position: int) -> bool:
    """Flags are pairs of regional letters; an odd number of them before means the middle."""
    if not (_is_regional(text[position]) and _is_regional(text[position - 1])):
        return False
    first = position - 1
    limit = max(0, position - 64)  # a longer row of flags may lose its pairing, not its speed
    while first > limit and _is_regional(text[first - 1]):
        first -= 1
    return (position - first) % 2 == 1


def _is_regional(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _is_same_syllable(before: str, after: str) -> bool:
    if "\u1160" <= after <= "\u11a7":  # vowel after a leading consonant, vowel or LV syllable
        return "\u1100" <= before <= "\u11a7" or _is_open_syllable(before)
    if "\u11a8" <= after <= "\u11ff":  # trailing consonant
        return "\u1160" <= before <= "\u11ff" or "\uac00" <= before <= "\ud7a3"
    return "\u1100" <= after <= "\u115f" and "\u1100" <= before <= "\u115f"


def _is_open_syllable(character: str) -> bool:
    return "\uac00" <= character <= "\ud7a3" and (ord(character) - 0xAC00) % 28 == 0
