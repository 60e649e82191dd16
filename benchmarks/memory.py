"""Resident memory over many mixed texts, and what it consists of.

    python benchmarks/memory.py BUNDLE [--texts 10000] [--variant int8] [--max-memory 300MB]

Lengths are log-normal from one word to the model's limit, in several scripts. Memory has to reach
a plateau; the script says by how much the second half exceeds the first.
"""

import argparse
import gc
from pathlib import Path

import numpy as np

from embedge import Embedder
from embedge.models.store import cache_dir
from embedge.runtime.memory import MemoryModel, peak_rss, resident_rss

MB = 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--variant", default="auto")
    parser.add_argument("--max-memory")
    options = parser.parse_args()
    parts = measure_parts(options.bundle, options.variant, options.max_memory)
    embedder = parts.pop("embedder")
    assert isinstance(embedder, Embedder)
    for name, value in parts.items():
        print(f"{name:<34} {value / MB:8.1f} MB")
    model = MemoryModel.of(embedder.loaded.bundle)
    budget = embedder.loaded.options.batch_tokens
    print(f"{'model: packed matrices':<34} {model.packed / MB:8.1f} MB")
    print(f"{'model: word table, mapped':<34} {model.table / MB:8.1f} MB")
    name = f"model: activations of {budget} tokens"
    print(f"{name:<34} {model.activations(budget, 512) / MB:8.1f} MB\n")

    step = max(1, options.texts // 10)
    resident = []
    for number, _ in enumerate(embedder.stream(mixed_texts(options.texts)), start=1):
        if number % step == 0:
            resident.append(resident_rss())
            now, peak = resident[-1] / MB, peak_rss() / MB
            print(f"{number:>7} texts   RSS {now:7.1f}   peak {peak:7.1f} MB", flush=True)
    half = len(resident) // 2
    growth = max(resident[half:]) - max(resident[:half])
    print(f"\nsecond half above first half: {growth / MB:.1f} MB; peak {peak_rss() / MB:.1f} MB")


def measure_parts(bundle: Path, variant: str, max_memory: str | None) -> dict[str, object]:
    """Load step by step and return what each step adds, in bytes."""
    from embedge.models.bundle import open_bundle
    from embedge.runtime.engine import load_onnxruntime
    from embedge.runtime.tokens import Tokens

    steps: dict[str, object] = {}
    last = resident_rss()

    def step(name: str) -> None:
        nonlocal last
        gc.collect()
        now = resident_rss()
        steps[name] = now - last
        last = now

    steps["Python, numpy, embedge"] = last
    load_onnxruntime()
    step("ONNX Runtime library")
    opened = open_bundle(bundle, cache_dir=cache_dir())
    step("manifest and hashes")
    parts = cache_dir() / "vocabulary" / opened.manifest.files["tokenizer.json"].sha256
    kept = Tokens.from_file(opened.tokenizer_path, opened.manifest.identity.max_tokens, cache=parts)
    step("tokenizer")
    del kept
    gc.collect()
    last = resident_rss()
    steps["embedder"] = Embedder(bundle, variant=variant, max_memory=max_memory)
    step("graph and weights (and tokenizer)")
    return steps


def mixed_texts(count: int) -> "list[str]":
    rng = np.random.default_rng(2)
    alphabets = (
        "abcdefghijklmnop",
        "абвгдежзийкл",
        "的一是不了在人有我他",
        "अआइउकखगचजटतन",
        "αβγδεζηθ",
    )
    texts = []
    for length in np.clip(rng.lognormal(2.8, 1.2, count), 1, 600).astype(int):
        letters = list(alphabets[rng.integers(len(alphabets))])
        texts.append(" ".join("".join(rng.choice(letters, 4)) for _ in range(length)))
    return texts


if __name__ == "__main__":
    main()
