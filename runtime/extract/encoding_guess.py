"""Which legacy encoding a text has, or that it cannot be told.

charset-normalizer recognises Cyrillic, Greek, Arabic, Hebrew and Thai well, and takes Latin code
pages for one another, because most bytes are letters in all of them. So for Latin text the
alphabets decide: the right code page is the one that makes every accented letter belong to one
language. For Chinese, Japanese and Korean the share of frequent characters decides.
"""

import re
from collections.abc import Iterator
from importlib.util import find_spec

SAMPLE_BYTES = 1 << 17

_SCRIPTS = "cp1251 koi8_r koi8_u cp866 cp1253 cp1255 cp1256 cp874".split()

_EAST_ASIAN = {  # what is frequent, and its least share of all characters that are not ASCII
    "cp932": ("[\u3041-\u30ff]", 0.25),
    "euc_jp": ("[\u3041-\u30ff]", 0.25),
    "cp949": ("[\uac00-\ud7a3\u3000-\u3020]", 0.9),
    "gb18030": (None, 0.8),
    "big5": (None, 0.8),
}
# The most frequent Han (level 1 of both standards) and punctuation.
_FREQUENT = {
    "gb18030": re.compile(b"[\xa1-\xa3\xb0-\xd7][\xa1-\xfe]"),
    "big5": re.compile(b"[\xa1-\xa2\xa4-\xc6][\x40-\x7e\xa1-\xfe]"),
}

_MOST_MESS = 4.0
"""Percent; charset-normalizer calls it chaos. Right guesses stay below, Greek read as Cyrillic
and Japanese read as Chinese do not (1,272 samples of 24 languages and encodings)."""

_LEAST_FOREIGN = 0.4
"""Of all letters; a few Arabic letters in a Latin text are accents of another code page."""

_WINDOWS = ("cp1252", "cp1250", "cp1254", "cp1257")

_LEAST_SHARE = 0.97
"""Of the accented letters that one alphabet must hold; the rest are names and loan words."""

# Quotation marks, dashes and signs that every language uses.
_MARKS = frozenset(
    "«»“”„‘’‚‹›–—…·•§°©®€£ªº¿¡½¼¾²³×÷±µ™†‡\u00a0\u00ad\u200e\u200f"  # noqa: RUF001
)

_ALPHABETS = {
    "cp1252 cp850 mac_roman": (
        "äöüß", "éèêëàâçîïôùûüÿœæ", "ñáéíóúü", "àèéìíîòóù", "ãõáéíóúâêôàçü", "éëïóöü", "åäöé",
        "æøåé", "ðþæáéíóúýö", "àéèíïóòúüç", "ëç",
    ),
    "cp1250 cp852": (
        "ąćęłńóśźż", "áčďéěíňóřšťúůýž", "áäčďéíĺľňóôŕšťúýž", "áéíóöőúüű", "ăâîșşțţ", "čćđšž",
    ),
    "cp1254": ("çğıİöşüâîû",),
    "cp1257": ("āčēģīķļņšūž", "ąčęėįšųūž", "äõöüšž"),
    "cp1258": ("ăâđêôơư\u0300\u0301\u0303\u0309\u0323àáâãèéêìíòóôõùúý",),
}  # fmt: skip


def can_guess() -> bool:
    """Tell whether charset-normalizer (extra `docs`) is installed."""
    return find_spec("charset_normalizer") is not None


def guess_encoding(data: bytes) -> str | None:
    """Return the encoding of a text in a legacy encoding; None when it is not clear.

    Needs charset-normalizer (extra `docs`); without it nothing is clear.
    """
    if not can_guess():
        return None
    sample = _whole_lines(data)
    return _east_asian(sample) or _latin(sample) or _of_script(sample)


def _whole_lines(data: bytes) -> bytes:
    """Return the start of the data; a cut inside a character would look like an error."""
    if len(data) <= SAMPLE_BYTES:
        return data
    end = data.rfind(b"\n", 0, SAMPLE_BYTES)
    return data[: end + 1] or data[:SAMPLE_BYTES]


def _east_asian(sample: bytes) -> str | None:
    for name, (pattern, least) in _EAST_ASIAN.items():
        try:
            special = [character for character in sample.decode(name) if character >= "\x80"]
        except UnicodeDecodeError:
            continue
        if pattern is not None:
            frequent = len(re.findall(pattern, "".join(special)))
        else:
            encoded = (character.encode(name) for character in special)
            frequent = sum(_FREQUENT[name].fullmatch(pair) is not None for pair in encoded)
        if special and frequent >= least * len(special):
            return name
    return None


def _of_script(sample: bytes) -> str | None:
    from charset_normalizer import from_bytes

    best = from_bytes(sample, cp_isolation=_SCRIPTS).best()
    if best is None or best.percent_chaos > _MOST_MESS:
        return None
    letters = [character for character in sample.decode(best.encoding) if character.isalpha()]
    foreign = sum(letter >= "\u0370" for letter in letters)  # from Greek on
    return best.encoding if foreign >= _LEAST_FOREIGN * len(letters) else None


def _latin(sample: bytes) -> str | None:
    """Return the code page of a Latin text: of Windows if that fits, else of DOS or the Mac."""
    shares = {name: share for name, share in _latin_shares(sample) if share >= _LEAST_SHARE}
    for names in (_WINDOWS, list(shares)):
        best = max((shares.get(name, 0.0) for name in names), default=0.0)
        winners = [name for name in names if best and shares.get(name) == best]
        if winners:
            is_clear = len({sample.decode(name) for name in winners}) == 1
            return winners[0] if is_clear else None
    return None


def _latin_shares(sample: bytes) -> Iterator[tuple[str, float]]:
    """Yield each possible code page and the share of special characters that one language has."""
    for names, alphabets in _ALPHABETS.items():
        for name in names.split():
            try:
                text = sample.decode(name)
            except UnicodeDecodeError:
                continue
            special = [character for character in text.lower() if character >= "\x80"]
            best = max(_share(special, alphabet) for alphabet in alphabets)
            yield name, best


def _share(special: list[str], alphabet: str) -> float:
    known = _MARKS.union(alphabet)
    return sum(character in known for character in special) / max(len(special), 1)
