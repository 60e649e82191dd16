"""`parquet` and `arrow` (IPC file): metadata columns and `embedding` as a fixed-size list."""

from abc import ABC, abstractmethod
from contextlib import ExitStack
from typing import Any

from embedge.cli.output.raw_bytes import little_endian
from embedge.cli.output.target import Target
from embedge.cli.records import Fields, Record

_ROWS_PER_BATCH = 1024

_TEXT = ("id", "path", "heading", "space", "task", "text")
_COUNTS = (
    "chunk", "n_chunks", "char_start", "char_end", "line_start", "line_end", "page", "n_tokens",
)  # fmt: skip
_ELEMENTS = {"float32": "float32", "float16": "float16", "int8": "int8", "ubinary": "uint8"}


def _schema(facts: Fields) -> Any:
    import pyarrow as pa

    element = getattr(pa, _ELEMENTS[str(facts["precision"])])()
    columns = [pa.field(name, pa.string()) for name in _TEXT]
    columns += [pa.field(name, pa.int64()) for name in _COUNTS]
    columns += [pa.field("truncated", pa.bool_()), pa.field("error", pa.string())]
    columns += [pa.field("embedding", pa.list_(element, facts["dim"]))]
    metadata = {"embedge.space": str(facts["space"]), "embedge.manifest": str(facts["manifest"])}
    return pa.schema(columns, metadata=metadata)


class _Table(ABC):
    """Rows collected into batches of a fixed size, so that memory stays flat."""

    def __init__(self, target: Target, facts: Fields) -> None:
        self._schema = _schema(facts)
        self._dim = facts["dim"]
        self._rows: list[Record] = []
        self._stack = ExitStack()
        self._file = self._open(self._stack.enter_context(target.seekable()))

    @abstractmethod
    def _open(self, file: Any) -> Any:
        """Return pyarrow's writer of this format on an open file."""

    def write(self, record: Record) -> None:
        """Add one row; a failed input has its code in `error` and no embedding."""
        self._rows.append(record)
        if len(self._rows) >= _ROWS_PER_BATCH:
            self._flush()

    def finish(self) -> None:
        """Write the last batch and the footer."""
        self._flush()
        self._file.close()
        self._stack.close()

    def _flush(self) -> None:
        import pyarrow as pa

        if not self._rows:
            return
        fields = [record.fields for record in self._rows]
        arrays = [
            pa.array([_value(row, column.name) for row in fields], type=column.type)
            for column in self._schema
            if column.name != "embedding"
        ]
        arrays.append(self._embeddings())
        self._file.write_batch(pa.record_batch(arrays, schema=self._schema))
        self._rows = []

    def _embeddings(self) -> Any:
        import numpy as np
        import pyarrow as pa

        kind = self._schema.field("embedding").type
        dtype = np.dtype(kind.value_type.to_pandas_dtype())
        blank = bytes(dtype.itemsize * int(str(self._dim)))
        data = b"".join(
            blank if row.vector is None else little_endian(row.vector) for row in self._rows
        )
        values = pa.array(np.frombuffer(data, dtype=dtype.newbyteorder("<")).astype(dtype))
        mask = pa.array([row.vector is None for row in self._rows])
        return pa.FixedSizeListArray.from_arrays(values, type=kind, mask=mask)


class ParquetFile(_Table):
    """`parquet`."""

    def _open(self, file: Any) -> Any:
        from pyarrow import parquet

        return parquet.ParquetWriter(file, self._schema)


class ArrowFile(_Table):
    """`arrow`: the IPC file format, that can be memory-mapped."""

    def _open(self, file: Any) -> Any:
        from pyarrow import ipc

        return ipc.new_file(file, self._schema)


def _value(row: Fields, column: str) -> object:
    value = row.get(column)
    if column == "error" and isinstance(value, dict):
        return value["code"]
    return value
