"""JSON: one record is one paragraph, one line per value, each with the path of its keys."""

import json
from collections.abc import Iterator
from typing import NoReturn

from embedge.models.errors import InputError
from embedge.runtime.extract.decoding import decode, without_lone_surrogates
from embedge.runtime.extract.document import Document
from embedge.runtime.extract.registry import Source


class _Pairs(list[tuple[str, object]]):
    """An object with its keys in order, repeated ones kept."""


_DECODER = json.JSONDecoder(
    object_pairs_hook=_Pairs,
    # As written: 1.10 stays 1.10, and a number of a million digits costs nothing.
    parse_float=str,
    parse_int=str,
    parse_constant=str,
)


def read_json(source: Source) -> Document:
    """Read one value: each element of a list, or each key of an object, is a paragraph.

    Raises:
        InputError: `format` with line and column, `limit` for nesting that is too deep,
            `binary`, `encoding`.
    """
    text, encoding = decode(source)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        _refuse(source.path, f"line {error.lineno}, column {error.colno}", error)
    except RecursionError as error:
        raise _too_deep(source.path) from error
    records: list[object] = [value]
    if isinstance(value, _Pairs):
        records = [_Pairs([pair]) for pair in value]
    elif isinstance(value, list):
        records = value
    return _document(records, "application/json", encoding)


def read_jsonl(source: Source) -> Document:
    """Read one value per line; blank lines are passed over.

    Raises:
        InputError: `format` with the line, `limit`, `binary`, `encoding`.
    """
    text, encoding = decode(source)
    records: list[object] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            records.append(_DECODER.decode(line))
        except json.JSONDecodeError as error:
            _refuse(source.path, f"line {number}, column {error.colno}", error)
        except RecursionError as error:
            raise _too_deep(source.path) from error
    return _document(records, "application/x-ndjson", encoding)


def _document(records: list[object], media_type: str, encoding: str) -> Document:
    paragraphs = ("\n".join(_lines(record)) for record in records)
    text = "\n\n".join(paragraph for paragraph in paragraphs if paragraph)
    return Document(
        text=without_lone_surrogates(text),
        media_type=media_type,
        kind="text",
        encoding=encoding,
        extractor="json/1",
    )


def _lines(record: object) -> Iterator[str]:
    """Yield `outer.inner: value` for each value; a list repeats its key."""
    todo: list[tuple[str, object]] = [("", record)]
    while todo:
        key, value = todo.pop()
        if isinstance(value, _Pairs):
            below = f"{key}." if key else ""
            todo += [(below + name, each) for name, each in reversed(value)]
        elif isinstance(value, list):
            todo += [(key, each) for each in reversed(value)]
        elif (shown := _shown(value)) is not None:
            yield f"{key}: {shown}" if key else shown


def _shown(value: object) -> str | None:
    if value is True or value is False:
        return str(value).lower()
    return value.strip() or None if isinstance(value, str) else None  # numbers are text here


def _refuse(path: str, place: str, error: json.JSONDecodeError) -> NoReturn:
    message = f"{path}, {place}: {error.msg}; repair it, or rename the file to .txt"
    raise InputError(message, "format") from error


def _too_deep(path: str) -> InputError:
    return InputError(
        f"{path} nests deeper than this version reads; flatten it, or rename the file to .txt",
        "limit",
    )
