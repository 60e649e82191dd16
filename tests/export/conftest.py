"""Runs exported graphs and compares them with the reference."""

import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from embedge.models.checkpoint import open_checkpoint
from embedge.models.sample_texts import language_sentences


@pytest.fixture(scope="session")
def run_graph(checkpoints: ModuleType) -> Callable[..., list[Any]]:
    """Run a graph file on rows of token ids; gives one array per wanted output, rows in order."""
    import onnxruntime

    def run(
        graph: Path,
        rows: Sequence[Sequence[int]],
        batch: int,
        outputs: tuple[str, ...] = ("embedding",),
    ) -> list[Any]:
        session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        parts = [
            session.run(list(outputs), {"input_ids": ids, "attention_mask": mask})
            for ids, mask in checkpoints.batches(rows, batch)
        ]
        return [np.concatenate(columns) for columns in zip(*parts, strict=True)]

    return run


@pytest.fixture(scope="session")
def reference_of(reference: ModuleType) -> Callable[..., Any]:
    """Give the reference of a checkpoint folder, or a subclass of it."""

    @cache
    def tensors_of(folder: Path) -> dict[str, Any]:
        weights = open_checkpoint(folder)
        names = [name for file in weights.files for name in file.entries]
        return {name: weights.tensor(name).astype(np.float64) for name in names}

    def make(folder: Path, kind: type | None = None) -> Any:
        config = json.loads((folder / "config.json").read_text())
        return (kind or reference.Reference)(tensors_of(folder).__getitem__, config)

    return make


@pytest.fixture(scope="session")
def sentence_outputs(
    reference_of: Callable[..., Any], sentence_ids: Callable[[int], list[list[int]]]
) -> Callable[[Path], list[Any]]:
    """Give what the reference makes of the 200 sentences, computed once per checkpoint."""

    @cache
    def outputs(folder: Path) -> list[Any]:
        reference = reference_of(folder)
        return [reference.encode(row) for row in sentence_ids(reference.config["vocab_size"])]

    return outputs


@pytest.fixture(scope="session")
def sentence_ids(xlmr_tokenizer_file: Path) -> Callable[[int], list[list[int]]]:
    """200 sentences in 40 languages as token ids folded into a small vocabulary.

    The folding keeps lengths, repetitions and the special tokens of the real tokenizer.
    """
    from tokenizers import Tokenizer

    sentences = list(language_sentences().values())[:40]
    tokenizer = Tokenizer.from_file(str(xlmr_tokenizer_file))
    encoded = tokenizer.encode_batch([text for group in sentences for text in group])
    rows = [encoding.ids for encoding in encoded]
    assert len(rows) == 200

    def fold(vocabulary: int) -> list[list[int]]:
        return [[i if i < 4 else 4 + i % (vocabulary - 4) for i in row] for row in rows]

    return fold
