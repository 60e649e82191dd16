"""All coarse vectors of a space in one file beside the index, mapped into memory.

A cache: deleting it loses nothing. It holds the vectors up to an id; later ones are read from the
index, and when they have become many the file is written anew (temporary name, then rename), so
that readers with the old file keep it until they close it. Deleted vectors change the generation
of their space, which makes the file invalid.
"""

import os
import sqlite3
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from embedge.models.durable import PRIVATE, new_file
from embedge.runtime.index.connection import SCHEMA_VERSION
from embedge.runtime.index.rows import SpaceRow

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MAGIC = b"embdcoar"
_HEADER = struct.Struct("<8sI24sqqqqII")  # magic ... width, then the CRC of all before it
_ALIGNED = 4096
_FEW = 2_000
"""Vectors read from the index at each search rather than written anew."""

_BATCH = 50_000


@dataclass(frozen=True)
class CoarseVectors:
    """Every coarse vector of a space, by rising id.

    Attributes:
        ids: (n,) of `vectors`.
        scales: (n,).
        codes: (n, width), zero at 128; mapped from a file, or in memory.
        generation: of the space in this state.
        last_id: newest id of any space in this state.
    """

    ids: "NDArray[np.int64]"
    scales: "NDArray[np.float32]"
    codes: "NDArray[np.uint8]"
    generation: int
    last_id: int

    def __len__(self) -> int:
        return len(self.ids)

    def after(self, vector_id: int) -> "CoarseVectors":
        """Return the vectors with higher ids; nothing is copied."""
        import numpy as np

        row = int(np.searchsorted(self.ids, vector_id, side="right"))
        return CoarseVectors(
            self.ids[row:], self.scales[row:], self.codes[row:], self.generation, self.last_id
        )


def cache_path(database: Path, space: SpaceRow) -> Path:
    """Return the path of the cache of a space."""
    return database.with_name(f"{database.name}.coarse-{space.fingerprint}")


def load_coarse(
    connection: sqlite3.Connection,
    database: Path,
    space: SpaceRow,
    held: tuple[CoarseVectors, ...] = (),
    *,
    writable: bool,
) -> tuple[CoarseVectors, ...]:
    """Return the vectors of a space as one large part and at most one small one.

    Args:
        connection: sees the state to return.
        database: path of the index.
        space: its row in that state.
        held: what an earlier call returned; used again as far as it is valid.
        writable: the cache may be written; without it everything may end up in memory.
    """
    last_id = _last_id(connection)
    if held and held[0].generation == space.generation:
        if held[-1].last_id == last_id:
            return held
        base: CoarseVectors | None = held[0]
    else:
        base = _map_file(cache_path(database, space), space)
        if base is not None and base.last_id > last_id:  # of a copy with another history
            base = None
    done = base.last_id if base is not None else 0
    tail = replace(_read_rows(connection, space, done), last_id=last_id)
    if not len(tail):
        return (replace(base, last_id=last_id),) if base is not None else (tail,)
    if base is not None and len(tail) <= max(_FEW, len(base) // 50):
        return base, tail
    whole = tail if base is None else _joined(base, tail)
    if writable and len(whole) > _FEW and _write_file(cache_path(database, space), space, whole):
        mapped = _map_file(cache_path(database, space), space)
        if mapped is not None and mapped.last_id == whole.last_id:
            return (mapped,)
    return (whole,)


def _last_id(connection: sqlite3.Connection) -> int:
    """Return the newest id of all spaces, which SQLite knows without looking."""
    return int(connection.execute("SELECT max(id) FROM vectors").fetchone()[0] or 0)


def _read_rows(connection: sqlite3.Connection, space: SpaceRow, after: int) -> CoarseVectors:
    import numpy as np

    rows = connection.execute(
        # The sign keeps SQLite from the index of space_id, after which it would have to sort.
        "SELECT id, coarse_scale, coarse FROM vectors WHERE id > ? AND +space_id = ? ORDER BY id",
        (after, space.id),
    )
    ids, scales, codes = [], [], []
    while batch := rows.fetchmany(_BATCH):
        ids.append(np.array([row[0] for row in batch], dtype=np.int64))
        scales.append(np.array([row[1] for row in batch], dtype=np.float32))
        packed = np.frombuffer(b"".join(row[2] for row in batch), dtype=np.uint8)
        codes.append(packed.reshape(len(batch), space.coarse_dim))
    if not ids:
        empty = np.zeros((0, space.coarse_dim), dtype=np.uint8)
        none = np.zeros(0, dtype=np.int64)
        return CoarseVectors(none, np.zeros(0, np.float32), empty, space.generation, after)
    joined = np.concatenate(ids)
    return CoarseVectors(
        joined,
        np.concatenate(scales),
        np.concatenate(codes),
        space.generation,
        int(joined[-1]),
    )


def join_parts(parts: Sequence[CoarseVectors]) -> CoarseVectors:
    """Return the parts of a space as one."""
    whole = parts[0]
    for part in parts[1:]:
        whole = _joined(whole, part)
    return whole


def _joined(base: CoarseVectors, tail: CoarseVectors) -> CoarseVectors:
    import numpy as np

    return CoarseVectors(
        np.concatenate((base.ids, tail.ids)),
        np.concatenate((base.scales, tail.scales)),
        np.concatenate((base.codes, tail.codes)),
        tail.generation,
        tail.last_id,
    )


def _offsets(count: int, width: int) -> tuple[int, int, int, int]:
    """Return where ids, scales and codes start, and where the file ends."""
    ids = _ALIGNED
    scales = _aligned(ids + 8 * count)
    codes = _aligned(scales + 4 * count)
    return ids, scales, codes, codes + count * width


def _aligned(place: int) -> int:
    return -(-place // _ALIGNED) * _ALIGNED


def _header(space: SpaceRow, vectors: CoarseVectors) -> bytes:
    first = int(vectors.ids[0]) if len(vectors) else 0
    fields = (
        _MAGIC, SCHEMA_VERSION, space.fingerprint.encode()[-24:], vectors.generation, first,
        vectors.last_id, len(vectors), space.coarse_dim,
    )  # fmt: skip
    unsigned = _HEADER.pack(*fields, 0)
    return _HEADER.pack(*fields, zlib.crc32(unsigned))


def _write_file(path: Path, space: SpaceRow, vectors: CoarseVectors) -> bool:
    """Write the cache; False where the folder or disk does not allow it, which harms nothing."""
    ids, scales, codes, _ = _offsets(len(vectors), space.coarse_dim)
    try:
        with new_file(path, mode=PRIVATE) as temporary, temporary.open("r+b") as file:
            for place, data in ((ids, vectors.ids), (scales, vectors.scales)):
                file.seek(place)
                file.write(data.tobytes())
            file.seek(codes)
            # Not `tobytes`: the codes of a million vectors are not copied.
            file.write(memoryview(vectors.codes).cast("B"))  # type: ignore[arg-type]  # a buffer
            file.seek(0)
            file.write(_header(space, vectors))
    except OSError:
        return False
    return True


def _map_file(path: Path, space: SpaceRow) -> CoarseVectors | None:
    """Return the mapped cache, None if there is none or it is not of this state."""
    import numpy as np

    try:
        with path.open("rb") as file:
            header = file.read(_HEADER.size)
            size = os.fstat(file.fileno()).st_size
            if len(header) < _HEADER.size or not _is_of(header, space):
                return None
            *_, generation, _first, last_id, count, width, _crc = _HEADER.unpack(header)
            ids, scales, codes, end = _offsets(count, width)
            if size != end:
                return None
            mapped = np.memmap(file, dtype=np.uint8, mode="r")
    except OSError:
        return None
    whole = np.asarray(mapped)
    return CoarseVectors(
        whole[ids : ids + 8 * count].view(np.int64),
        whole[scales : scales + 4 * count].view(np.float32),
        whole[codes:end].reshape(count, width),
        generation,
        last_id,
    )


def _is_of(header: bytes, space: SpaceRow) -> bool:
    fields = _HEADER.unpack(header)
    magic, schema, fingerprint, generation, _first, _last, _count, width, crc = fields
    unsigned = _HEADER.pack(*fields[:-1], 0)
    return bool(
        crc == zlib.crc32(unsigned)
        and magic == _MAGIC
        and schema == SCHEMA_VERSION
        and fingerprint.rstrip(b"\0") == space.fingerprint.encode()[-24:]
        and generation == space.generation
        and width == space.coarse_dim
    )
