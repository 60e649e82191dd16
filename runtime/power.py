"""Work in the background: after everything else, and gently on a battery."""

import os
import sys
from pathlib import Path

_SUPPLIES = Path("/sys/class/power_supply")
_NICE = 10


def lower_priority() -> None:
    """Let every other program go first; harmless when it has been done or is not allowed."""
    if sys.platform == "win32":
        import ctypes

        below_normal = 0x4000
        kernel = ctypes.windll.kernel32
        kernel.SetPriorityClass(kernel.GetCurrentProcess(), below_normal)
    else:
        missing = _NICE - os.nice(0)
        if missing > 0:
            os.nice(missing)


def is_on_battery() -> bool:
    """Tell whether this machine runs on a battery; False where that cannot be seen."""
    if sys.platform == "win32":
        import ctypes

        status = (ctypes.c_ubyte * 12)()  # SYSTEM_POWER_STATUS; its first byte is ACLineStatus
        return bool(ctypes.windll.kernel32.GetSystemPowerStatus(status)) and status[0] == 0
    return _linux_on_battery(_SUPPLIES)


def _linux_on_battery(supplies: Path) -> bool:
    mains, batteries = [], 0
    try:
        for supply in supplies.iterdir():
            kind = (supply / "type").read_text().strip()
            if kind in ("Mains", "USB"):
                mains.append((supply / "online").read_text().strip() == "1")
            elif kind == "Battery" and _is_of_the_machine(supply):
                batteries += 1
    except OSError:
        return False
    return batteries > 0 and bool(mains) and not any(mains)


def _is_of_the_machine(supply: Path) -> bool:
    """A mouse has a battery, too; its scope says `Device`."""
    try:
        return (supply / "scope").read_text().strip() != "Device"
    except OSError:
        return True
