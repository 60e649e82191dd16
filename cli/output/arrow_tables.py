"""`parquet` and `arrow` (IPC file): metadata columns and `embedding` as a fixed-size list."""

from abc import ABC, abstractmethod
from contextlib import ExitStack
from typing import Any

from embedge.cli.output.target import Target
from embedge.cli.records import Fields, Record
from embedge.runtime.vector_table import record_batch, vector_schema

_ROWS_PER_BATCH = 1024


class _Table(ABC):
    """Rows collected into batches of a fixed size, so that memory stays flat."""

    def __init__(self, target: Target, facts: Fields) -> None:
        dim = facts["dim"]
        assert isinstance(dim, int)
        metadata = {
            "embedge.space": str(facts["space"]),
            "embedge.manifest": str(facts["manifest"]),
        }
        self._schema = vector_schema(dim, str(facts["precision"]), metadata)
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
        if not self._rows:
            return
        rows = [(record.fields, record.vector) for record in self._rows]
        self._file.write_batch(record_batch(self._schema, rows))
        self._rows = []


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
