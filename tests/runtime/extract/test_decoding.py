import codecs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedge.models.errors import InputError, InvalidOption
from embedge.runtime.extract import encoding_guess, extract

TEXT = "Grüße, 世界! Привет 👋\nzweite Zeile\n"
MARKS = {
    "utf-8": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}


def failure(data: bytes, path: str = "a.txt", **options: object) -> InputError:
    with pytest.raises(InputError) as caught:
        extract(data, path=path, **options)
    return caught.value


@pytest.mark.parametrize("encoding", MARKS)
def test_a_byte_order_mark_decides_and_is_dropped(encoding):
    document = extract(MARKS[encoding] + TEXT.encode(encoding), path="a.txt")
    assert (document.text, document.encoding) == (TEXT, encoding)


@pytest.mark.parametrize("encoding", MARKS)
@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        "plain English, nothing else",
        "Привет, мир. Это текст.\n",
        "日本語の文章です。改行\nと空白 " * 3,
    ],
)
def test_unicode_without_a_mark_is_found(encoding, text):
    document = extract(text.encode(encoding), path="a.txt")
    assert (document.text, document.encoding) == (text, encoding)


@settings(deadline=None, max_examples=200)
@given(text=st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1))
def test_utf_8_comes_back_as_it_was(text):
    if text.strip() and not text.startswith("\ufeff"):
        assert extract(text.encode(), path="a.txt").text == text


@settings(deadline=None, max_examples=300)
@given(data=st.binary(min_size=1, max_size=200))
def test_any_bytes_give_a_text_or_a_known_code(data):
    for path in ("a.txt", "a.html", "a.csv", "a.json", "a.jsonl", "a.py"):
        assert outcome(data, path) in {
            "text", "binary", "encoding", "empty", "no_text", "format", "limit"
        }  # fmt: skip


def outcome(data: bytes, path: str) -> str:
    try:
        text = extract(data, path=path).text
    except InputError as error:
        return error.code
    text.encode()  # fails for lone surrogates
    return "text" if text.strip() else "blank"


@pytest.mark.parametrize("encoding", ["cp1252", "shift_jis", "koi8-r"])
def test_another_encoding_is_an_error_that_names_the_flag_and_works_with_it(encoding, monkeypatch):
    monkeypatch.setattr(encoding_guess, "find_spec", lambda _name: None)  # no extra docs
    text = {"cp1252": "Café “naïve”", "shift_jis": "日本語のテキスト", "koi8-r": "Привет"}[encoding]
    data = text.encode(encoding)
    error = failure(data)
    assert error.code == "encoding"
    assert "--encoding" in str(error)
    assert "embedge[docs]" in str(error)
    assert "a.txt" in str(error)
    assert extract(data, path="a.txt", encoding=encoding).text == text


def test_a_given_encoding_is_strict():
    error = failure("naïve".encode("cp1252"), encoding="utf-8")
    assert error.code == "encoding"
    assert "byte 2" in str(error)


def test_a_given_encoding_drops_its_mark():
    assert extract(codecs.BOM_UTF8 + b"x", path="a.txt", encoding="UTF8").text == "x"


@pytest.mark.parametrize("encoding", ["no-such", "hex", "rot13", "bad\0name"])
def test_an_unknown_encoding_is_a_usage_error(encoding):
    with pytest.raises(InvalidOption, match="--encoding"):
        extract(b"text", path="a.txt", encoding=encoding)


@pytest.mark.parametrize("byte", [*range(0x01, 0x07), *range(0x0E, 0x1B), *range(0x1C, 0x20)])
def test_control_bytes_are_binary(byte):
    assert failure(b"some text " + bytes([byte]) + b" more").code == "binary"


@pytest.mark.parametrize("byte", [0x07, 0x08, 0x09, 0x0B, 0x0C, 0x1B, 0x7F])
def test_bytes_that_texts_do_have_are_not_binary(byte):
    assert extract(b"some text " + bytes([byte]) + b" more", path="a.txt").text


@pytest.mark.parametrize(
    "data",
    [
        b"some text with one \0 zero byte in it, and more text after that",
        b"one/file\0another/file\0third.txt\0",
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01",
        b"PK\x03\x04\x14\0\0\0",
        b"\x7fELF\x02\x01\x01" + b"\0" * 50,
        b"\0" * 100,
    ],
)
def test_files_that_are_no_text_are_binary(data):
    assert failure(data).code == "binary"


def test_binary_content_stays_binary_with_an_encoding():
    assert failure(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", encoding="latin-1").code == "binary"


def test_control_bytes_after_the_sample_do_not_matter():
    assert extract(b"a " * 40_000 + b"\x01", path="a.txt").text.endswith("\x01")


def test_wrong_utf_16_after_its_mark_is_an_encoding_error():
    assert failure(codecs.BOM_UTF16_LE + b"a").code == "encoding"
    assert failure(codecs.BOM_UTF16_LE + b"\x00\xd8a\x00").code == "encoding"
