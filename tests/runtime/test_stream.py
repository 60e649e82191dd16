"""`Embedder.stream`: bounded memory, order, chunks."""

from collections.abc import Iterator

import numpy as np
import pytest

from embedge import Chunk, Embedder, ProgressEvent
from embedge.runtime import streaming


def test_results_come_in_order_and_equal_encode(embedder: Embedder) -> None:
    texts = ["river " * (n % 7) for n in range(50)]
    results = list(embedder.stream(texts, batch_tokens=64))
    assert [result.index for result in results] == list(range(50))
    np.testing.assert_array_equal(embedder.encode(texts), [result.vector for result in results])
    assert all(result.chunk is None for result in results)


def test_an_endless_input_is_read_no_further_than_a_block(
    embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The structure that keeps memory flat: what is held never exceeds a block."""
    monkeypatch.setattr(streaming, "_BLOCK_TEXTS", 16)
    monkeypatch.setattr(streaming, "_GROUP_TEXTS", 4)
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield "the river"

    stream = embedder.stream(endless())
    for taken in range(1, 100):
        next(stream)
        assert read <= (taken + 15) // 16 * 16
    stream.close()


def test_a_block_ends_at_its_tokens_too(
    embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "_BLOCK_BATCHES", 2)
    monkeypatch.setattr(streaming, "_GROUP_CHARS", 100)
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield "river " * 90

    next(embedder.stream(endless(), batch_tokens=100))
    assert read == 3  # 3 x 97 tokens is past 2 x 100 for the first time


def test_keeping_one_result_does_not_keep_its_block(embedder: Embedder) -> None:
    for result in embedder.stream(["a", "b"]):
        assert result.vector.base is None


def test_chunks_come_with_offsets_and_their_own_vectors(embedder: Embedder) -> None:
    text = "\n\n".join(f"the river house number {n} and the night. " * 6 for n in range(20))
    results = list(embedder.stream(["a", text], long_text="chunk"))
    assert results[0].index == 0
    chunks = [result.chunk for result in results if result.index == 1]
    assert len(chunks) > 1
    for result in results:
        assert isinstance(result.chunk, Chunk)
        assert result.info.n_windows == 1
        assert result.info.n_tokens <= 512
    for chunk in chunks:
        assert chunk is not None
        assert text[chunk.char_start : chunk.char_end] == chunk.text
    np.testing.assert_array_equal(
        embedder.encode([result.chunk.text for result in results if result.chunk]),
        [result.vector for result in results],
    )


def test_chunks_of_embedder_are_those_of_stream(embedder: Embedder) -> None:
    text = "the river house and the night. " * 100
    streamed = [result.chunk for result in embedder.stream([text], long_text="chunk")]
    assert embedder.chunk(text) == streamed


def test_a_chunk_is_never_looked_at_for_a_prefix_of_its_own(embedder: Embedder) -> None:
    (result,) = embedder.stream(["search_query: the river"], long_text="chunk")
    assert (result.info.prefix, result.info.task) == ("task", "document")
    assert result.info.n_tokens > embedder.count_tokens("search_query: the river", task="query")


def test_wrong_options_fail_before_anything_is_read(embedder: Embedder) -> None:
    with pytest.raises(ValueError, match="precision"):
        embedder.stream(iter(()), precision="int4")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not one text"):
        embedder.stream("the river")


def test_a_stream_left_early_ends_as_cancelled(embedder: Embedder) -> None:
    events: list[ProgressEvent] = []
    stream = embedder.stream(["a"] * 10, progress=events.append)
    next(stream)
    stream.close()
    assert events[-1].as_dict()["status"] == "cancelled"
