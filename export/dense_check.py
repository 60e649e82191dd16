"""Checks of a dense model before and after its graph is written."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedge.export.ranges import MAPPED_WEIGHTS
from embedge.models.dense_config import DenseConfig
from embedge.models.errors import ConfigError, ModelIntegrityError
from embedge.models.manifest import Manifest
from embedge.models.sample_texts import language_sentences
from embedge.models.side_file import read_object
from embedge.runtime.batching import pad_batch
from embedge.runtime.cpu import plan_threads
from embedge.runtime.engine import open_session
from embedge.runtime.tokens import Tokens

Float32 = NDArray[np.float32]
HiddenStates = Callable[[NDArray[np.int64], NDArray[np.int64]], Float32]

# Largest difference of a feature of a unit vector: float32 rounding of another order of sums.
TOLERANCE = 1e-5

# Other sizes than an exporter traces with: alone, in pairs, and in a larger batch.
_BATCHES = (1, 2, 9)
_MIXED_CASE = "Hello World"


def check_tokenizer(folder: Path, config: DenseConfig, max_tokens: int) -> None:
    """Refuse a tokenizer whose ids the graph would read as something else.

    Raises:
        ConfigError: names the field.
    """
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    tokens = Tokens.from_file(path, max_tokens, whole=True)
    library = Tokenizer.from_file(str(path))
    library.no_padding()
    library.no_truncation()
    problems = []
    if tokens.vocabulary > config.vocabulary:
        problems.append(
            f"tokenizer.json has {tokens.vocabulary} ids, vocab_size is {config.vocabulary}"
        )
    if any(library.encode(_MIXED_CASE).type_ids):
        problems.append("tokenizer.json gives a single text token types other than 0")
    if config.padding_offset not in (None, tokens.pad_id):
        problems.append(
            f"pad_token_id is {config.padding_offset}, and tokenizer.json pads with {tokens.pad_id}"
        )
    lowers = read_object(folder / "sentence_bert_config.json").get("do_lower_case") is True
    if lowers and list(tokens.ids(_MIXED_CASE)) != list(tokens.ids(_MIXED_CASE.lower())):
        problems.append("sentence_bert_config.json has do_lower_case, tokenizer.json keeps case")
    if problems:
        raise ConfigError(f"{folder}: {'; '.join(problems)}; take all files of one model")


def check_same_ids(
    folder: Path, max_tokens: int, token_ids: Callable[[str], Sequence[int]]
) -> None:
    """Compare our token ids with those of transformers, which also reads tokenizer_config.json.

    Raises:
        ConfigError: a text gets other ids.
    """
    tokens = Tokens.from_file(folder / "tokenizer.json", max_tokens)
    for group in language_sentences().values():
        ours = [*tokens.head, *tokens.ids(group[0]).tolist(), *tokens.tail]
        theirs = list(token_ids(group[0]))
        if ours != theirs[: len(ours)] or len(theirs) != len(ours):
            raise ConfigError(
                f"{folder}: transformers reads {group[0]!r} as {theirs[:12]}, tokenizer.json says "
                f"{ours[:12]}; tokenizer_config.json changes it. Save the tokenizer again with "
                f"AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)."
            )


def compare_with_transformers(folder: Path, manifest: Manifest, hidden: HiddenStates) -> float:
    """Run the written graph and the model that it was traced from on sentences in 72 languages.

    Args:
        folder: the draft of a bundle, graphs and tokenizer in place.
        manifest: the manifest that it will get.
        hidden: hidden states of the model from ids and mask.

    Returns:
        The largest difference of a feature of the unit vectors.

    Raises:
        ModelIntegrityError: it is above `TOLERANCE`.
    """
    identity = manifest.identity
    tokens = Tokens.from_file(folder / "tokenizer.json", identity.max_tokens)
    room = identity.max_tokens - tokens.n_special
    texts = [group[0] for group in language_sentences().values()]
    session = open_session(
        folder / "model.onnx", threads=plan_threads().threads, config=MAPPED_WEIGHTS
    )
    worst, start = 0.0, 0
    while start < len(texts):
        batch = texts[start : start + _BATCHES[start % len(_BATCHES)]]
        start += len(batch)
        ids, mask = pad_batch([tokens.ids(text)[:room] for text in batch], tokens)
        pooled = session.run(["pooled"], {"input_ids": ids, "attention_mask": mask})[0]
        expected = pool(hidden(ids, mask), mask, identity.pooling)
        worst = max(worst, float(np.abs(unit(pooled) - unit(expected)).max()))
    if not worst <= TOLERANCE:
        raise ModelIntegrityError(
            f"the traced graph differs from transformers by {worst:.1e} in a feature of a unit "
            f"vector, allowed is {TOLERANCE:.0e}; this model cannot be exported by tracing"
        )
    return worst


def pool(states: Float32, mask: NDArray[np.int64], pooling: str) -> NDArray[np.float64]:
    """Pool hidden states (texts, tokens, hidden) in float64: (texts, hidden)."""
    if pooling == "cls":
        return states[:, 0].astype(np.float64)
    real = mask[:, :, None].astype(np.float64)
    total: NDArray[np.float64] = (states * real).sum(axis=1) / real.sum(axis=1)
    return total


def unit(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """Scale rows to unit length."""
    wide = vectors.astype(np.float64)
    return np.asarray(wide / np.linalg.norm(wide, axis=1, keepdims=True))
