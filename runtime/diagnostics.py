"""What `embed doctor` says about this machine and installation."""

import os
import platform
import shutil
import sqlite3
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from embedge.models.store import cache_dir, data_dir, models_dir
from embedge.runtime.cpu import cpu_features, cpu_model, int8_sums_saturate, plan_threads
from embedge.runtime.engine import telemetry_state
from embedge.runtime.index.connection import default_path

if TYPE_CHECKING:
    from embedge.models.manifest import Json
    from embedge.runtime.embedder import Embedder

_LIBRARIES = ("onnxruntime", "tokenizers", "numpy")


def describe_machine(cache: Path | None = None) -> "dict[str, Json]":
    """Return versions, processor, threads, folders and switches, as JSON values."""
    import embedge

    store = models_dir(cache)
    features: list[Json] = [*cpu_features()]
    saturates = int8_sums_saturate()
    return {
        "versions": {
            "embedge": embedge.__version__,
            "python": platform.python_version(),
            **{name: version(name) for name in _LIBRARIES},
            "sqlite": sqlite3.sqlite_version,
        },
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": {
            "model": cpu_model(),
            "features": features,
            "int8_sums": "saturate" if saturates else "exact",
        },
        "threads": {**asdict(plan_threads())},
        "paths": {
            "cache": str(cache or cache_dir()),
            "models": str(store),
            "data": str(data_dir()),
            "index": str(default_path()),
            "free_bytes": shutil.disk_usage(_existing(store)).free,
        },
        "offline": "on" if is_offline() else "off; only `models pull` and `export` use the network",
        "telemetry": telemetry_state(),
    }


def describe_model(embedder: "Embedder") -> "dict[str, Json]":
    """Return which model runs, in which variant and why, as JSON values."""
    loaded = embedder.loaded
    manifest = loaded.bundle.manifest
    variants: list[Json] = [*manifest.variants()]
    spaces: dict[str, Json] = {
        str(size): manifest.space(loaded.variant, size).fingerprint for size in manifest.matryoshka
    }
    return {
        "name": manifest.name,
        "revision": manifest.revision,
        "path": str(loaded.bundle.path),
        "bytes": loaded.bundle.size_bytes,
        "variants": variants,
        "variant": loaded.variant,
        "reason": loaded.reason,
        "threads": loaded.engine.threads,
        "dim": embedder.dim,
        "spaces": spaces,
    }


def is_offline() -> bool:
    """Say whether a variable forbids the network."""
    return any(
        os.environ.get(name, "").lower() in ("1", "true", "yes", "on")
        for name in ("EMBED_OFFLINE", "HF_HUB_OFFLINE")
    )


def _existing(path: Path) -> Path:
    """Return the nearest folder above that exists."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())
