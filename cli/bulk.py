"""Rows of a file or of stdin as inputs: one text per line, or a field of JSON Lines."""

import hashlib
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from embedge.cli.interrupt import waiting_for_input
from embedge.cli.records import FailedInput, Input, TextInput, speakable
from embedge.models.errors import InputError, InvalidOption
from embedge.runtime.json_rows import text_of_row

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, kw_only=True)
class RowForm:
    """How a row becomes a text.

    Attributes:
        field: the field of a JSON object that holds the text; None: the line is the text.
        id_field: the field that holds the id; None: the 0-based number of the row.
        encoding: of every row, None for UTF-8.
        max_bytes: a longer row is a failed input.
    """

    field: str | None = None
    id_field: str | None = None
    encoding: str | None = None
    max_bytes: int = 64 << 20


class Rows:
    """The rows of one source; reads one row at a time and hashes what it reads."""

    def __init__(self, path: str, form: RowForm) -> None:
        """Take a path, or `-` for stdin.

        Raises:
            InputError: the file cannot be opened.
            InvalidOption: the encoding is unknown, or not one in which lines can be split.
        """
        self.path = path
        self._form = form
        self._encoding = _line_encoding(form.encoding)
        self._waits = path == "-"
        self._file = sys.stdin.buffer if self._waits else open_input(Path(path))
        self._digest = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        """Hash of all bytes read so far."""
        return self._digest.hexdigest()

    def inputs(self) -> Iterator[Input]:
        """Yield one input per row, in order, and close the file."""
        try:
            for number, row in enumerate(self._raw_rows()):
                try:
                    yield self._input(number, row)
                except InputError as error:
                    path = speakable(self.path)
                    message = f"{path} row {number}: {error}"
                    yield FailedInput(str(number), path, error.code, message)
        finally:
            if not self._waits:
                self._file.close()

    def _raw_rows(self) -> Iterator[bytes | None]:
        """Yield rows without their line end; None for one that is too long."""
        first = True
        while line := self._readline():
            if first and line.startswith(_BOM):
                line = line[len(_BOM) :]
            first = False
            content = line.removesuffix(b"\n").removesuffix(b"\r")
            if len(content) <= self._form.max_bytes:
                yield content
                continue
            while not line.endswith(b"\n") and (line := self._readline()):
                pass
            yield None

    def _readline(self) -> bytes:
        with waiting_for_input() if self._waits else nullcontext():
            line = self._file.readline(self._form.max_bytes + 2)
        self._digest.update(line)
        self.size += len(line)
        return line

    def _input(self, number: int, row: bytes | None) -> Input:
        from embedge.runtime.extract.decoding import without_lone_surrogates

        if row is None:
            raise InputError(
                f"longer than {self._form.max_bytes} bytes; raise --max-file-size", "too_large"
            )
        try:
            line = row.decode(self._encoding)
        except UnicodeDecodeError as error:
            raise InputError(
                f"byte {error.start} is not {self._encoding}; name it with --encoding", "encoding"
            ) from None
        name, text = str(number), line
        if self._form.field is not None and line.strip():
            own, text = text_of_row(line, self._form.field, self._form.id_field)
            name = name if own is None else own
        fields = {"id": without_lone_surrogates(name), "path": speakable(self.path)}
        return TextInput(without_lone_surrogates(text), fields)


def open_input(path: Path) -> BinaryIO:
    """Open a file that was named by the user.

    Raises:
        InputError: it is missing, a folder, or may not be read.
    """
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file", "not_found") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; use `embed files {path}`", "is_directory") from None
    except PermissionError:
        raise InputError(f"{path}: no permission to read it", "permission") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}", "permission") from error


def _line_encoding(name: str | None) -> str:
    try:
        newline = "\n".encode(name or "utf-8")
    except LookupError:
        raise InvalidOption(f"--encoding {name!r} is unknown; write it like latin-1") from None
    if newline != b"\n":
        raise InvalidOption(
            f"--encoding {name} cannot be read line by line; convert the input to UTF-8 first"
        )
    return name or "utf-8"
