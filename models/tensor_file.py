"""Safetensors files, read lazily: the header is checked, the values stay mapped until asked for.

A file is an 8-byte little-endian header length, a JSON header that gives every tensor a dtype, a
shape and byte offsets, then the raw values (huggingface/safetensors, README.md).
"""

import json
import mmap
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from embedge.models.errors import CheckpointError

Float32 = NDArray[np.float32]

_LENGTH = struct.Struct("<Q")
# The format's own limit: a larger number means that the file is something else.
_MAX_HEADER = 100_000_000
_ITEM_SIZE: Mapping[str, int] = {"F32": 4, "F16": 2, "BF16": 2}


@dataclass(frozen=True)
class TensorEntry:
    """Where one tensor lies: `start` and `stop` are byte offsets in the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


class TensorFile:
    """One checked safetensors file with float32, float16 or bfloat16 tensors."""

    def __init__(self, path: Path) -> None:
        """Read and check the header of `path`.

        Raises:
            CheckpointError: the file is truncated, damaged or of another format.
        """
        self.path = path
        try:
            self.entries: Mapping[str, TensorEntry] = _read_header(path)
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error

    def rows(self, name: str, start: int = 0, stop: int | None = None) -> Float32:
        """Return rows `start..stop` of a tensor as float32; a view of the map where it can be.

        A one-dimensional tensor counts its values as rows. Reading touches only these bytes.
        """
        entry = self.entries[name]
        stop = entry.shape[0] if stop is None else stop
        row_values = prod(entry.shape[1:])
        values = np.frombuffer(
            self._map,
            dtype={"F32": "<f4", "F16": "<f2", "BF16": "<u2"}[entry.dtype],
            count=(stop - start) * row_values,
            offset=entry.start + start * row_values * _ITEM_SIZE[entry.dtype],
        )
        if entry.dtype == "BF16":
            # bfloat16 is the upper half of a float32.
            wide = values.astype(np.uint32)
            wide <<= 16
            values = wide.view(np.float32)
        return values.astype(np.float32, copy=False).reshape(stop - start, *entry.shape[1:])


def _read_header(path: Path) -> dict[str, TensorEntry]:
    size = path.stat().st_size
    if size < _LENGTH.size:
        raise _damaged(path, f"it has only {size} bytes")
    with path.open("rb") as file:
        (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
        if length > min(_MAX_HEADER, size - _LENGTH.size):
            raise _damaged(path, f"its header claims {length} bytes of a file of {size}")
        raw_bytes = file.read(length)
    try:
        raw = json.loads(raw_bytes.decode("utf-8"))
    except ValueError as error:
        raise _damaged(path, f"its header is not JSON ({error})") from error
    if not isinstance(raw, dict):
        raise _damaged(path, f"its header holds {type(raw).__name__}, expected an object")
    raw.pop("__metadata__", None)
    entries = {}
    problems = []
    for name, item in raw.items():
        entry = _parse_entry(item, _LENGTH.size + length)
        if isinstance(entry, TensorEntry):
            entries[name] = entry
        else:
            problems.append(f"{name} {entry}")
    problems += _placement_problems(entries, _LENGTH.size + length, size)
    if problems:
        raise _damaged(path, "; ".join(problems))
    return entries


def _parse_entry(item: object, data_start: int) -> TensorEntry | str:
    """Return the entry, or what is wrong with it."""
    if not isinstance(item, dict) or not {"dtype", "shape", "data_offsets"} <= item.keys():
        return "lacks dtype, shape or data_offsets"
    dtype, shape, offsets = item["dtype"], item["shape"], item["data_offsets"]
    if dtype not in _ITEM_SIZE:
        return f"has dtype {dtype}, supported: {', '.join(_ITEM_SIZE)}"
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        return f"has shape {shape!r} and offsets {offsets!r}"
    start, stop = cast("list[int]", offsets)
    if stop - start != prod(shape) * _ITEM_SIZE[dtype]:
        return f"has shape {shape} of {dtype} but {stop - start} bytes"
    return TensorEntry(dtype, tuple(shape), data_start + start, data_start + stop)


def _are_sizes(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _placement_problems(
    entries: Mapping[str, TensorEntry], data_start: int, size: int
) -> Iterator[str]:
    end, previous = data_start, ""
    for name, entry in sorted(entries.items(), key=lambda item: item[1].start):
        if entry.start < end:
            yield f"{name} overlaps {previous}"
        if entry.stop > size:
            yield f"{name} ends at byte {entry.stop} of a file of {size}"
        end, previous = max(end, entry.stop), name
    if end < size:
        yield f"{size - end} bytes follow the last tensor"


def _damaged(path: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is damaged or not a safetensors file: {what}. Download it again."
    )
