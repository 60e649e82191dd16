"""Batches without padding hold what the tokenizer says."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from embedge.models.recipes.packing import (
    Elements,
    FlatTokens,
    flat_tokens,
    open_tokenizer,
    pack,
    piece_splits,
)
from embedge.models.recipes.tokens import TextEncoder

PIECES = ["<s>", "<pad>", "</s>", "<unk>", "\u2581", "a", "b", "ab", "\u2581a", "\u2581ab", "aab"]
SCORES = [0.0, 0.0, 0.0, 0.0, -4.0, -3.0, -3.0, -2.0, -2.5, -1.5, -1.0]
TEXTS = ["ab", "a b aab", "", "ab ab ab ab", "aab"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Tokenizer(models.Unigram(list(zip(PIECES, SCORES, strict=True)), unk_id=3))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    made.add_special_tokens(["<s>", "<pad>", "</s>"])
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    made.save(str(path))
    return path


def rows(ids: np.ndarray, lengths: np.ndarray) -> list[list[int]]:
    return [part.tolist() for part in np.split(ids, np.cumsum(lengths)[:-1])]


def test_a_batch_holds_the_tokens_of_prefix_and_text(tokenizer: Path) -> None:
    tokens = flat_tokens(tokenizer, TEXTS)
    prefix = open_tokenizer(tokenizer).encode("ab ", add_special_tokens=False).ids

    packed = pack(tokens, Elements.single(np.arange(len(TEXTS))), prefix, 100)

    expected = TextEncoder(tokenizer).ids(TEXTS, "ab ", 100)
    assert rows(packed.ids, packed.lengths) == expected


def test_a_text_above_the_limit_keeps_its_end_token(tokenizer: Path) -> None:
    tokens = flat_tokens(tokenizer, TEXTS)

    packed = pack(tokens, Elements.single(np.array([3, 0])), [9], 5)

    assert rows(packed.ids, packed.lengths) == [[0, 9, 9, 9, 2], [0, 9, 9, 2]]


def test_joined_texts_have_the_tokens_of_the_joined_text(tokenizer: Path) -> None:
    tokens = flat_tokens(tokenizer, TEXTS)
    elements = Elements(np.array([0, 1, 4]), np.array([0, 0, 1]), 2)

    packed = pack(tokens, elements, [], 100)

    assert rows(packed.ids, packed.lengths) == TextEncoder(tokenizer).ids(
        ["ab a b aab", "aab"], "", 100
    )


def test_tokens_do_not_depend_on_the_number_of_processes(
    tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedge.models.recipes.packing.CHUNK", 2)

    one, two = flat_tokens(tokenizer, TEXTS), flat_tokens(tokenizer, TEXTS, workers=2)

    np.testing.assert_array_equal(one.ids, two.ids)
    np.testing.assert_array_equal(one.offsets, two.offsets)


def test_a_piece_is_cut_into_its_most_probable_parts() -> None:
    splits = piece_splits(PIECES, SCORES, 4)

    cut = {p: splits.parts[i, : splits.counts[i]].tolist() for i, p in enumerate(PIECES)}

    assert cut["aab"] == [PIECES.index("a"), PIECES.index("ab")]
    assert cut["\u2581ab"] == [PIECES.index("\u2581a"), PIECES.index("b")]
    assert cut["a"] == [PIECES.index("a")]
    assert cut["<s>"] == [0]


@given(
    st.lists(st.lists(st.integers(4, 10), max_size=6), min_size=1, max_size=8),
    st.floats(0.1, 1.0),
)
def test_cut_pieces_spell_the_same_text(texts: list[list[int]], share: float) -> None:
    flat = np.array([i for t in texts for i in t], np.int32)
    offsets = np.cumsum([0, *(len(t) for t in texts)])
    tokens = FlatTokens(flat, offsets, 0, 2)
    everything = Elements.single(np.arange(len(texts)))

    packed = pack(
        tokens,
        everything,
        [],
        1000,
        splits=piece_splits(PIECES, SCORES, 4),
        share=share,
        draw=np.random.default_rng(1),
    )

    for ids, text in zip(rows(packed.ids, packed.lengths), texts, strict=True):
        assert "".join(PIECES[i] for i in ids[1:-1]) == "".join(PIECES[i] for i in text)
        assert (ids[0], ids[-1]) == (0, 2)
