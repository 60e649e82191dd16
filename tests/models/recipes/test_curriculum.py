from itertools import islice, pairwise

from embedge.models.recipes.curriculum import (
    Weights,
    is_held_back,
    order,
    pair_batches,
    passage_batches,
)
from embedge.models.recipes.training_text import Pair, Passage

EVEN = Weights({}, {}, 1.0)


def pairs(language: str, count: int, source: str = "talk") -> list[Pair]:
    return [Pair(language, source, f"{language} text {i}", f"english {i}") for i in range(count)]


def test_every_text_has_exactly_one_place_in_the_stream() -> None:
    stream = order(["de"] * 30 + ["th"] * 5, ["talk"] * 35, EVEN, seed=1)

    assert sorted(stream) == list(range(35))


def test_languages_interleave_by_weight() -> None:
    weights = Weights({"de": 3.0, "th": 1.0}, {}, 1.0)

    stream = order(["de"] * 300 + ["th"] * 300, ["talk"] * 600, weights, seed=1)

    start = stream[:100]
    assert 70 <= sum(i < 300 for i in start) <= 80


def test_better_sources_come_earlier() -> None:
    weights = Weights({}, {"human": 8.0, "strings": 1.0}, 1.0)

    stream = order(["de"] * 400, ["human"] * 200 + ["strings"] * 200, weights, seed=1)

    assert sum(i < 200 for i in stream[:100]) > 75


def test_the_same_seed_gives_the_same_batches() -> None:
    text = pairs("de", 400) + pairs("sw", 100)

    first = list(islice(pair_batches(text, EVEN, tokens=400, seed=7), 5))
    again = list(islice(pair_batches(text, EVEN, tokens=400, seed=7), 5))
    other = list(islice(pair_batches(text, EVEN, tokens=400, seed=8), 5))

    assert first == again
    assert first != other


def test_an_epoch_repeats_no_pair() -> None:
    text = pairs("de", 300)
    batches = pair_batches(text, EVEN, tokens=200, seed=7)

    seen = [pair for batch in islice(batches, 15) for pair in batch]

    assert len(seen) == len(set(seen))


def test_a_passage_batch_has_one_language_and_keeps_neighbours_together() -> None:
    text = [
        Passage(language, "course", f"{i}", f"query {i}", "word " * 40)
        for language in ("de", "sw")
        for i in range(60)
    ]

    batches = list(islice(passage_batches(text, EVEN, tokens=1500, limit=128, seed=7), 4))

    for batch in batches:
        assert len({p.language for p in batch}) == 1
        keys = [int(p.key) for p in batch]
        assert sum(b - a == 1 for a, b in pairwise(keys)) > len(keys) / 2


def test_about_the_asked_share_is_held_back_and_always_the_same() -> None:
    keys = [f"sentence {i}" for i in range(5000)]

    held = [key for key in keys if is_held_back(key, 0.02)]

    assert 60 < len(held) < 140
    assert all(is_held_back(key, 0.02) for key in held)
