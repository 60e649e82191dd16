"""The bundled model keeps its quality and its independence of the batch; floors in one file."""

import json
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from embedge import Embedder
from embedge.models.sample_texts import TEXT_KINDS, measurement_texts
from embedge.models.store import find_model

DATA = Path(__file__).parents[1] / "data"
FLOORS: dict[str, dict[str, Any]] = tomllib.loads((DATA / "floors.toml").read_text("utf-8"))
QUESTIONS = [
    json.loads(line) for line in (DATA / "questions.jsonl").read_text("utf-8").splitlines()
]
LANGUAGES = list(dict.fromkeys(row["language"] for row in QUESTIONS))
Float32 = NDArray[np.float32]


def holds(name: str, value: float) -> None:
    """Fail with the reason of the limit that `value` misses."""
    limit = FLOORS[name]
    shown = f"{name} is {value:.6g}; {limit}"
    assert value >= limit.get("floor", -np.inf), shown
    assert value <= limit.get("ceiling", np.inf), shown


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Embedder]]:
    """Open the bundled model in one of its variants."""
    opened: dict[str, Embedder] = {}
    cache = tmp_path_factory.mktemp("cache")

    def open_variant(variant: str) -> Embedder:
        if variant not in opened:
            opened[variant] = Embedder("bundled", variant=variant, threads=2, cache_dir=cache)
        return opened[variant]

    yield open_variant
    for embedder in opened.values():
        embedder.close()


@pytest.fixture(scope="module")
def similarity(bundled: Callable[[str], Embedder]) -> Callable[[int], Float32]:
    """Cosines of all questions (rows) with all passages, at a size."""
    query = bundled("int8").encode_query([row["question"] for row in QUESTIONS])
    passage = bundled("int8").encode_document([row["passage"] for row in QUESTIONS])

    def at(dim: int) -> Float32:
        q, p = (
            vectors[:, :dim] / np.linalg.norm(vectors[:, :dim], axis=1, keepdims=True)
            for vectors in (query, passage)
        )
        cosines: Float32 = q @ p.T
        return cosines

    return at


def rows_of(language: str) -> list[int]:
    return [i for i, row in enumerate(QUESTIONS) if row["language"] == language]


def share_found(cosines: Float32, asked_in: str | None) -> float:
    """Share of questions whose own passage is nearest among the passages of one language."""
    found: list[bool] = []
    for language in LANGUAGES:
        block = cosines[np.ix_(rows_of(asked_in or language), rows_of(language))]
        found += list(block.argmax(axis=1) == np.arange(len(block)))
    return float(np.mean(found))


@pytest.mark.parametrize("dim", [384, 128])
def test_questions_find_their_passages(similarity: Callable[[int], Float32], dim: int) -> None:
    holds(f"found_in_own_language_{dim}", share_found(similarity(dim), None))


def test_english_questions_find_passages_in_every_language(
    similarity: Callable[[int], Float32],
) -> None:
    holds("found_across_languages_384", share_found(similarity(384), "en"))


def test_cosines_tell_related_from_unrelated_texts(
    similarity: Callable[[int], Float32],
) -> None:
    topics = np.array([row["topic"] for row in QUESTIONS])
    related = topics[:, None] == topics[None, :]
    cosines = similarity(384)
    holds("unrelated", float(cosines[~related].mean()))
    holds("related_minus_unrelated", float(cosines[related].mean() - cosines[~related].mean()))


def test_int8_was_measured_to_be_close_to_its_parent() -> None:
    measured = json.loads((find_model("bundled") / "embedge.json").read_text("utf-8"))["measured"]
    distance = measured["against_parent"]["int8"]
    holds("int8_mean_cosine", distance["mean"])
    holds("int8_first_percentile", distance["p1"])
    languages = {k: v for k, v in distance["by_language"].items() if k not in TEXT_KINDS}
    holds("int8_lowest_language", min(languages.values()))


def test_both_int8_variants_agree(bundled: Callable[[str], Embedder]) -> None:
    texts = [sample.text for sample in measurement_texts()[::9]]
    int8, avx2 = (bundled(variant).encode(texts) for variant in ("int8", "int8-avx2"))
    holds("avx2_against_int8", float((int8 * avx2).sum(axis=1).mean()))


@pytest.mark.parametrize("variant", ["int8", "int8-avx2"])
def test_a_vector_is_the_same_alone_and_in_a_batch(
    bundled: Callable[[str], Embedder], variant: str
) -> None:
    embedder = bundled(variant)
    texts = [row["passage"] for row in QUESTIONS[::10]] + ["", "x", "word " * 700]
    together = embedder.encode(texts)
    alone = np.stack([embedder.encode(text) for text in texts])
    backwards = embedder.encode(texts[::-1])[::-1]
    holds("batch_difference", float(np.abs(together - alone).max()))
    holds("batch_difference", float(np.abs(together - backwards).max()))
