from itertools import islice

import numpy as np

from embedge.models.recipes.__main__ import RECIPE
from embedge.models.recipes.card import Health, model_card, texts_read
from embedge.models.recipes.curriculum import Weights, pair_batches
from embedge.models.recipes.settings import read_recipe
from embedge.models.recipes.sources import SOURCES
from embedge.models.recipes.training_text import Pair, Passage

PAIRS = [Pair("de", "tatoeba", f"Satz {i} " * 9, f"Sentence {i} " * 9) for i in range(900)]
PASSAGES = [Passage("en", "peps", f"{i}", f"query {i}", "word " * 300) for i in range(200)]


def validation_row(step: int) -> dict[str, float | str]:
    scores = [
        *("cosine_mixed", "cosine_passage", "translation_384", "translation_128"),
        *("translation_teacher", "passage_384", "passage_128", "passage_teacher"),
    ]
    return {"kind": "validation", "step": step, "tokens": 1e6, **dict.fromkeys(scores, 0.75)}


def test_the_card_counts_what_the_run_has_read() -> None:
    recipe = read_recipe(RECIPE)
    every = recipe.training.passages_every
    text = recipe.text
    weights = Weights(text.language_weights, text.source_weights, text.other_languages)
    batches = pair_batches(
        PAIRS, weights, tokens=recipe.training.pair_tokens, seed=recipe.training.seed
    )

    counts = texts_read(recipe, PAIRS, PASSAGES, steps=every)

    assert counts["de", "tatoeba"] == sum(map(len, islice(batches, every - 1)))
    assert counts["en", "peps"] > 0


def test_the_card_names_sources_licences_and_expert_shares() -> None:
    recipe = read_recipe(RECIPE)
    rows = [validation_row(0), {"kind": "pairs", "step": 8, "tokens": 2e6, "loss": 1.0}]
    cosines = np.linspace(0, 1, 50, dtype=np.float32)
    health = Health(cosines, cosines - 0.5, {"de": np.full((1, 8), 0.125)}, [1])

    card = model_card(recipe, rows, texts_read(recipe, PAIRS, PASSAGES, steps=6), health)

    assert "8 steps, 2.00 million tokens" in card
    assert SOURCES["tatoeba"].licence in card
    assert "12.5 %" in card
    assert "stsb-mt-train" in card


def test_every_weighted_source_has_a_licence() -> None:
    recipe = read_recipe(RECIPE)

    assert set(recipe.text.source_weights) | set(recipe.text.left_out) == set(SOURCES)
