"""Records as Arrow tables: metadata columns and `embedding` as a fixed-size list."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedge.runtime.results import Vectors

_TEXT = ("id", "path", "heading", "space", "task", "text")
_COUNTS = (
    "chunk", "n_chunks", "char_start", "char_end", "line_start", "line_end", "page", "n_tokens",
)  # fmt: skip
_ELEMENTS = {"float32": "float32", "float16": "float16", "int8": "int8", "ubinary": "uint8"}

Row = tuple[Mapping[str, object], "Vectors | None"]
"""Fields of a record, and its vector; None for a failed input."""


def vector_schema(dim: int, precision: str, metadata: Mapping[str, str]) -> Any:
    """Return the Arrow schema of records.

    Args:
        dim: elements per vector: bytes for `ubinary`.
        precision: of the vectors.
        metadata: of the file, such as `embedge.space`.
    """
    import pyarrow as pa

    element = getattr(pa, _ELEMENTS[precision])()
    columns = [pa.field(name, pa.string()) for name in _TEXT]
    columns += [pa.field(name, pa.int64()) for name in _COUNTS]
    columns += [pa.field("truncated", pa.bool_()), pa.field("error", pa.string())]
    columns += [pa.field("embedding", pa.list_(element, dim))]
    return pa.schema(columns, metadata=dict(metadata))


def record_batch(schema: Any, rows: Sequence[Row]) -> Any:
    """Return rows as one Arrow batch; a failed input has its code in `error` and no embedding."""
    import pyarrow as pa

    arrays = [
        pa.array([_value(fields, column.name) for fields, _ in rows], type=column.type)
        for column in schema
        if column.name != "embedding"
    ]
    arrays.append(_embeddings(schema.field("embedding").type, rows))
    return pa.record_batch(arrays, schema=schema)


def little_endian(vector: "Vectors") -> bytes:
    """Return a vector as bytes, the least significant of each number first."""
    return vector.astype(vector.dtype.newbyteorder("<"), copy=False).tobytes()


def _embeddings(kind: Any, rows: Sequence[Row]) -> Any:
    import numpy as np
    import pyarrow as pa

    dtype = np.dtype(kind.value_type.to_pandas_dtype())
    blank = bytes(dtype.itemsize * kind.list_size)
    data = b"".join(blank if vector is None else little_endian(vector) for _, vector in rows)
    values = pa.array(np.frombuffer(data, dtype=dtype.newbyteorder("<")).astype(dtype))
    mask = pa.array([vector is None for _, vector in rows])
    return pa.FixedSizeListArray.from_arrays(values, type=kind, mask=mask)


def _value(fields: Mapping[str, object], column: str) -> object:
    value = fields.get(column)
    if column == "error" and isinstance(value, Mapping):
        return value["code"]
    return value
