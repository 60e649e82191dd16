import re

import pytest


class WordTokens:
    def offsets(self, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in re.finditer(r"\S+", text)]

    def count(self, text: str) -> int:
        return len(text.split())


@pytest.fixture
def tokens_by_word() -> WordTokens:
    """One token per word."""
    return WordTokens()
