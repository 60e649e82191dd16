"""The vector of a text depends on nothing but the text."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from embedge import Embedder

OpenEmbedder = Callable[..., Embedder]

VARIANTS = ("fp32", "int8", "int8-avx2")
SIZES = (32, 16)
WORDS = (
    "the river house memory computer a of and to vector night word ein der die und ist nicht "
    "le les des est на это как по 的 一 是 في من है के 42 !? ABC xyz 🚀 日 </s>"
).split()

texts = st.lists(
    st.lists(st.sampled_from(WORDS), max_size=60).map(" ".join), min_size=1, max_size=12
)
quick = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def alone(embedder: Embedder, some_texts: list[str]) -> NDArray[np.number]:
    return np.stack([embedder.encode(text) for text in some_texts])


@pytest.mark.parametrize("dim", SIZES)
@pytest.mark.parametrize("variant", VARIANTS)
@quick
@given(some_texts=texts, data=st.data())
def test_vector_is_the_same_alone_in_any_batch_and_any_order(
    open_embedder: OpenEmbedder, variant: str, dim: int, some_texts: list[str], data: st.DataObject
) -> None:
    embedder = open_embedder(variant, dim)
    expected = alone(embedder, some_texts)
    order = data.draw(st.permutations(range(len(some_texts))))
    budget = data.draw(st.integers(1, 2048))
    size = data.draw(st.none() | st.integers(1, 5))
    shuffled = [some_texts[position] for position in order]
    found = embedder.encode(shuffled, batch_tokens=budget, batch_size=size)
    np.testing.assert_array_equal(expected[list(order)], found)


@pytest.mark.parametrize("dim", SIZES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_vector_is_the_same_beside_a_512_token_neighbour(
    open_embedder: OpenEmbedder, variant: str, dim: int
) -> None:
    embedder = open_embedder(variant, dim)
    texts = ["the river", "", "ein der die", "a"]
    neighbours = ["river house " * 300, "🚀 日 " * 400]
    expected = alone(embedder, texts)
    found = embedder.encode(texts + neighbours, batch_tokens=8 * 512, long_text="truncate")
    np.testing.assert_array_equal(expected, found[: len(texts)])


@pytest.mark.parametrize("variant", VARIANTS)
def test_vector_of_every_length_is_the_same_beside_a_longer_text(
    open_embedder: OpenEmbedder, variant: str
) -> None:
    embedder = open_embedder(variant)
    texts = ["river " * length for length in range(70)]
    found = embedder.encode([*texts, "night " * 200], batch_tokens=512 * 512)
    np.testing.assert_array_equal(alone(embedder, texts), found[:-1])


@pytest.mark.parametrize("variant", VARIANTS)
def test_vector_is_the_same_beside_an_extreme_outlier(
    open_embedder: OpenEmbedder, variant: str
) -> None:
    embedder = open_embedder(variant)
    texts = ["the river", "ein der die"]
    outliers = ["</s>" * 200, "~" * 400, "🚀" * 100]
    np.testing.assert_array_equal(
        alone(embedder, texts), embedder.encode(texts + outliers, long_text="truncate")[:2]
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_vector_is_the_same_with_any_number_of_threads(
    open_embedder: OpenEmbedder, variant: str
) -> None:
    texts = ["the river house " * n for n in (1, 5, 30, 90)]
    expected = open_embedder(variant, threads=1).encode(texts)
    for threads in (2, 4):
        found = open_embedder(variant, threads=threads).encode(texts)
        np.testing.assert_array_equal(expected, found)


@pytest.mark.parametrize("variant", VARIANTS)
def test_concurrent_calls_give_what_each_gives_alone(
    open_embedder: OpenEmbedder, variant: str
) -> None:
    embedder = open_embedder(variant)
    calls = [[f"{word} river {n}" for n in range(20)] for word in WORDS[:8]]
    expected = [embedder.encode(call) for call in calls]
    found: dict[int, NDArray[np.number]] = {}

    def work(number: int) -> None:
        found[number] = embedder.encode(calls[number], batch_tokens=64)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, vectors in enumerate(expected):
        np.testing.assert_array_equal(vectors, found[number])


@pytest.mark.parametrize("variant", VARIANTS)
def test_duplicates_inside_a_batch_are_equal(open_embedder: OpenEmbedder, variant: str) -> None:
    vectors = open_embedder(variant).encode(["the river"] * 7 + ["night " * 40] + ["the river"])
    np.testing.assert_array_equal(vectors[0], vectors[-1])


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_cut_vector_is_the_same_from_any_graph(open_embedder: OpenEmbedder, variant: str) -> None:
    texts = ["the river", "ein der die und " * 50]
    cut_here = open_embedder(variant, 32).encode(texts, dim=16)
    np.testing.assert_array_equal(open_embedder(variant, 16).encode(texts), cut_here)


@pytest.mark.parametrize("dim", SIZES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_vector_is_the_embedding_that_the_graph_itself_gives(
    open_embedder: OpenEmbedder, variant: str, dim: int
) -> None:
    embedder = open_embedder(variant, dim)
    tokens = embedder.loaded.tokens
    row = [*tokens.head, *tokens.ids("search_document: the river"), *tokens.tail]
    ids = np.array([row], dtype=np.int64)
    embedding, _ = embedder.loaded.engine.run(ids, np.ones_like(ids))
    # One square root and one division apart.
    np.testing.assert_allclose(embedding[0], embedder.encode("the river"), rtol=0, atol=2e-7)


def test_a_graph_with_one_scale_per_batch_fails_these_checks(
    tiny_bundle: Path, tmp_path: Path, embedder: Embedder
) -> None:
    """Negative control: onnxruntime's own dynamic quantization depends on batch-mates."""
    import logging

    from onnxruntime.quantization import quantize_dynamic

    logging.disable(logging.WARNING)
    try:
        quantize_dynamic(tiny_bundle / "model.onnx", tmp_path / "dynamic.onnx")
    finally:
        logging.disable(logging.NOTSET)
    from embedge.runtime.batching import pad_batch
    from embedge.runtime.engine import open_session

    session = open_session(tmp_path / "dynamic.onnx", threads=1)
    tokens = embedder.loaded.tokens
    pieces = [tokens.ids(text) for text in ("the river", "🚀 日 </s> " * 40)]

    def first(rows: int) -> NDArray[np.float32]:
        ids, mask = pad_batch(pieces[:rows], tokens)
        return session.run(["embedding"], {"input_ids": ids, "attention_mask": mask})[0][0]

    assert np.abs(first(1) - first(2)).max() > 1e-4


@pytest.mark.parametrize(("optimize", "arena"), [(True, True), (False, False)])
@pytest.mark.parametrize("variant", ["int8", "int8-avx2"])
def test_rewriting_the_graph_and_the_arena_change_nothing(
    open_embedder: OpenEmbedder, variant: str, optimize: bool, arena: bool
) -> None:
    from embedge.runtime.engine import open_session

    engine = open_embedder(variant).loaded.engine
    session = open_session(engine.path, threads=1, optimize=optimize, arena=arena)
    ids = np.random.default_rng(0).integers(5, 600, (3, 24))
    mask = np.ones_like(ids)
    _, expected = engine.run(ids, mask)
    (found,) = session.run(["pooled"], {"input_ids": ids, "attention_mask": mask})
    np.testing.assert_array_equal(expected, found)
