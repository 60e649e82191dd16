"""Zip files from anywhere: members are unpacked within limits, whatever the archive claims.

The limits hold for what is unpacked, counted while it is unpacked: the sizes in an archive's
list can lie, and members can overlap.
"""

import posixpath
import struct
import zipfile
import zlib
from io import BytesIO

from embedge.models.errors import InputError

MAX_UNPACKED = 200 << 20
"""Bytes of all members that one file makes us read."""

MAX_RATIO = 100
"""Unpacked bytes per packed byte of a member; real XML stays below 30."""

MAX_MEMBERS = 10_000

_FREE_OF_RATIO = 1 << 20
"""Bytes of a member that no ratio is asked of: small files of repeated markup pack well."""

_MAX_LIST_BYTES = MAX_MEMBERS * 1024
_END = struct.Struct("<4s4H2LH")  # end of the central directory
_BLOCK_BYTES = 1 << 18
_IS_ENCRYPTED = 0x1

# What `zipfile` raises for damage: also plain ValueErrors for places before the start, and
# RuntimeErrors for ways of packing that this Python lacks.
_DAMAGE = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, OverflowError,
    RuntimeError,
)  # fmt: skip


class Archive:
    """A zip file in memory whose members are read with limits.

    Attributes:
        path: as records spell it; for messages.
    """

    def __init__(self, data: bytes, path: str) -> None:
        """Read the list of members.

        Raises:
            InputError: `format` when it is no whole zip file, `limit` for too many members.
        """
        self.path = path
        self._unpacked = 0
        if _list_bytes(data) > _MAX_LIST_BYTES:
            raise self._limit(f"lists more than {MAX_MEMBERS:,} members")
        try:
            self._zip = zipfile.ZipFile(BytesIO(data))
        except _DAMAGE as error:
            raise self.damaged(f"its list of members cannot be read ({error})") from error
        if len(self._zip.infolist()) > MAX_MEMBERS:
            raise self._limit(f"lists more than {MAX_MEMBERS:,} members")

    def __contains__(self, name: str) -> bool:
        return name in self._zip.NameToInfo

    def read(self, name: str) -> bytes:
        """Unpack one member.

        Raises:
            InputError: `format` when it is missing, encrypted or damaged, `limit` above the
                bytes or the ratio.
        """
        info = self._zip.NameToInfo.get(name)
        if info is None:
            raise self.damaged(f"it lacks {name}")
        if info.flag_bits & _IS_ENCRYPTED:
            raise InputError(f"{self.path} is encrypted; save a copy without a password", "format")
        try:
            return self._unpack(info)
        except _DAMAGE as error:
            raise self.damaged(f"{name} cannot be unpacked ({error})") from error

    def read_optional(self, name: str) -> bytes | None:
        """Unpack a member that need not be there.

        Raises:
            InputError: as `read`.
        """
        return self.read(name) if name in self else None

    def damaged(self, what: str) -> InputError:
        """Return the error for a file that breaks its format."""
        return InputError(
            f"{self.path} is damaged: {what}; open it in its program and save it again", "format"
        )

    def _unpack(self, info: zipfile.ZipInfo) -> bytes:
        parts: list[bytes] = []
        size = 0
        allowed = max(_FREE_OF_RATIO, info.compress_size * MAX_RATIO)
        with self._zip.open(info) as member:
            while block := member.read(_BLOCK_BYTES):
                parts.append(block)
                size += len(block)
                self._unpacked += len(block)
                if self._unpacked > MAX_UNPACKED:
                    raise self._limit(f"unpacks to more than {MAX_UNPACKED >> 20} MiB")
                if size > allowed:
                    raise self._limit(f"packs {info.filename} more than {MAX_RATIO} times smaller")
        return b"".join(parts)

    def _limit(self, what: str) -> InputError:
        return InputError(
            f"{self.path} {what}, as archive bombs do; leave it out with --exclude, or save its "
            "text in another format",
            "limit",
        )


def inner_path(folder: str, reference: str) -> str | None:
    """Return the member that a reference inside an archive leads to; None leads outside.

    Args:
        folder: of the member that holds the reference, "" for the top.
        reference: relative to it, or from the top with a leading "/"; decoded.
    """
    if "://" in reference or reference.startswith(("data:", "file:", "mailto:")):
        return None
    path = posixpath.normpath(posixpath.join(folder, reference.partition("#")[0])).lstrip("/")
    return None if path.startswith("..") or path in ("", ".") else path


def _list_bytes(data: bytes) -> int:
    """Return the size of the list of members, which `zipfile` reads whole before any limit."""
    start = len(data) - _END.size
    if start < 0:
        return 0
    if data[start : start + 4] != b"PK\x05\x06" or data[-2:] != b"\0\0":
        start = data.rfind(b"PK\x05\x06", max(0, len(data) - (1 << 16) - _END.size))
    if start < 0 or start + _END.size > len(data):
        return 0
    size = int(_END.unpack_from(data, start)[5])
    return len(data) if size == 0xFFFFFFFF else size  # zip64: at most the whole file
