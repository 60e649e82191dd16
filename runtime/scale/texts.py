"""The texts of a shard, in order, each with the fields that say where it comes from."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from embedge.models.errors import InputError
from embedge.runtime.json_rows import id_value, text_field, text_of_row
from embedge.runtime.record_fields import passage_fields, whole_fields
from embedge.runtime.scale.job import RowSource, ScaleOptions
from embedge.runtime.scale.shards import FileRef, Shard
from embedge.runtime.walk import FoundFile

if TYPE_CHECKING:
    from embedge.runtime.chunking import Chunk
    from embedge.runtime.extract import Document

_BOM = b"\xef\xbb\xbf"
_ROWS_PER_READ = 1024

Fields = dict[str, object]
# Reads one row: its id, if it has one, and its text; raises InputError.
_Row = Callable[[], tuple[str | None, str]]


@dataclass(frozen=True)
class Piece:
    """One text to embed, or a failed input (`text` is None)."""

    fields: Fields
    text: str | None


class ShardTexts:
    """Reads shards; holds what does not change between them."""

    def __init__(
        self,
        options: ScaleOptions,
        rows: RowSource | None,
        cut: "Callable[[Document], list[Chunk]]",
    ) -> None:
        """Take the options and a function that cuts a document into passages."""
        self._options, self._rows, self._cut = options, rows, cut

    def pieces(self, shard: Shard) -> Iterator[Piece]:
        """Yield the texts of a shard.

        Raises:
            InputError: the file of the rows went away or changed.
        """
        if self._rows is None:
            for ref in shard.files:
                yield from self._of_file(ref)
            return
        rows = _parquet_rows if shard.location.lower().endswith(".parquet") else self._lines
        for number, row in enumerate(rows(shard, self._rows), start=shard.first_row):
            yield from self._of_row(shard.path, number, row)

    def _of_file(self, ref: FileRef) -> Iterator[Piece]:
        from embedge.runtime.extract import extract_found

        options = self._options
        try:
            if ref.code:
                raise InputError(ref.message, ref.code)
            found = FoundFile(ref.path, Path(ref.location), ref.size, ref.is_explicit)
            document = extract_found(
                found, encoding=options.encoding, max_file_size=options.max_file_size
            )
        except InputError as error:
            yield _failed(ref.path, ref.path, error)
            return
        if options.long_text != "chunk":
            yield Piece(whole_fields(ref.path, document), document.text)
            return
        yield from self._passages(ref.path, ref.path, document)

    def _of_row(self, path: str, number: int, row: _Row) -> Iterator[Piece]:
        from embedge.runtime.extract.decoding import without_lone_surrogates

        name = str(number)
        try:
            own, text = row()
        except InputError as error:
            message = f"{path} row {number}: {error}"
            yield _failed(name, path, InputError(message, error.code))
            return
        name = without_lone_surrogates(name if own is None else own)
        text = without_lone_surrogates(text)
        if self._options.long_text == "chunk":
            yield from self._passages(name, path, _plain(text))
        else:
            yield Piece({"id": name, "path": path}, text)

    def _passages(self, name: str, path: str, document: "Document") -> Iterator[Piece]:
        chunks = self._cut(document)
        if not chunks:
            yield _failed(name, path, InputError(f"{path}: no text, only white space", "empty"))
        for number, chunk in enumerate(chunks):
            fields = {"path": path} | passage_fields(name, number, len(chunks), chunk)
            yield Piece(fields, chunk.text)

    def _lines(self, shard: Shard, rows: RowSource) -> Iterator[_Row]:
        _require_unchanged(shard)
        limit = self._options.max_file_size
        encoding = self._options.encoding or "utf-8"
        with Path(shard.location).open("rb") as file:
            file.seek(shard.start)
            while file.tell() < shard.stop and (line := file.readline()):
                if file.tell() == len(line):
                    line = line.removeprefix(_BOM)
                content = line.removesuffix(b"\n").removesuffix(b"\r")
                yield _line_row(content, rows, encoding, limit)


def _line_row(content: bytes, rows: RowSource, encoding: str, limit: int) -> _Row:
    def read() -> tuple[str | None, str]:
        if len(content) > limit:
            raise InputError(f"longer than {limit} bytes; raise --max-file-size", "too_large")
        try:
            line = content.decode(encoding)
        except UnicodeDecodeError as error:
            raise InputError(
                f"byte {error.start} is not {encoding}; name it with --encoding", "encoding"
            ) from None
        return text_of_row(line, rows.field, rows.id_field) if line.strip() else (None, line)

    return read


def _parquet_rows(shard: Shard, rows: RowSource) -> Iterator[_Row]:
    import pyarrow as pa
    from pyarrow import parquet

    _require_unchanged(shard)
    columns = [rows.field, *([rows.id_field] if rows.id_field else [])]
    try:
        with parquet.ParquetFile(shard.location) as file:
            missing = sorted(set(columns) - set(file.schema_arrow.names))
            if missing:
                raise InputError(f"{shard.path} has no column {missing[0]!r}", "format")
            for batch in file.iter_batches(
                _ROWS_PER_READ, row_groups=list(range(shard.start, shard.stop)), columns=columns
            ):
                for row in batch.to_pylist():
                    yield _column_row(row, rows)
    except pa.ArrowException as error:
        raise InputError(f"{shard.path} cannot be read: {error}", "format") from error


def _column_row(row: Fields, rows: RowSource) -> _Row:
    def read() -> tuple[str | None, str]:
        text = text_field(row[rows.field], rows.field)
        return None if rows.id_field is None else id_value(row[rows.id_field], rows.id_field), text

    return read


def _require_unchanged(shard: Shard) -> None:
    """Cuts were made on another content; reading on would tear rows apart."""
    try:
        status = Path(shard.location).stat()
    except OSError as error:
        raise InputError(f"{shard.path}: {error.strerror}", "vanished") from error
    if (status.st_size, status.st_mtime_ns) != shard.stamp:
        raise InputError(
            f"{shard.path} changed since the run began; start it again", "changed_while_reading"
        )


def _plain(text: str) -> "Document":
    from embedge.runtime.extract import Document

    return Document(text, "text/plain", "text", "utf-8", "rows")


def _failed(name: str, path: str, error: InputError) -> Piece:
    fields: Fields = {"id": name, "path": path}
    return Piece(fields | {"error": {"code": error.code, "message": str(error)}}, None)


def texts_of(pieces: Iterable[Piece], seen: list[Piece]) -> Iterator[str]:
    """Yield the texts; every piece, also a failed one, is appended to `seen` first."""
    for piece in pieces:
        seen.append(piece)
        if piece.text is not None:
            yield piece.text
