import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from embedge.models.recipes.vocabulary import (
    PREFIX_PIECES,
    choose_pieces,
    count_shares,
    missing_words,
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


def missing(pieces: list[str], kept: set[str], scripts: list[str]) -> list[tuple[str, str]]:
    rows = np.array([i for i, piece in enumerate(pieces) if piece in kept], np.int32)
    return missing_words(pieces, rows, scripts)


def test_words_that_only_the_teacher_has_whole_are_missing() -> None:
    pieces = ["\u2581house", "\u2581castle", "\u2581пять", "\u2581жить"]

    found = missing(pieces, {"\u2581house", "\u2581пять"}, ["LATIN", "CYRILLIC"])

    assert found == [("castle", "LATIN"), ("жить", "CYRILLIC")]


def test_words_in_scripts_of_others_are_not_missing() -> None:
    assert missing(["\u2581castle", "\u2581жить"], set(), ["LATIN"]) == [("castle", "LATIN")]


def test_a_piece_inside_words_is_a_word_only_where_words_have_no_spaces() -> None:
    pieces = ["astle", "amok", "城堡", "\u2581宮殿", "ひらがな", "カタカナ", "성채"]

    found = missing(pieces, set(), ["LATIN", "CJK", "HIRAGANA", "KATAKANA", "HANGUL"])

    assert found == [
        ("城堡", "CJK"),
        ("宮殿", "CJK"),
        ("ひらがな", "HIRAGANA"),
        ("カタカナ", "KATAKANA"),
    ]


@pytest.mark.parametrize(
    "piece", ["\u2581", "\u2581a", "城", "\u25812026", "\u2581co2", "\u2581«a»"]
)
def test_single_letters_digits_and_punctuation_are_no_words(piece: str) -> None:
    assert missing([piece, "\u2581castle"], set(), ["LATIN", "CJK"]) == [("castle", "LATIN")]


@pytest.mark.parametrize(
    ("word", "script"),
    [
        ("हिन्दी", "DEVANAGARI"),
        ("বাংলা", "BENGALI"),
        ("తెలుగు", "TELUGU"),
        ("ร่างกาย", "THAI"),
    ],
)
def test_words_written_with_vowel_signs_are_words(word: str, script: str) -> None:
    assert missing([f"\u2581{word}"], set(), [script]) == [(word, script)]


def test_a_piece_that_begins_with_a_vowel_sign_is_no_word() -> None:
    assert missing(["\u0e49\u0e32\u0e07", "\u2581castle"], set(), ["THAI", "LATIN"]) == [
        ("castle", "LATIN")
    ]


def test_a_word_with_and_without_a_space_before_it_is_missing_once() -> None:
    assert missing(["\u2581城堡", "城堡"], set(), ["CJK"]) == [("城堡", "CJK")]
