import dataclasses

import numpy as np
import pytest

from embedge.models.recipes.__main__ import RECIPE
from embedge.models.recipes.corpus import Corpus, build_corpus
from embedge.models.recipes.curriculum import (
    MOST_WORDS,
    RUN,
    PairStream,
    PassageDraw,
    PassageStream,
    Streams,
    Weights,
    at_step,
    is_held_back,
)
from embedge.models.recipes.settings import read_recipe
from embedge.models.recipes.training_text import Pair, Passage

EVEN = Weights({}, {}, 1.0)
WORDS = {
    "LATIN": [f"wort{letter}" for letter in "abcdefgh"],
    "CYRILLIC": [f"слово{letter}" for letter in "абвг"],
    "HIRAGANA": ["ことば", "ひらがな"],
    "CJK": ["言葉", "漢字", "文字"],
}
SCRIPTED = {
    "de": "Ein Satz über das Haus {} steht hier. Und dann kommt noch der Satz {}. ",
    "ru": "Предложение про дом {} стоит здесь. Потом ещё одно предложение {}. ",
    "ja": "家についての長い文がここに{}あります。次の文もここに{}あります。",
}


def pairs(language: str, count: int, source: str = "talk") -> list[Pair]:
    return [Pair(language, source, f"{language} {source} {i}", f"en {i}") for i in range(count)]


def passages(language: str, count: int) -> list[Passage]:
    sentence = f"A sentence in {language} about it. "
    return [
        Passage(language, "course", f"section {i}", f"{language} query {i}", f"{i}: {sentence * 3}")
        for i in range(count)
    ]


def scripted(language: str, count: int) -> list[Passage]:
    texts = [SCRIPTED[language].format(i, i) for i in range(count)]
    return [Passage(language, "course", f"{language} {t}", f"? {t}", t) for t in texts]


def with_words(languages: list[str], scripts: list[str]) -> Corpus:
    sections = [p for language in languages for p in scripted(language, 60)]
    return build_corpus([], sections, [(word, s) for s in scripts for word in WORDS[s]])


def element_texts(drawn: PassageDraw, element: int) -> list[int]:
    texts: list[int] = drawn.passages.texts[drawn.passages.owner == element].tolist()
    return texts


def lengths(corpus: Corpus) -> np.ndarray:
    return np.full(len(corpus.texts), 40)


def draws(corpus: Corpus, kind: str, cross_lingual: float = 0.0) -> list[PassageDraw]:
    stream = PassageStream(corpus, EVEN, lengths(corpus), cross_lingual)
    drawn = [stream.draw(at_step(5, step), 60) for step in range(60)]
    return [d for d in drawn if d.kind == kind]


def shares(corpus: Corpus, weights: Weights, column: int) -> dict[str, float]:
    rows = PairStream(corpus, weights).draw(at_step(1, 1), 20_000)
    names = corpus.languages if column == 2 else corpus.sources
    counts = np.bincount(corpus.pairs[rows, column], minlength=len(names))
    return dict(zip(names, counts / counts.sum(), strict=True))


def test_a_language_counts_by_its_weight_and_the_root_of_its_size() -> None:
    corpus = build_corpus(pairs("de", 400) + pairs("th", 100) + pairs("sw", 100), [])

    share = shares(corpus, Weights({"th": 2.0}, {}, 1.0), 2)

    assert share["de"] == pytest.approx(2 / 5, abs=0.02)
    assert share["th"] == pytest.approx(2 / 5, abs=0.02)
    assert share["sw"] == pytest.approx(1 / 5, abs=0.02)


def test_better_sources_are_read_more_often() -> None:
    corpus = build_corpus(pairs("de", 200, "human") + pairs("de", 200, "strings"), [])

    share = shares(corpus, Weights({}, {"human": 3.0}, 1.0), 3)

    assert share["human"] == pytest.approx(0.75, abs=0.02)


def test_a_step_draws_the_same_rows_again_and_another_step_others() -> None:
    corpus = build_corpus(pairs("de", 400), passages("de", 60))
    recipe = read_recipe(RECIPE)
    training = dataclasses.replace(recipe.training, pairs=50, passages=24)

    first = Streams(corpus, lengths(corpus), recipe.text, training)
    again = Streams(corpus, lengths(corpus), recipe.text, training)

    assert not first.of_passages(2)
    np.testing.assert_array_equal(first.pairs(2)[1], again.pairs(2)[1])
    assert (first.pairs(2)[1] != first.pairs(4)[1]).any()
    np.testing.assert_array_equal(first.passages(3)[1].rows, again.passages(3)[1].rows)


def test_passages_of_a_step_have_one_language_and_bring_their_neighbours() -> None:
    corpus = build_corpus([], passages("de", 90) + passages("sw", 90))

    for drawn in draws(corpus, "passage"):
        rows = corpus.passages[drawn.rows]
        assert len(np.unique(rows[:, 3])) == 1
        assert (np.diff(drawn.rows) == 1).mean() > (RUN - 2) / RUN
        np.testing.assert_array_equal(drawn.queries, rows[:, 1])


def test_queries_in_another_language_ask_for_the_same_section() -> None:
    corpus = build_corpus([], passages("de", 60) + passages("en", 60))
    key_of_query = {int(row[1]): int(row[2]) for row in corpus.passages}

    drawn = draws(corpus, "passage", cross_lingual=1.0)

    foreign = 0
    for step in drawn:
        rows = corpus.passages[step.rows]
        assert [key_of_query[q] for q in step.queries.tolist()] == rows[:, 2].tolist()
        foreign += int((step.queries != rows[:, 1]).sum())
    assert foreign > 0


def test_sections_come_with_their_english_version_or_with_themselves() -> None:
    corpus = build_corpus([], passages("de", 60) + passages("en", 30))
    english = {int(row[2]): int(row[0]) for row in corpus.passages if row[3] == 1}

    for drawn in draws(corpus, "passage"):
        assert drawn.english_passages is not None
        for row, text in zip(drawn.rows.tolist(), drawn.english_passages.tolist(), strict=True):
            own, _, key, *_ = corpus.passages[row].tolist()
            assert text == english.get(key, own)


def test_joined_sections_are_neighbours_of_one_document_and_hold_what_is_asked() -> None:
    corpus = build_corpus([], passages("de", 60) + passages("sw", 60))
    row_of = {int(row[0]): i for i, row in enumerate(corpus.passages)}
    query_of = {int(row[0]): int(row[1]) for row in corpus.passages}

    for drawn in draws(corpus, "joined"):
        for element, query in enumerate(drawn.queries.tolist()):
            texts = drawn.passages.texts[drawn.passages.owner == element].tolist()
            rows = [row_of[t] for t in texts]
            assert rows == list(range(rows[0], rows[0] + len(rows)))
            assert len({int(corpus.passages[r, 3]) for r in rows}) == 1
            assert query in [query_of[t] for t in texts]


def test_a_sentence_asks_for_the_passage_that_it_stands_in() -> None:
    corpus = build_corpus([], passages("de", 60))

    for drawn in draws(corpus, "sentence"):
        for query, text in zip(drawn.queries, drawn.passages.texts, strict=True):
            assert corpus.texts[query] in corpus.texts[text]


def test_words_stand_between_and_behind_a_sentence_and_the_next_ones() -> None:
    corpus = with_words(["de"], ["LATIN"])
    words = set(corpus.words[:, 0].tolist())
    runs = set()

    for drawn in draws(corpus, "words"):
        assert drawn.passages.count == len(drawn.queries) == len(drawn.rows)
        for element, query in enumerate(drawn.queries.tolist()):
            texts = element_texts(drawn, element)
            following = drawn.queries[(element + 1) % len(drawn.queries)]
            places = [i for i, text in enumerate(texts) if text not in words]
            assert [texts[i] for i in places] == [query, following]
            assert places[0] == 0
            runs |= {places[1] - 1, len(texts) - places[1] - 1}

    assert runs == set(range(1, MOST_WORDS + 1)) == {1, 2, 3, 4, 5, 6}


def test_sections_with_words_are_asked_for_with_a_sentence_of_their_passage() -> None:
    corpus = with_words(["de", "ru"], ["LATIN", "CYRILLIC"])
    sentences = set(map(tuple, corpus.sentences.tolist()))

    drawn = draws(corpus, "words")

    asked = [pair for d in drawn for pair in zip(d.queries.tolist(), d.rows.tolist(), strict=True)]
    assert len(asked) > 0
    assert set(asked) <= sentences


@pytest.mark.parametrize(
    ("language", "scripts"),
    [("de", {"LATIN"}), ("ru", {"CYRILLIC"}), ("ja", {"CJK", "HIRAGANA"})],
)
def test_all_words_of_the_scripts_of_a_language_are_drawn_and_no_others(
    language: str, scripts: set[str]
) -> None:
    corpus = with_words(["de", "ru", "ja"], list(WORDS))
    words = set(corpus.words[:, 0].tolist())
    number = corpus.languages.index(language)

    drawn = [d for d in draws(corpus, "words") if corpus.passages[d.rows[0], 3] == number]

    found = {corpus.texts[t] for d in drawn for t in d.passages.texts.tolist() if t in words}
    assert found == {word for script in scripts for word in WORDS[script]}


@pytest.mark.parametrize("scripts", [[], ["CYRILLIC", "CJK"]], ids=["no words", "other scripts"])
def test_without_words_in_a_languages_script_sections_come_with_their_query(
    scripts: list[str],
) -> None:
    corpus = with_words(["de"], scripts)
    usual = with_words(["de"], ["LATIN"])
    with_and_without = [PassageStream(c, EVEN, lengths(c), 0.0) for c in (usual, corpus)]

    drawn = [[s.draw(at_step(5, step), 60) for s in with_and_without] for step in range(60)]

    instead = [without for normal, without in drawn if normal.kind == "words"]
    assert {d.kind for d in instead} == {"passage"}
    for d in instead:
        np.testing.assert_array_equal(d.passages.texts, corpus.passages[d.rows, 0])
        np.testing.assert_array_equal(d.queries, corpus.passages[d.rows, 1])


@pytest.mark.parametrize("text", ["x", "A sentence is here. And there is another one. "])
def test_no_step_is_empty_however_little_there_is_to_draw_from(text: str) -> None:
    corpus = build_corpus([], [Passage("de", "course", "section", "query", text)])
    stream = PassageStream(corpus, EVEN, lengths(corpus), 0.3)

    drawn = [stream.draw(at_step(5, step), 1) for step in range(30)]

    assert all(len(d.queries) == d.passages.count >= 1 for d in drawn)


def test_about_the_asked_share_is_held_back_and_always_the_same() -> None:
    keys = [f"sentence {i}" for i in range(5000)]

    held = [key for key in keys if is_held_back(key, 0.02)]

    assert 60 < len(held) < 140
    assert all(is_held_back(key, 0.02) for key in held)
