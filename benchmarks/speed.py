"""Throughput of our graphs against plain torch, in alternation and in one process.

    python benchmarks/speed.py --int8 BUNDLE --fp32 BUNDLE [--checkpoint FOLDER [--bf16]]

`--checkpoint` adds torch fp32 of the same weights (needs torch==2.13.0). Every round
runs each contestant once in turn, so that a slow moment of the machine hits all of them; ratios
are computed per round and their median, minimum and maximum are printed.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from machine import describe

SHAPES = ((16, 128), (4, 512), (32, 32), (1, 16))
Runner = Callable[[np.ndarray, np.ndarray], object]


def bundle_runner(path: Path, variant: str, threads: int, one_batch: bool = False) -> Runner:
    """Run a bundle's graph on batches of the runtime's size, or on all rows at once."""
    from embedge.models.bundle import open_bundle
    from embedge.runtime.engine import Engine
    from embedge.runtime.memory import default_batch_tokens

    bundle = open_bundle(path)
    engine = Engine(bundle, variant, bundle.manifest.full_dim, threads)

    def run(ids: np.ndarray, mask: np.ndarray) -> object:
        rows = len(ids) if one_batch else max(1, default_batch_tokens(threads) // ids.shape[1])
        starts = range(0, len(ids), rows)
        return [
            engine.run(ids[start : start + rows], mask[start : start + rows]) for start in starts
        ]

    return run


def torch_runner(checkpoint: Path, dtype: str, threads: int) -> Runner:
    import torch
    from torch_encoder import TorchEncoder

    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    return TorchEncoder(checkpoint, getattr(torch, dtype)).run


def contestants(options: argparse.Namespace) -> dict[str, Runner]:
    found: dict[str, Runner] = {}
    if options.int8:
        found["int8"] = bundle_runner(options.int8, "int8", options.threads, options.one_batch)
    if options.int8 and options.avx2:
        found["int8-avx2"] = bundle_runner(
            options.int8, "int8-avx2", options.threads, options.one_batch
        )
    if options.fp32:
        found["fp32"] = bundle_runner(options.fp32, "fp32", options.threads, options.one_batch)
    if options.checkpoint:
        found["torch fp32"] = torch_runner(options.checkpoint, "float32", options.threads)
        if options.bf16:
            found["torch bf16"] = torch_runner(options.checkpoint, "bfloat16", options.threads)
    return found


def time_shape(
    runners: dict[str, Runner], texts: int, tokens: int, vocabulary: int, rounds: int
) -> dict[str, list[float]]:
    """Return seconds per round of each contestant; the first, untimed round warms up."""
    random = np.random.default_rng(texts * tokens)
    ids = random.integers(4, vocabulary, (texts, tokens), dtype=np.int64)
    mask = np.ones_like(ids)
    repeats = max(1, 2048 // (texts * tokens) // 4)
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    for turn in range(rounds + 1):
        for name, run in runners.items():
            start = time.perf_counter()
            for _ in range(repeats):
                run(ids, mask)
            if turn:
                seconds[name].append((time.perf_counter() - start) / repeats)
    return seconds


def report(seconds: dict[str, list[float]], texts: int, tokens: int) -> list[dict[str, object]]:
    first = next(iter(seconds))
    rows = []
    for name, times in seconds.items():
        ratio = [other / mine for other, mine in zip(times, seconds[first], strict=True)]
        rows.append(
            {
                "shape": f"{texts}x{tokens}",
                "name": name,
                "tokens_per_s": round(texts * tokens / statistics.median(times), 1),
                "ms": round(1000 * statistics.median(times), 2),
                f"times_slower_than_{first}": round(statistics.median(ratio), 2),
                "min": round(min(ratio), 2),
                "max": round(max(ratio), 2),
            }
        )
    return rows


def time_shapes(
    runners: dict[str, Runner], shapes: Iterable[tuple[int, int]], options: argparse.Namespace
) -> None:
    """Time every shape and print its rows; `options`: vocabulary, rounds, json (file or None)."""
    rows = []
    for texts, tokens in shapes:
        seconds = time_shape(runners, texts, tokens, options.vocabulary, options.rounds)
        for row in report(seconds, texts, tokens):
            print(json.dumps(row), flush=True)
            rows.append(row)
    if options.json:
        options.json.write_text(json.dumps({"machine": describe(), "rows": rows}, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--fp32", type=Path)
    parser.add_argument("--int8", type=Path)
    parser.add_argument("--avx2", action="store_true", help="time the int8-avx2 graph too")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--bf16", action="store_true", help="time torch in bfloat16 too")
    parser.add_argument(
        "--one-batch", action="store_true", help="run all rows at once, not as the runtime does"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--vocabulary", type=int, default=64000)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args()

    print(json.dumps(describe()))
    time_shapes(contestants(options), SHAPES, options)


if __name__ == "__main__":
    main()
