"""Cores and instruction sets on Windows, asked from kernel32."""

import ctypes
import struct
import sys

# PF_* constants of IsProcessorFeaturePresent (winnt.h). VNNI has none: the saturation probe
# finds out.
_FEATURES = {40: "avx2", 41: "avx512bw", 43: "asimddp"}

_CORE = 0  # RelationProcessorCore
# SYSTEM_LOGICAL_PROCESSOR_INFORMATION, 64 bit: mask, relation, padding, 16 bytes of union.
_RECORD = struct.Struct("<QI4x16x")


def windows_features() -> tuple[str, ...]:
    """Return the instruction sets that the system call knows."""
    if sys.platform != "win32":
        return ()
    present = ctypes.windll.kernel32.IsProcessorFeaturePresent
    return tuple(name for number, name in _FEATURES.items() if present(number))


def windows_cores() -> int | None:
    """Return the physical cores of this processor group inside the affinity mask."""
    if sys.platform != "win32":
        return None
    kernel = ctypes.windll.kernel32
    process, system = ctypes.c_size_t(), ctypes.c_size_t()
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    handle = ctypes.c_void_p(kernel.GetCurrentProcess())
    if not kernel.GetProcessAffinityMask(handle, ctypes.byref(process), ctypes.byref(system)):
        return None
    length = ctypes.c_uint32(0)
    kernel.GetLogicalProcessorInformation(None, ctypes.byref(length))
    buffer = ctypes.create_string_buffer(length.value)
    if not kernel.GetLogicalProcessorInformation(buffer, ctypes.byref(length)):
        return None
    return count_cores(buffer.raw[: length.value], process.value)


def count_cores(records: bytes, affinity: int) -> int:
    """Count the core records that share a CPU with the affinity mask."""
    whole = len(records) // _RECORD.size * _RECORD.size
    return sum(
        relation == _CORE and mask & affinity != 0
        for mask, relation in _RECORD.iter_unpack(records[:whole])
    )
