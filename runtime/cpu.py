"""What the processor offers: threads that may run, instruction sets, and which variant fits."""

import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from embedge.models.bundle import Bundle
from embedge.models.space import Variant
from embedge.runtime.cpu_windows import windows_cores, windows_features
from embedge.runtime.engine import open_session

# Instruction sets that decide which integer kernel ONNX Runtime picks, under
# the names that /proc/cpuinfo uses.
_KNOWN_FEATURES = (
    "avx2", "avx_vnni", "avx_vnni_int8", "avx512bw", "avx512_vnni", "amx_int8",
    "asimddp", "i8mm", "sve",
)  # fmt: skip
_EXACT = ("avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm")
_MACOS_FEATURES = {
    "hw.optional.avx2_0": "avx2",
    "hw.optional.avx512bw": "avx512bw",
    "hw.optional.avx512vnni": "avx512_vnni",
    "hw.optional.arm.FEAT_DotProd": "asimddp",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
}

# Makes ONNX Runtime rewrite int8 weights so that AVX2 sums cannot saturate: exact, slower.
EXACT_INT8: Mapping[str, str] = {"session.x64quantprecision": "1"}


@dataclass(frozen=True)
class ThreadPlan:
    """How many threads to use and what bounds them.

    Attributes:
        threads: the choice.
        physical_cores: cores in the affinity mask, hyper-threads counted once.
        logical_cpus: CPUs in the affinity mask.
        quota_cpus: CPUs that the control group grants, None without a limit.
    """

    threads: int
    physical_cores: int
    logical_cpus: int
    quota_cpus: float | None


def plan_threads(root: Path = Path("/")) -> ThreadPlan:
    """Choose the physical cores inside the affinity mask and the cgroup quota.

    A quota is rounded down: one thread too many is throttled for the rest of every period, and
    all others wait for it. `root` is where `/proc` and `/sys` are found.
    """
    cpus = _allowed_cpus()
    cores = _physical_cores(cpus, root)
    quota = _cgroup_quota(root)
    threads = cores if quota is None else min(cores, int(quota))
    return ThreadPlan(max(1, threads), cores, len(cpus), quota)


def _allowed_cpus() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def _physical_cores(cpus: set[int], root: Path) -> int:
    if sys.platform == "win32":
        return windows_cores() or len(cpus)
    if sys.platform == "darwin":
        return int(_sysctl(["hw.physicalcpu"]).get("hw.physicalcpu", len(cpus)))
    siblings = set()
    for cpu in cpus:
        folder = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        siblings.add(_read(folder / "thread_siblings_list") or f"cpu{cpu}")
    return len(siblings)


def _cgroup_quota(root: Path) -> float | None:
    """Return the smallest CPU quota between our control group and the root (versions 1 and 2)."""
    quotas = []
    for line in (_read(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / ("sys/fs/cgroup/cpu" if controllers else "sys/fs/cgroup")
        group = Path(path.lstrip("/"))
        # Inside a container the path may name the host's tree; then only the root exists.
        for folder in (group, *group.parents):
            quota = _quota_of(mount / folder)
            if quota is not None:
                quotas.append(quota)
    return min(quotas, default=None)


def _quota_of(folder: Path) -> float | None:
    limit = _read(folder / "cpu.max")
    if limit is None:
        quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        limit = f"{quota} {period}" if quota and period else None
    if limit is None:
        return None
    quota, _, period = limit.partition(" ")
    if quota == "max" or int(quota) <= 0:
        return None
    return int(quota) / int(period)


def cpu_model() -> str:
    """Return the processor's name as the system gives it."""
    for line in (_read(Path("/proc/cpuinfo")) or "").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    if sys.platform == "darwin":
        return _sysctl(["machdep.cpu.brand_string"]).get("machdep.cpu.brand_string", "unknown")
    return platform.processor() or platform.machine() or "unknown"


def cpu_features(root: Path = Path("/")) -> tuple[str, ...]:
    """Return the instruction sets relevant to int8 that the system reports, Linux names."""
    if sys.platform == "win32":
        return windows_features()
    if sys.platform == "darwin":
        values = _sysctl(list(_MACOS_FEATURES))
        found = {name for key, name in _MACOS_FEATURES.items() if values.get(key) == "1"}
    else:
        found = _cpuinfo_flags(_read(root / "proc/cpuinfo") or "")
    return tuple(name for name in _KNOWN_FEATURES if name in found)


def _cpuinfo_flags(cpuinfo: str) -> set[str]:
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return set(value.split())
    return set()


@cache
def int8_sums_saturate(*, exact_mode: bool = False) -> bool:
    """Multiply the largest 8-bit values in ONNX Runtime and see whether the sum is exact.

    Before VNNI, x86 adds pairs of products in 16 bits: 2 x 255 x 127 = 64,770 becomes 32,767
    (microsoft/onnxruntime#5849). Real arithmetic decides, so an unknown processor, an emulator or
    a hidden flag cannot mislead; the flags only explain the result.

    Args:
        exact_mode: ask for the session entries `EXACT_INT8`.
    """
    import numpy as np

    graph = files("embedge.runtime").joinpath("saturation_probe.onnx").read_bytes()
    session = open_session(graph, threads=1, config=EXACT_INT8 if exact_mode else None)
    largest = np.full((4, PROBE_DEPTH), 255, dtype=np.uint8)
    (sums,) = session.run(None, {"activations": largest})
    return bool((sums != PROBE_DEPTH * 255 * 127).any())


# Length of the sums in saturation_probe.onnx: uint8 [rows, 64] times int8 [64, 32], all 127.
PROBE_DEPTH = 64


def choose_variant(bundle: Bundle) -> tuple[Variant, str]:
    """Return the variant of a bundle that is right and fastest here, and why.

    `int8-avx2` (7-bit activations) where 8-bit sums would saturate, else `int8`; an fp32 bundle
    has no choice.
    """
    held = bundle.manifest.variants()
    if len(held) == 1:
        return held[0], f"{bundle.manifest.name} holds only {held[0]}"
    features = cpu_features()
    flags = ", ".join(features) or "none that matter"
    if int8_sums_saturate():
        return "int8-avx2", f"8-bit sums saturate on this CPU (features: {flags})"
    exact = next((name for name in _EXACT if name in features), None)
    reason = f"{exact}" if exact else f"features: {flags}"
    return "int8", f"8-bit sums are exact on this CPU ({reason})"


def _sysctl(names: list[str]) -> dict[str, str]:
    """Ask macOS; a name that the kernel does not know is left out."""
    import subprocess

    done = subprocess.run(
        ["/usr/sbin/sysctl", *names], capture_output=True, text=True, check=False, timeout=10
    )
    pairs = (line.partition(":") for line in done.stdout.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
