"""Compare a full-size fp32 bundle with the float64 reference over 200 texts in 40 languages.

    python benchmarks/full_size_parity.py CHECKPOINT BUNDLE [--texts 200]

The same promise as in `tests/export/test_parity.py` (2e-5 on unit vectors, ragged and alone, or a
routing near-tie below 1e-6), at a size that is too slow for a test: minutes on two cores.
"""

import argparse
import importlib.util
import json
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedge.models.bundle import Bundle, open_bundle
from embedge.models.checkpoint import Checkpoint, open_checkpoint
from embedge.models.sample_texts import language_sentences
from embedge.runtime.batching import pad_batch, plan_batches
from embedge.runtime.cpu import plan_threads
from embedge.runtime.engine import Engine
from embedge.runtime.tokens import Tokens

TOLERANCE, NEAR_TIE = 2e-5, 1e-6


def main() -> None:
    """Print the largest difference, alone and in batches, and every row beyond the tolerance."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--texts", type=int, default=200)
    arguments = parser.parse_args()
    bundle = open_bundle(arguments.bundle)
    sentences = [text for group in list(language_sentences().values())[:40] for text in group]
    step = max(1, len(sentences) // arguments.texts)
    tokens = Tokens.from_file(bundle.tokenizer_path, bundle.manifest.identity.max_tokens)
    pieces = [tokens.ids(text) for text in sentences[::step]]
    rows = [[*tokens.head, *piece.tolist(), *tokens.tail] for piece in pieces]
    expected, gaps = reference_vectors(open_checkpoint(arguments.checkpoint), rows)
    for name, budget in (("alone", 1), ("in batches", 1024)):
        vectors = graph_vectors(bundle, tokens, pieces, budget)
        error = np.abs(vectors - expected).max(axis=1)
        print(
            f"{name}: {len(rows)} texts, max-abs {error.max():.2e}, median {np.median(error):.2e}"
        )
        for n in np.nonzero(error > TOLERANCE)[0]:
            kind = "near-tie" if gaps[n] < NEAR_TIE else "NOT EXPLAINED"
            print(f"  row {n}: {error[n]:.2e}, smallest routing gap {gaps[n]:.1e}: {kind}")
    print(f"smallest routing gap over all rows: {gaps.min():.1e}")


def graph_vectors(
    bundle: Bundle, tokens: Tokens, pieces: Sequence[NDArray[np.int32]], budget: int
) -> NDArray[np.float32]:
    """Run the exported graph."""
    dim = bundle.manifest.full_dim
    vectors = np.empty((len(pieces), dim), np.float32)
    engine = Engine(bundle, "fp32", dim, plan_threads().threads)
    for positions in plan_batches([len(piece) for piece in pieces], budget_tokens=budget):
        vectors[positions] = engine.run(*pad_batch([pieces[n] for n in positions], tokens))[0]
    engine.close()
    return vectors


def reference_vectors(
    weights: Checkpoint, rows: Sequence[Sequence[int]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Run the reference layer by layer, so that one layer's weights are in memory at a time."""
    config = json.loads((weights.path / "config.json").read_text(encoding="utf-8"))
    module = load_reference()

    @lru_cache(maxsize=16)
    def tensor(name: str) -> Any:
        return weights.tensor(name).astype(np.float64)

    class RowReader(module.Reference):  # type: ignore[misc,name-defined]
        def tensor_rows(self, name: str, wanted: Sequence[int]) -> Any:
            return np.stack([weights.tensor(name, n, n + 1)[0] for n in wanted]).astype(np.float64)

    reference = RowReader(tensor, config)
    states = [reference.embed(row) for row in rows]
    gaps = np.full(len(rows), np.inf)
    for i in range(config["n_layer"]):
        for n, state in enumerate(states):
            states[n], _, gap = reference.layer(state, i)
            gaps[n] = min(gaps[n], gap)
        print(f"reference: layer {i + 1} of {config['n_layer']}", flush=True)
    pooled = np.stack([reference.pool(state) for state in states])
    return pooled / np.linalg.norm(pooled, axis=1, keepdims=True), gaps


def load_reference() -> ModuleType:
    """Load tests/reference.py, which is no part of the package."""
    path = Path(__file__).resolve().parent.parent / "tests" / "reference.py"
    spec = importlib.util.spec_from_file_location("reference", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["reference"] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
