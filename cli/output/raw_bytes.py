"""Vectors as bytes: `hex` and `base64` (one line each), `blob` (without separators)."""

import base64

from embedge.cli.output.target import Target
from embedge.cli.records import Fields, Record
from embedge.runtime.vector_table import little_endian


class HexLines:
    """`hex`: two digits per byte; a failed input is an empty line."""

    def __init__(self, target: Target, facts: Fields) -> None:
        self._target = target

    def write(self, record: Record) -> None:
        """Add one line."""
        body = b"" if record.vector is None else self._encode(little_endian(record.vector))
        self._target.write(body + b"\n")

    def finish(self) -> None:
        """Write nothing more."""

    def _encode(self, data: bytes) -> bytes:
        return data.hex().encode()


class Base64Lines(HexLines):
    """`base64`: standard alphabet with padding; a failed input is an empty line."""

    def _encode(self, data: bytes) -> bytes:
        return base64.b64encode(data)


class Blob:
    """`blob`: the bytes of all vectors one after another; failed inputs leave nothing."""

    def __init__(self, target: Target, facts: Fields) -> None:
        self._target = target

    def write(self, record: Record) -> None:
        """Add the bytes of one vector."""
        if record.vector is not None:
            self._target.write(little_endian(record.vector))

    def finish(self) -> None:
        """Write nothing more."""
