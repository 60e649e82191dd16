"""Which code reads which file.

A format is one row here and one module with a function `(Source) -> Document`. The module is
imported when the first file of that format is read, so an optional library costs nothing
before.
"""

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
    """A file format: its suffixes, the bytes it starts with, and `module:function`."""

    name: str
    suffixes: frozenset[str]
    reader: str
    magic: tuple[bytes, ...] = ()

    def load(self) -> Reader:
        """Import the function that reads this format."""
        module, function = self.reader.split(":")
        return cast(Reader, getattr(import_module(module), function))


_HERE = "embedge.runtime.extract"

PLAIN = Format("text", frozenset(), f"{_HERE}.plain:read_plain")
"""Whatever no other format claims: prose, configuration, source code."""

FORMATS = (
    Format("html", frozenset({".html", ".htm", ".xhtml"}), f"{_HERE}.web_page:read_html"),
    Format("csv", frozenset({".csv", ".tsv"}), f"{_HERE}.csv_rows:read_csv"),
    Format("json", frozenset({".json"}), f"{_HERE}.json_values:read_json"),
    Format("jsonl", frozenset({".jsonl", ".ndjson"}), f"{_HERE}.json_values:read_jsonl"),
)


def find_format(source: Source) -> Format:
    """Return the format of a file: by its suffix, else by its first bytes, else plain text."""
    for each in FORMATS:
        if source.suffix in each.suffixes:
            return each
    for each in FORMATS:
        if each.magic and source.data.startswith(each.magic):
            return each
    return PLAIN


def suffix_of(path: str) -> str:
    """Return the last suffix in lower case, with its dot, or nothing."""
    return PurePath(path).suffix.lower()
