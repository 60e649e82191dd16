"""From bytes to text: strictly, or with an error that names the way out.

Order: the user's encoding, a byte-order mark, UTF-16 or UTF-32 by where their zero bytes are,
UTF-8, the encoding that the file declares (html), and with the extra `docs` a guess that refuses
whatever is not clear: a wrong guess would give plausible, wrong vectors.
"""

import codecs
import re

from embedge.models.errors import InputError, InvalidOption
from embedge.runtime.extract.encoding_guess import can_guess, guess_encoding
from embedge.runtime.extract.registry import Source

SAMPLE_BYTES = 1 << 16
"""How far into a file the tests for binary content and zero bytes look."""

_CONTROL = re.compile("[\x00-\x06\x0e-\x1a\x1c-\x1f]")
"""Characters that no text file has (the set of GPT4All's LocalDocs)."""

_MARKS = (  # UTF-32 first: its little-endian mark starts with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_SAID = {
    b"%PDF-": "a PDF",
    b"PK\x03\x04": "a zip archive (DOCX, EPUB and ODT are such)",
    b"\xd0\xcf\x11\xe0": "an old Office document",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
    b"GIF8": "an image",
    b"\x1f\x8b": "a gzip archive",
    b"\x7fELF": "a program",
    b"MZ": "a program",
}


def decode(source: Source, declared: str | None = None) -> tuple[str, str]:
    """Return the text without byte-order mark, and the name of its encoding.

    Args:
        source: the file; `source.encoding` is the user's, checked first.
        declared: an encoding that the file names itself, tried after UTF-8.

    Raises:
        InputError: `binary` or `encoding`.
        InvalidOption: the user's encoding does not exist.
    """
    if source.encoding:
        return _decode_as_told(source, source.encoding)
    for mark, name in _MARKS:
        if source.data.startswith(mark):
            return _decode_strictly(source, source.data[len(mark) :], name, "its mark"), name
    sample = source.data[:SAMPLE_BYTES]
    if b"\0" in sample and (wide := _wide_encoding(sample)):
        wide_text = _try(source.data, wide)
        if wide_text is not None and _is_plausible(wide_text[:SAMPLE_BYTES], sample):
            return wide_text, wide
    if _CONTROL.search(sample.decode("latin-1")) or source.data.startswith(b"%PDF-"):
        raise _binary(source)
    return _decode_by_trial(source, declared)


def _decode_by_trial(source: Source, declared: str | None) -> tuple[str, str]:
    for name in filter(None, ("utf-8", declared)):
        text = _try(source.data, name)
        if text is not None:
            return text, name
    guess = guess_encoding(source.data)
    if guess is not None:
        text = _try(source.data, guess)
        if text is not None:
            return text, guess
    raise _undecodable(source)


def without_lone_surrogates(text: str) -> str:
    """Replace each half of a broken pair, as JSON escapes can write it, with U+FFFD."""
    return _SURROGATE.sub("\ufffd", text)


def _decode_as_told(source: Source, encoding: str) -> tuple[str, str]:
    try:
        b"?".decode(encoding, "replace")  # also refuses codecs from bytes to bytes, such as hex
        name = codecs.lookup(encoding).name
    except (LookupError, ValueError):
        raise InvalidOption(
            f"--encoding {encoding!r} is not known; use a name such as utf-8, cp1252 or shift_jis"
        ) from None
    data = source.data
    mark = next((mark for mark, each in _MARKS if data.startswith(mark) and each == name), b"")
    text = _decode_strictly(source, data[len(mark) :], name, "--encoding")
    if _CONTROL.search(text[:SAMPLE_BYTES]):
        raise _binary(source)
    return text, name


def _decode_strictly(source: Source, data: bytes, name: str, told_by: str) -> str:
    try:
        return data.decode(name)
    except UnicodeError as error:
        at = f"byte {error.start:,}" if isinstance(error, UnicodeDecodeError) else "its content"
        raise InputError(
            f"{source.path} is not {name}, as {told_by} says, at {at}; "
            "name the right encoding with --encoding",
            "encoding",
        ) from None


def _try(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except (UnicodeError, LookupError):
        return None


def _wide_encoding(sample: bytes) -> str | None:
    """Tell UTF-16 and UTF-32 without a mark by where zero bytes are, and where none is.

    Every UTF-32 character has a zero in its highest byte. In UTF-16, line breaks, spaces and
    ASCII have a zero in the higher byte; none is ever in the lower byte of a text.
    """
    lanes = [sample[lane::4] for lane in range(4)]
    zeros = [lane.count(0) for lane in lanes]
    quarter = max(1, len(sample) // 4)
    if len(sample) % 4 == 0:
        if zeros[3] == quarter and zeros[0] < quarter:
            return "utf-32-le"
        if zeros[0] == quarter and zeros[3] < quarter:
            return "utf-32-be"
    low, high = zeros[0] + zeros[2], zeros[1] + zeros[3]
    if len(sample) % 2 == 0 and not (low and high):
        return "utf-16-le" if high else "utf-16-be"
    return None


def _is_plausible(text: str, data: bytes) -> bool:
    """Tell a text in UTF-16 from ASCII with a stray zero byte, which decodes to ideographs."""
    if _CONTROL.search(text):
        return False
    n_latin = sum(character < "\u0100" for character in text)
    n_ascii = sum(0x20 <= byte < 0x7F for byte in data)  # two of three in Chinese UTF-16
    return n_latin * 3 >= len(text) or n_ascii * 5 < len(data) * 4


def _binary(source: Source) -> InputError:
    said = next((said for magic, said in _SAID.items() if source.data.startswith(magic)), "")
    looks = f"looks like {said}" if said else "holds control bytes that no text has"
    return InputError(
        f"{source.path} is not text: it {looks}. Convert it to text first, or leave it out "
        "with --exclude",
        "binary",
    )


def _undecodable(source: Source) -> InputError:
    try:
        source.data.decode("utf-8")
    except UnicodeDecodeError as error:
        at = error.start
    else:  # pragma: no cover - the caller has tried UTF-8
        at = 0
    return InputError(
        f"{source.path} is not UTF-8 (byte {at:,} is 0x{source.data[at]:02x}); "
        f"name its encoding, for example --encoding cp1252{_other_way()}",
        "encoding",
    )


def _other_way() -> str:
    if can_guess():
        return ""
    return ", or recognise the common ones: pip install 'embedge[docs]'"
