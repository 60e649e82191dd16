"""The BM25 baseline: its words and its formula."""

import math

import pytest

from embedge.runtime.quality.bm25 import K1, B, Bm25, words


def test_words_are_case_folded_and_free_of_punctuation():
    assert words("The STRASSE, the Straße: café-bar 42!") == [
        "the", "strasse", "the", "strasse", "café", "bar", "42",
    ]  # fmt: skip


def test_combining_marks_stay_in_their_word():
    assert words("हिन्दी में काम") == ["हिन्दी", "में", "काम"]


def test_scripts_without_spaces_give_pairs_of_characters():
    assert words("機器學習 ok 水") == ["機器", "器學", "學習", "ok", "水"]
    assert words("ภาษา") == ["ภา", "าษ", "ษา"]


def test_score_is_lucenes_formula():
    documents = {"a": "river river night", "b": "house", "c": "night house green small word"}
    found = Bm25(documents.items()).search("River", 10)
    mean_length = (3 + 1 + 5) / 3
    idf = math.log(1 + (3 - 1 + 0.5) / (1 + 0.5))
    frequency = 2 / (2 + K1 * (1 - B + B * 3 / mean_length))
    assert found == {"a": pytest.approx(idf * frequency, rel=1e-5)}


def test_a_word_typed_twice_counts_twice():
    index = Bm25([("a", "river night"), ("b", "house")])
    once, twice = index.search("river", 10), index.search("river river", 10)
    assert twice["a"] == pytest.approx(2 * once["a"], rel=1e-5)


def test_only_the_best_documents_with_a_shared_word_are_returned():
    index = Bm25([("a", "river"), ("b", "river and a long night"), ("c", "house")])
    assert list(index.search("river", 1)) == ["a"]
    assert list(index.search("river", 10)) == ["a", "b"]
    assert index.search("unknown", 10) == {}


def test_a_corpus_without_words_finds_nothing():
    assert Bm25([("a", ""), ("b", "!?")]).search("river", 10) == {}
