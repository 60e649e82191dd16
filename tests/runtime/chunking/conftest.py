import random
import re
from collections.abc import Callable

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from embedge.runtime.chunking import Chunk

WHITE = re.compile(r"[^\t\n\x0c\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")


class PieceTokens:
    """Cuts words into pieces of four characters, so counts add up at white space only."""

    def __init__(self) -> None:
        self.longest = 0  # longest text given at once

    def offsets(self, text: str) -> list[tuple[int, int]]:
        self.longest = max(self.longest, len(text))
        return [
            (start, min(start + 4, word.end()))
            for word in WHITE.finditer(text)
            for start in range(word.start(), word.end(), 4)
        ]

    def count(self, text: str) -> int:
        return len(self.offsets(text))


class LibraryTokens:
    """A tokenizer of the tokenizers library behind the interface of the chunker."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def offsets(self, text: str) -> list[tuple[int, int]]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).offsets)

    def count(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)


@pytest.fixture
def tokens() -> PieceTokens:
    return PieceTokens()


@pytest.fixture(scope="session")
def unigram() -> LibraryTokens:
    """A small Unigram tokenizer with white space handled as in XLM-R."""
    pieces = ["<unk>", "▁", "▁the", "▁a", "ing", "er", "on", "an", "▁wo", "rd"]
    pieces += list("abcdefghijklmnopqrstuvwxyz.,!?#-*`=\"'()")
    scores = [(piece, -float(rank)) for rank, piece in enumerate(pieces)]
    tokenizer = Tokenizer(models.Unigram(scores, 0, False))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    tokenizer.decoder = decoders.Metaspace()
    return LibraryTokens(tokenizer)


@pytest.fixture
def article() -> Callable[[int, int], str]:
    """Return a function (seed, paragraphs) that writes a Markdown article."""

    def write(seed: int, paragraphs: int) -> str:
        source = random.Random(seed)
        words = [
            "".join(source.choices("abcdefghijkl", k=source.randint(1, 9))) for _ in range(900)
        ]
        parts = []
        for number in range(paragraphs):
            if number % 7 == 0:
                parts.append(f"{'#' * source.randint(1, 3)} Part {number}")
            sentences = [
                " ".join(source.choices(words, k=source.randint(4, 18))) + "."
                for _ in range(source.randint(2, 9))
            ]
            parts.append("\n".join(sentences) if number % 5 == 0 else " ".join(sentences))
        return "\n\n".join(parts) + "\n"

    return write


@pytest.fixture
def joined() -> Callable[[list[Chunk]], str]:
    """Return a function that puts chunks together without their overlap."""
    return lambda chunks: "".join(chunk.text[chunk.overlap_chars :] for chunk in chunks)
