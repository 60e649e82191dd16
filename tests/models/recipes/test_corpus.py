from pathlib import Path

import numpy as np
import pytest

from embedge.models.recipes.corpus import (
    build_corpus,
    read_corpus,
    sentences_of,
    write_corpus,
)
from embedge.models.recipes.training_text import Graded, Pair, Passage

PAIRS = [
    Pair("de", "talk", "Guten Morgen", "Good morning"),
    Pair("fr", "talk", "Bonjour", "Good morning"),
]
PASSAGES = [
    Passage("en", "peps", "1", "What is it?", "It is a proposal. It says what changes, and why."),
    Passage("en", "peps", "2", "Good morning", "Short."),
]
WORDS = [("castle", "LATIN"), ("замок", "CYRILLIC"), ("tower", "LATIN")]
GRADED = [
    Graded("de", "Guten Morgen", "Guten Tag", 3.4),
    Graded("ja", "おはよう", "こんにちは", 0.0),
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
    corpus = build_corpus(PAIRS, PASSAGES, WORDS, GRADED)

    write_corpus(corpus, tmp_path)
    again = read_corpus(tmp_path)

    for name in ("texts", "languages", "sources", "scripts"):
        assert getattr(again, name) == getattr(corpus, name)
    for name in ("pairs", "passages", "sentences", "words", "graded"):
        np.testing.assert_array_equal(getattr(again, name), getattr(corpus, name))


def test_words_come_back_with_their_script(tmp_path: Path) -> None:
    write_corpus(build_corpus(PAIRS, PASSAGES, WORDS), tmp_path)

    again = read_corpus(tmp_path)

    assert [(again.texts[word], again.scripts[s]) for word, s in again.words.tolist()] == WORDS


def test_graded_pairs_come_back_with_their_language_and_grade(tmp_path: Path) -> None:
    write_corpus(build_corpus(PAIRS, PASSAGES, (), GRADED), tmp_path)

    again = read_corpus(tmp_path)

    assert [
        Graded(again.languages[language], again.texts[text], again.texts[other], grade / 1000)
        for text, other, language, grade in again.graded.tolist()
    ] == GRADED


def test_a_corpus_without_words_and_graded_pairs_has_none_when_it_comes_back(
    tmp_path: Path,
) -> None:
    write_corpus(build_corpus(PAIRS, PASSAGES), tmp_path)

    again = read_corpus(tmp_path)

    assert (again.words.shape, again.graded.shape, again.scripts) == ((0, 2), (0, 4), [])


def test_a_text_with_a_line_break_is_refused(tmp_path: Path) -> None:
    corpus = build_corpus([Pair("de", "talk", "zwei\nZeilen", "two lines")], [])

    with pytest.raises(ValueError, match="line break"):
        write_corpus(corpus, tmp_path)
