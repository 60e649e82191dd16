"""Tables: one record is one paragraph, one line per value, each with its column's name."""

import csv
import io
import threading
from collections.abc import Iterator, Sequence

from embedge.models.errors import InputError
from embedge.runtime.extract.decoding import decode
from embedge.runtime.extract.document import Document
from embedge.runtime.extract.registry import Source

_DELIMITERS = ",;\t|"
_FIELD_LIMIT_LOCK = threading.Lock()


def read_csv(source: Source) -> Document:
    """Read a table whose first row names the columns; empty values are left out.

    The delimiter is the one of `,` `;` tab `|` that the first line has most of; a `.tsv` has
    tabs. The text is `name: value` lines, records apart by a blank line.

    Raises:
        InputError: `format` with the line, `binary`, `encoding`.
    """
    text, encoding = decode(source)
    first_line = text[: 1 << 16].lstrip("\r\n").partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first_line.count)
    if source.suffix == ".tsv":
        delimiter = "\t"
    return Document(
        text="\n\n".join(_paragraphs(source.path, text, delimiter)),
        media_type="text/tab-separated-values" if delimiter == "\t" else "text/csv",
        kind="text",
        encoding=encoding,
        extractor="csv/1",
    )


def _paragraphs(path: str, text: str, delimiter: str) -> Iterator[str]:
    rows = iter(_rows(path, text, delimiter))
    names = [name.strip() for name in next(rows, [])]
    count = 0
    for row in rows:
        count += 1
        paragraph = _paragraph(names, row)
        if paragraph:
            yield paragraph
    if not count and any(names):  # a single row is data, not names
        yield "\n".join(name for name in names if name)


def _paragraph(names: Sequence[str], row: Sequence[str]) -> str:
    lines = []
    for number, raw in enumerate(row):
        value = raw.strip()
        name = names[number] if number < len(names) else ""
        if value:
            lines.append(f"{name or f'column {number + 1}'}: {value}")
    return "\n".join(lines)


def _rows(path: str, text: str, delimiter: str) -> list[list[str]]:
    # A field may hold a whole article, but the module's limit of 131,072 characters is
    # global: it is lifted for this call only, one call at a time.
    with _FIELD_LIMIT_LOCK:
        limit = csv.field_size_limit(max(len(text), 1))
        try:
            reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
            return [row for row in reader if row]
        except csv.Error as error:
            raise InputError(
                f"{path}, line {reader.line_num}: {error}; repair the row, or rename the file "
                "to .txt to read it as text",
                "format",
            ) from error
        finally:
            csv.field_size_limit(limit)
