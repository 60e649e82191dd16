from pathlib import Path

import numpy as np
import pytest

from embedge.models.recipes.corpus import (
    build_corpus,
    read_corpus,
    sentences_of,
    write_corpus,
)
from embedge.models.recipes.training_text import Pair, Passage

PAIRS = [
    Pair("de", "talk", "Guten Morgen", "Good morning"),
    Pair("fr", "talk", "Bonjour", "Good morning"),
]
PASSAGES = [
    Passage("en", "peps", "1", "What is it?", "It is a proposal. It says what changes, and why."),
    Passage("en", "peps", "2", "Good morning", "Short."),
]


def test_every_text_is_kept_once() -> None:
    corpus = build_corpus(PAIRS, PASSAGES)

    assert len(corpus.texts) == len(set(corpus.texts))
    assert corpus.pairs[0, 1] == corpus.pairs[1, 1] == corpus.passages[1, 1]
    assert corpus.texts[corpus.pairs[1, 0]] == "Bonjour"
    assert corpus.languages == ["de", "fr", "en"]


def test_only_the_sides_that_translations_share_are_english() -> None:
    corpus = build_corpus(PAIRS, PASSAGES)

    assert [t for t, yes in zip(corpus.texts, corpus.english(), strict=True) if yes] == [
        "Good morning"
    ]


def test_sentences_belong_to_their_passage() -> None:
    corpus = build_corpus([], PASSAGES)

    assert [(corpus.texts[t], row) for t, row in corpus.sentences.tolist()] == [
        ("It says what changes, and why.", 0)
    ]


def test_sentences_are_cut_where_a_script_ends_them() -> None:
    assert sentences_of("これは一つ目の長い文です。これは二つ目の長い文です。") == [
        "これは一つ目の長い文です。",
        "これは二つ目の長い文です。",
    ]
    assert sentences_of("one sentence that is the whole passage already") == []


def test_a_corpus_comes_back_as_it_was_written(tmp_path: Path) -> None:
    corpus = build_corpus(PAIRS, PASSAGES)

    write_corpus(corpus, tmp_path)
    again = read_corpus(tmp_path)

    assert (again.texts, again.languages, again.sources) == (
        corpus.texts,
        corpus.languages,
        corpus.sources,
    )
    for name in ("pairs", "passages", "sentences"):
        np.testing.assert_array_equal(getattr(again, name), getattr(corpus, name))


def test_a_text_with_a_line_break_is_refused(tmp_path: Path) -> None:
    corpus = build_corpus([Pair("de", "talk", "zwei\nZeilen", "two lines")], [])

    with pytest.raises(ValueError, match="line break"):
        write_corpus(corpus, tmp_path)
