"""No clock: work is counted in calls, because quadratic work shows there first."""

import random

import pytest

from embedge.runtime.chunking import chunk_text
from embedge.runtime.chunking.token_map import BLOCK_CHARS, map_tokens

SHAPES = {
    "one word again and again": lambda n: "a " * (n // 2),
    "no white space": lambda n: "".join(random.Random(1).choices("abcdefgh0123", k=n)),
    "one letter": lambda n: "x" * n,
    "line breaks only between words": lambda n: "ab\n" * (n // 3),
    "prose on one line": lambda n: " ".join(
        random.Random(2).choices(["one", "two.", "three"], k=n // 5)
    ),
    "sentences without spaces": lambda n: "".join(
        random.Random(3).choices("的一是不了人我。", k=n)
    ),
    "dots": lambda n: "." * n,
    "combining marks": lambda n: "a" + "\u0301" * n,
    "many hashes": lambda n: "# " * (n // 2),
    "blank lines": lambda n: "a" + "\n" * n + "b",
}


class CountingTokens:
    """Counts the characters that it is asked to tokenize."""

    def __init__(self, inner) -> None:
        self._inner = inner
        self.seen = 0

    def offsets(self, text: str) -> list[tuple[int, int]]:
        self.seen += len(text)
        return self._inner.offsets(text)

    def count(self, text: str) -> int:
        self.seen += len(text)
        return self._inner.count(text)


@pytest.mark.parametrize("shape", SHAPES)
def test_tokenizer_work_grows_with_the_text_whatever_it_holds(tokens, joined, shape):
    text = SHAPES[shape](300_000)
    counting = CountingTokens(tokens)
    chunks = chunk_text(text, counting, max_tokens=400, kind="markdown")
    assert joined(chunks) == text
    assert max(chunk.n_tokens for chunk in chunks) <= 400
    assert counting.seen <= 6 * len(text)
    assert tokens.longest <= BLOCK_CHARS


def test_splits_of_a_repeated_line_are_balanced(tokens):
    """Equal keys must not peel one margin after the other off a long region."""
    chunks = chunk_text("a " * 50_000, tokens, max_tokens=400, overlap=0)
    sizes = sorted(chunk.n_tokens for chunk in chunks)
    assert sizes[0] * 4 >= sizes[-1]


def test_blocks_are_cut_at_white_space_where_there_is_some(tokens):
    text = "word " * 20_000
    seen = map_tokens(text, tokens)
    assert len(seen.seams) == 0
    assert len(seen.starts) == 20_000


@pytest.mark.slow
def test_a_five_megabyte_text_is_cut_whole(tokens, article, joined):
    one = article(5, 400)
    text = one * (5_000_000 // len(one))
    chunks = chunk_text(text, tokens, max_tokens=500, kind="markdown")
    assert joined(chunks) == text


@pytest.mark.parametrize("max_tokens", [8, 9, 10, 11, 25, 50])
def test_regions_cut_inside_words_are_counted_alone(tokens, max_tokens):
    """Pieces of four characters lie differently in a sentence alone than in the whole line."""
    source = random.Random(4)
    sentences = ["的" * source.randint(2, 40) + "。" for _ in range(400)]
    chunks = chunk_text("".join(sentences), tokens, max_tokens=max_tokens, overlap=0)
    assert max(tokens.count(chunk.text) for chunk in chunks) <= max_tokens
    assert [chunk.n_tokens for chunk in chunks] == [tokens.count(chunk.text) for chunk in chunks]
