"""Which code reads which file.

A format is one row here and one module with a function `(Source) -> Document`. The module is
imported when the first file of that format is read, so an optional library costs nothing
before.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import PurePath
from typing import cast

from embedge.runtime.extract.document import Document


@dataclass(frozen=True)
class Source:
    """The bytes of one file and what is known about them.

    Attributes:
        data: everything in the file.
        path: as records spell it; for messages.
        suffix: lower case with its dot, or empty.
        encoding: given by the user, or None to find it.
    """

    data: bytes
    path: str
    suffix: str
    encoding: str | None


Reader = Callable[[Source], Document]


@dataclass(frozen=True)
class Format:
    """A file format: its suffixes, `module:function`, and what its files start with (a pattern)."""

    name: str
    suffixes: frozenset[str]
    reader: str
    magic: bytes = b""

    def load(self) -> Reader:
        """Import the function that reads this format."""
        module, function = self.reader.split(":")
        return cast(Reader, getattr(import_module(module), function))


_HERE = "embedge.runtime.extract"

PLAIN = Format("text", frozenset(), f"{_HERE}.plain:read_plain")
"""Whatever no other format claims: prose, configuration, source code."""

# A zip file whose first member, unpacked, is the media type, as the format demands.
_EPUB_START = rb"PK\x03\x04.{26}mimetypeapplication/epub\+zip"

FORMATS = (
    Format("html", frozenset({".html", ".htm", ".xhtml"}), f"{_HERE}.web_page:read_html"),
    Format("csv", frozenset({".csv", ".tsv"}), f"{_HERE}.csv_rows:read_csv"),
    Format("json", frozenset({".json"}), f"{_HERE}.json_values:read_json"),
    Format("jsonl", frozenset({".jsonl", ".ndjson"}), f"{_HERE}.json_values:read_jsonl"),
    Format("pdf", frozenset({".pdf"}), f"{_HERE}.pdf:read_pdf", rb"%PDF-"),
    Format("docx", frozenset({".docx", ".docm", ".dotx"}), f"{_HERE}.docx:read_docx"),
    Format("epub", frozenset({".epub"}), f"{_HERE}.epub:read_epub", _EPUB_START),
)


def find_format(source: Source) -> Format:
    """Return the format of a file: by its suffix, else by its first bytes, else plain text."""
    for each in FORMATS:
        if source.suffix in each.suffixes:
            return each
    for each in FORMATS:
        if each.magic and re.match(each.magic, source.data, re.DOTALL):
            return each
    return PLAIN


def suffix_of(path: str) -> str:
    """Return the last suffix in lower case, with its dot, or nothing."""
    return PurePath(path).suffix.lower()
