"""Filling batches to a token budget."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedge import BundleError, Embedder
from embedge.runtime.batching import pad_batch, plan_batches
from embedge.runtime.tokens import Tokens


@given(
    lengths=st.lists(st.integers(0, 512), max_size=80),
    budget=st.integers(1, 4096),
    most=st.none() | st.integers(1, 9),
)
def test_every_text_is_in_one_batch_within_budget_and_count(
    lengths: list[int], budget: int, most: int | None
) -> None:
    batches = plan_batches(lengths, budget_tokens=budget, max_texts=most)
    assert sorted(position for batch in batches for position in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[position] for position in batch)
        assert len(batch) == 1 or longest * len(batch) <= budget
        assert most is None or len(batch) <= most


def test_the_longest_come_first_so_that_the_peak_comes_early() -> None:
    assert plan_batches([3, 9, 1, 4, 2], budget_tokens=10) == [[1], [3, 0], [4, 2]]


def test_a_batch_has_special_tokens_fill_and_a_mask_and_a_width_of_fours(
    embedder: Embedder,
) -> None:
    pieces = [np.array([7, 8, 9], dtype=np.int32), np.array([7], dtype=np.int32)]
    ids, mask = pad_batch(pieces, embedder.loaded.tokens)
    np.testing.assert_array_equal([[0, 7, 8, 9, 2, 1, 1, 1], [0, 7, 2, 1, 1, 1, 1, 1]], ids)
    np.testing.assert_array_equal([[1, 1, 1, 1, 1, 0, 0, 0], [1, 1, 1, 0, 0, 0, 0, 0]], mask)
    assert (ids.dtype, mask.dtype) == (np.int64, np.int64)


def test_a_batch_is_never_wider_than_the_limit(tiny_bundle: Path) -> None:
    tokens = Tokens.from_file(tiny_bundle / "tokenizer.json", max_tokens=7)
    ids, _ = pad_batch([np.array([7, 8, 9, 7, 8], dtype=np.int32)], tokens)
    assert ids.shape == (1, 7)


def test_ids_come_without_the_special_tokens_around_a_text(embedder: Embedder) -> None:
    tokens = embedder.loaded.tokens
    assert (tokens.head, tokens.tail, tokens.pad_id) == ((0,), (2,), 1)
    assert tokens.n_special == 2
    assert tokens.ids("").tolist() == []
    assert tokens.count("the river") == len(tokens.ids("the river")) == 2


def test_special_tokens_inside_a_text_stay_special(embedder: Embedder) -> None:
    assert 2 in embedder.loaded.tokens.ids("a</s>b")


def test_offsets_are_code_points_also_beyond_the_basic_plane(embedder: Embedder) -> None:
    text = "🚀 the river"
    offsets = embedder.loaded.tokens.offsets(text)
    assert text[slice(*offsets[-1])] == "river"
    assert len(offsets) == embedder.loaded.tokens.count(text)


def test_cutting_and_filling_that_a_file_asks_for_are_ignored(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tiny_bundle / "tokenizer.json"))
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=16)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    tokens = Tokens.from_file(tmp_path / "tokenizer.json", 512)
    assert tokens.count("the river house and the night") == 6


def test_a_damaged_tokenizer_is_a_bundle_error(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(BundleError, match="not a readable tokenizer"):
        Tokens.from_file(tmp_path / "tokenizer.json", 512)


def test_published_ids_of_the_real_tokenizer(xlmr_tokenizer_file: Path) -> None:
    tokens = Tokens.from_file(xlmr_tokenizer_file, 512)
    row = [*tokens.head, *tokens.ids("search_query: What food did they eat?"), *tokens.tail]
    assert row == [0, 33938, 454, 944, 1294, 12, 4865, 15381, 6777, 1836, 73203, 32, 2]
