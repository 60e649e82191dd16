import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from embedge.models.recipes.vocabulary import (
    PREFIX_PIECES,
    choose_pieces,
    count_shares,
    row_sources,
    write_tokenizer,
)

PIECES = [
    "<s>",
    "<pad>",
    "</s>",
    "<unk>",
    "\u2581",
    "\u2581que",
    "\u2581passage",
    ":",
    "a",
    "b",
    "\u2581ab",
    "\u2581ba",
    "\u2581rare",
    "_",
    "\u2581search",
    "ry",
    "<mask>",
]
SCORES = np.array([0, 0, 0, 0, -4, -5, -5, -3, -6, -6, -2, -4, -9, -6, -4, -5, 0], np.float32)


@pytest.fixture
def full_tokenizer(tmp_path: Path) -> Path:
    vocabulary = [(piece, float(score)) for piece, score in zip(PIECES, SCORES, strict=True)]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=3, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(["<s>", "<mask>"])
    path = tmp_path / "full.json"
    tokenizer.save(str(path))
    return path


def test_single_characters_and_specials_always_stay() -> None:
    shares = np.zeros(len(PIECES))
    shares[PIECES.index("\u2581ab")] = 1

    kept = choose_pieces(shares, PIECES, SCORES, size=10, unigram=0.0, scripts=["LATIN"])

    names = {PIECES[i] for i in kept}
    assert {"<s>", "<pad>", "</s>", "<unk>", "a", "b", ":", "_", "\u2581", "\u2581ab"} == names


def test_pieces_in_other_scripts_are_dropped_but_not_their_characters() -> None:
    pieces = [*PIECES[:-1], "\u0e01\u0e32", "\u0e01", "<mask>"]
    scores = np.array([*SCORES[:-1], -1, -8, 0], np.float32)

    kept = choose_pieces(
        np.ones(len(pieces)), pieces, scores, size=17, unigram=0.5, scripts=["LATIN"]
    )

    names = {pieces[i] for i in kept}
    assert "\u0e01" in names
    assert "\u0e01\u0e32" not in names
    assert len(kept) == 17


def test_frequent_pieces_beat_rare_ones(full_tokenizer: Path) -> None:
    texts = {"en": ["ab ab ab", "ba ab"], "de": ["ba ba"]}

    shares = count_shares(full_tokenizer, texts, {"en": 3.0}, len(PIECES))

    by_piece = dict(zip(PIECES, shares, strict=True))
    assert by_piece["\u2581ab"] > by_piece["\u2581ba"] > by_piece["\u2581rare"]
    assert shares.sum() == pytest.approx(4.0)


def test_prefixes_become_single_pieces_with_the_teachers_rows(
    full_tokenizer: Path, tmp_path: Path
) -> None:
    kept = np.arange(len(PIECES) - 1, dtype=np.int32)
    out = tmp_path / "tokenizer.json"

    write_tokenizer(full_tokenizer, kept, (PIECES, SCORES), PREFIX_PIECES, out)

    cut = Tokenizer.from_file(str(out))
    rows = row_sources(kept, PIECES, PREFIX_PIECES)
    assert cut.encode("search_query: ab").tokens == ["\u2581search_que", "ry", ":", "\u2581ab"]
    assert cut.encode("search_document: ab").tokens == ["\u2581search_document", ":", "\u2581ab"]
    for own, teachers in PREFIX_PIECES.items():
        assert PIECES[rows[cut.token_to_id(own)]] == teachers


def test_the_mask_piece_is_gone(full_tokenizer: Path, tmp_path: Path) -> None:
    out = tmp_path / "tokenizer.json"

    write_tokenizer(full_tokenizer, np.arange(16, dtype=np.int32), (PIECES, SCORES), [], out)

    document = json.loads(out.read_text(encoding="utf-8"))
    assert [token["content"] for token in document["added_tokens"]] == ["<s>"]
    assert "<mask>" not in {piece for piece, _ in document["model"]["vocab"]}
