"""`FILE.manifest.json`: what was run on what, and what came out."""

import hashlib
import json
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from embedge import __version__
from embedge.cli.records import Counts, Fields
from embedge.models.bundle import file_sha256, write_atomically
from embedge.models.space import Space

FORMAT = 1
_LIBRARIES = ("numpy", "onnxruntime", "tokenizers")


def sidecar_path(output: Path) -> Path:
    """Return `FILE.manifest.json` of FILE."""
    return output.with_name(f"{output.name}.manifest.json")


@dataclass
class RunDescription:
    """What is known before the first record.

    Attributes:
        command: the arguments after `embed`.
        options: what decides the records.
        machine: cpu, features, threads, model, variant.
    """

    command: list[str]
    space: Space
    options: Fields
    machine: Fields
    start: str = field(default_factory=lambda: _now())

    def as_fields(self) -> dict[str, object]:
        """Return it as JSON fields."""
        return {
            "format": FORMAT,
            "tool": tool_versions(),
            "command": self.command,
            "space": {
                "fingerprint": self.space.fingerprint,
                "identity": asdict(self.space.identity),
            },
            "options": dict(self.options),
            "machine": dict(self.machine),
            "start": self.start,
        }


@dataclass
class InputLog:
    """The inputs of a run in order, each with its size in bytes and its SHA-256."""

    entries: list[dict[str, object]] = field(default_factory=list)

    def add(self, path: str, size: int, sha256: str) -> None:
        """Add one input."""
        self.entries.append({"path": path, "size": size, "sha256": sha256})

    def add_text(self, name: str, text: str) -> None:
        """Add a text from the command line, as UTF-8."""
        data = text.encode("utf-8", "surrogatepass")
        self.add(name, len(data), hashlib.sha256(data).hexdigest())


def write_sidecar(
    output: Path, description: RunDescription, inputs: InputLog, counts: Counts
) -> None:
    """Write the manifest of a finished output, atomically."""
    done = {
        "vectors": counts.vectors,
        "failed": counts.failed,
        "tokens": counts.tokens,
        "truncated": counts.truncated,
    }
    manifest = description.as_fields() | {
        "end": _now(),
        "inputs": inputs.entries,
        "counts": done,
        "failures": [dict(failure) for failure in counts.failures],
        "output": {
            "file": output.name,
            "size": output.stat().st_size,
            "sha256": file_sha256(output),
        },
    }
    text = json.dumps(manifest, indent=1, ensure_ascii=True)
    write_atomically(sidecar_path(output), f"{text}\n".encode())


def tool_versions() -> Mapping[str, str]:
    """Return the versions of embedge, Python and the libraries that decide the numbers."""
    found = {"embedge": __version__, "python": platform.python_version(), "platform": sys.platform}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # a vendored build without metadata
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
