"""The range of every output feature, for the int8 form of an fp32 bundle's vectors."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedge.models.bundle import Bundle
from embedge.models.manifest import Manifest
from embedge.models.sample_texts import language_sentences
from embedge.models.steps import StepProgress, no_progress
from embedge.runtime.batching import pad_batch, plan_batches
from embedge.runtime.cpu import plan_threads
from embedge.runtime.engine import Engine
from embedge.runtime.precision import measure_ranges
from embedge.runtime.tokens import Tokens

# Padded tokens per batch: keeps activations of the full-size model near 50 MB.
_BUDGET_TOKENS = 1024

# fp32 weights stay in mapped pages instead of a second, packed copy in anonymous memory.
MAPPED_WEIGHTS: Mapping[str, str] = {"session.disable_prepacking": "1"}


def measure_output_ranges(
    folder: Path, manifest: Manifest, progress: StepProgress = no_progress
) -> dict[str, tuple[float, ...]]:
    """Embed the packaged sentences, five in each of 72 languages, and take every feature's peak.

    Args:
        folder: the draft of a bundle, graphs and tokenizer in place.
        manifest: the manifest that it will get.
        progress: told the texts done, under the step `measure ranges`.

    Returns:
        Per trained size, the largest magnitude of each feature of the unit vectors.
    """
    pooled = _embed(Bundle(folder, manifest), _texts(manifest), progress)
    ranges = {}
    for dim in manifest.matryoshka:
        cut = pooled[:, :dim]
        unit = cut / np.linalg.norm(cut, axis=1, keepdims=True)
        ranges[str(dim)] = measure_ranges(unit)
    return ranges


def _texts(manifest: Manifest) -> list[str]:
    prompts = [manifest.identity.prompts[task] for task in ("document", "query")]
    sentences = [text for group in language_sentences().values() for text in group]
    return [prompts[n % 2] + text for n, text in enumerate(sentences)]


def _embed(bundle: Bundle, texts: list[str], progress: StepProgress) -> NDArray[np.float32]:
    manifest = bundle.manifest
    tokens = Tokens.from_file(bundle.tokenizer_path, manifest.identity.max_tokens)
    room = manifest.identity.max_tokens - tokens.n_special
    pieces = [tokens.ids(text)[:room] for text in texts]
    pooled = np.empty((len(texts), manifest.full_dim), np.float32)
    engine = Engine(
        bundle, "fp32", manifest.full_dim, plan_threads().threads, config=MAPPED_WEIGHTS
    )
    done = 0
    try:
        for positions in plan_batches([len(p) for p in pieces], budget_tokens=_BUDGET_TOKENS):
            progress("measure ranges", done, len(texts))
            ids, mask = pad_batch([pieces[position] for position in positions], tokens)
            pooled[positions] = engine.run(ids, mask)[1]
            done += len(positions)
    finally:
        engine.close()
    progress("measure ranges", done, len(texts))
    return pooled
