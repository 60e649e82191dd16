"""Texts of a wanted length, the same in every run."""

import pytest

from embedge import InvalidOption
from embedge.runtime.bench.texts import TextMaker
from embedge.runtime.tokens import Tokens


@pytest.fixture(scope="module")
def tokens(xlmr_tokenizer_file):
    return Tokens.from_file(xlmr_tokenizer_file, 512)


@pytest.mark.parametrize("length", [16, 128, 512])
def test_texts_have_the_wanted_tokens_with_prefix_and_special_tokens(tokens, length):
    prefix = "search_document: "
    made = TextMaker(tokens, tokens.count(prefix)).of_length(length, 20)
    counts = [tokens.count(prefix + text) + tokens.n_special for text in made]
    # A cut inside a word may split its head into other pieces.
    assert all(length - 3 <= count <= length + 1 for count in counts), counts
    assert len(set(made)) == 20


def test_mixed_lengths_are_spread_within_the_limit_and_always_the_same(tokens):
    made = TextMaker(tokens, 0).mixed(200)
    counts = sorted(tokens.count(text) + tokens.n_special for text in made)
    assert counts[-1] <= 513
    assert counts[20] < 30
    assert 40 < counts[100] < 90
    assert counts[180] > 150
    assert TextMaker(tokens, 0).mixed(200) == made


@pytest.mark.parametrize("length", [6, 513])
def test_a_length_that_no_text_can_have_is_refused(tokens, length):
    with pytest.raises(InvalidOption, match=f"of {length} tokens is outside 7 to 512"):
        TextMaker(tokens, 4).of_length(length, 1)
