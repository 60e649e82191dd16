import dataclasses

import numpy as np

from embedge.models.recipes.__main__ import RECIPE
from embedge.models.recipes.card import Health, model_card, texts_read
from embedge.models.recipes.corpus import build_corpus
from embedge.models.recipes.curriculum import Streams
from embedge.models.recipes.settings import Recipe, read_recipe
from embedge.models.recipes.sources import SOURCES
from embedge.models.recipes.training_text import Pair, Passage

PAIRS = [Pair("de", "tatoeba", f"Satz {i} " * 9, f"Sentence {i} " * 9) for i in range(90)]
PASSAGES = [Passage("en", "peps", f"{i}", f"query {i}", "word " * 30 + f"{i}") for i in range(60)]
CORPUS = build_corpus(PAIRS, PASSAGES)
SIZES = ("384", "256", "128", "teacher")


def streams(recipe: Recipe) -> Streams:
    training = dataclasses.replace(recipe.training, pairs=50, passages=24)
    return Streams(CORPUS, np.full(len(CORPUS.texts), 40), recipe.text, training)


def validation_row(step: int) -> dict[str, float | str]:
    scores = [f"{kind}_{of}" for kind in ("translation", "passage") for of in SIZES]
    return {"kind": "validation", "step": step, "tokens": 1e6, **dict.fromkeys(scores, 0.75)}


def test_the_card_counts_what_the_run_has_read() -> None:
    recipe = read_recipe(RECIPE)
    read = streams(recipe)
    steps = 4
    of_passages = [s for s in range(steps) if read.of_passages(s)]

    counts = texts_read(CORPUS, read, steps)

    assert counts["de", "tatoeba"] == 50 * (steps - len(of_passages))
    assert counts["en", "peps"] == sum(len(read.passages(s)[1].rows) for s in of_passages)


def test_the_card_names_sources_licences_and_expert_shares() -> None:
    recipe = read_recipe(RECIPE)
    rows = [validation_row(0), {"kind": "pairs", "step": 8, "tokens": 2e6, "loss": 1.0}]
    cosines = np.linspace(0, 1, 50, dtype=np.float32)
    health = Health(cosines, cosines - 0.5, {"de": np.full((1, 8), 0.125)}, [1])

    card = model_card(recipe, rows, texts_read(CORPUS, streams(recipe), 6), health)

    assert "8 steps, 2.00 million tokens" in card
    assert SOURCES["tatoeba"].licence in card
    assert "12.5 %" in card
    assert "stsb-mt-train" in card
    assert "| translation_384 | 0.750 |" in card


def test_every_weighted_source_has_a_licence() -> None:
    recipe = read_recipe(RECIPE)

    assert set(recipe.text.source_weights) | set(recipe.text.left_out) == set(SOURCES)
