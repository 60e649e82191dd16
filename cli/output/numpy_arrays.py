"""NumPy files, written row by row and readable without pickle."""

import io
import shutil
import tempfile
import zipfile
from contextlib import ExitStack
from typing import TYPE_CHECKING, BinaryIO

from embedge.cli.output.target import Target
from embedge.cli.records import Fields, Record
from embedge.runtime.vector_table import little_endian

if TYPE_CHECKING:
    import numpy as np

# Format version 1.0 keeps room for a larger row count, so that the header can be rewritten.
_VERSION = (1, 0)

_DTYPES = {"float32": "<f4", "float16": "<f2", "int8": "|i1", "ubinary": "|u1"}


class _GrowingArray:
    """An .npy file of shape (n, dim) whose n is written last."""

    def __init__(self, file: BinaryIO, facts: Fields) -> None:
        dim = facts["dim"]
        assert isinstance(dim, int)
        self._file, self._dim = file, dim
        self._dtype = _DTYPES[str(facts["precision"])]
        self._rows = 0
        self._header()

    def _header(self) -> None:
        import numpy as np

        self._file.seek(0)
        header = {"descr": self._dtype, "fortran_order": False, "shape": (self._rows, self._dim)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def add(self, row: bytes) -> None:
        self._file.write(row)
        self._rows += 1

    def close(self) -> None:
        self._header()
        self._file.seek(0, io.SEEK_END)


class NpyFile:
    """`npy`: one array (n, dim); failed inputs have no row, the sidecar lists them."""

    def __init__(self, target: Target, facts: Fields) -> None:
        self._stack = ExitStack()
        self._array = _GrowingArray(self._stack.enter_context(target.seekable()), facts)

    def write(self, record: Record) -> None:
        """Add one row."""
        if record.vector is not None:
            self._array.add(little_endian(record.vector))

    def finish(self) -> None:
        """Write the header with the number of rows."""
        self._array.close()
        self._stack.close()


# Column of the file, field of the record, value where a record lacks the field.
_COLUMNS: tuple[tuple[str, str, object], ...] = (
    ("ids", "id", ""), ("paths", "path", ""), ("chunk", "chunk", 0),
    ("char_start", "char_start", -1), ("char_end", "char_end", -1), ("n_tokens", "n_tokens", 0),
    ("truncated", "truncated", False),
)  # fmt: skip


class NpzFile:
    """`npz`: vectors and their columns; the columns are kept in memory, the vectors on disk."""

    def __init__(self, target: Target, facts: Fields) -> None:
        self._target, self._facts = target, facts
        self._spool = tempfile.TemporaryFile()  # closed by finish, or with us
        self._array = _GrowingArray(self._spool, facts)
        self._columns: dict[str, list[object]] = {name: [] for name, _, _ in _COLUMNS}

    def write(self, record: Record) -> None:
        """Add one row; failed inputs have none."""
        if record.vector is None:
            return
        self._array.add(little_endian(record.vector))
        for name, field, missing in _COLUMNS:
            value = record.fields.get(field)
            self._columns[name].append(missing if value is None else value)

    def finish(self) -> None:
        """Write the archive, uncompressed as `numpy.savez` does."""
        import numpy as np

        self._array.close()
        self._spool.seek(0)
        with self._target.seekable() as file, zipfile.ZipFile(file, "w") as archive:
            with archive.open(_member("embeddings"), "w", force_zip64=True) as member:
                shutil.copyfileobj(self._spool, member)
            for name, values in self._columns.items():
                _add_array(archive, name, np.array(values, dtype=_column_dtype(name)))
            for name in ("space", "task"):
                _add_array(archive, name, np.array(str(self._facts[name])))
        self._spool.close()


def _member(name: str) -> zipfile.ZipInfo:
    """Name an array of the archive; without a date, so that equal runs give equal bytes."""
    return zipfile.ZipInfo(f"{name}.npy")


def _column_dtype(name: str) -> str | None:
    if name in ("ids", "paths"):
        return "U"
    return "bool" if name == "truncated" else "int64"


def _add_array(
    archive: zipfile.ZipFile, name: str, array: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]"
) -> None:
    import numpy as np

    with archive.open(_member(name), "w", force_zip64=True) as member:
        np.lib.format.write_array(member, array, allow_pickle=False)
