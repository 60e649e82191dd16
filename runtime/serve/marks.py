"""Where the words of a query stand in a passage, for highlighting."""

import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache

from embedge.runtime.index.grams import find_runs, pairs_of, without_runs

_MAX_TERMS = 32


def find_marks(text: str, query: str) -> list[tuple[int, int]]:
    """Return places to highlight, in code points, ascending and apart.

    Case, accents and width do not matter. A word is marked where a word begins with it; in
    scripts without spaces each pair of characters of the query is marked, wherever it stands.
    """
    folded, places = _fold(text)
    found: list[tuple[int, int]] = []
    for term, anywhere in _terms(query):
        at = folded.find(term)
        while at >= 0:
            if anywhere or at == 0 or not _is_of_word(folded[at - 1]):
                found.append((places[at], _whole_end(text, places[at + len(term) - 1] + 1)))
            at = folded.find(term, at + 1)
    return list(_merged(sorted(found)))


def _terms(query: str) -> Iterator[tuple[str, bool]]:
    """Yield each term once, and whether it may stand inside a word."""
    terms: dict[str, bool] = {}
    for run in find_runs(query):
        for pair in pairs_of(run) or [run]:
            terms[_fold(pair)[0]] = True
    for raw in without_runs(query).split():
        folded = _fold(raw)[0]
        words = "".join(each if _is_of_word(each) else " " for each in folded).split()
        for word in words or [folded]:
            terms.setdefault(word, False)
    yield from ((term, terms[term]) for term in list(terms)[:_MAX_TERMS] if term)


def _is_of_word(character: str) -> bool:
    """Vowel signs of Indic scripts are marks, and belong to the word."""
    return character.isalnum() or unicodedata.category(character).startswith("M")


def _whole_end(text: str, end: int) -> int:
    """Return the end behind the marks that the last character carries."""
    while end < len(text) and unicodedata.category(text[end]).startswith("M"):
        end += 1
    return end


def _fold(text: str) -> tuple[str, Sequence[int]]:
    """Return the folded text, and for each of its characters the place it comes from."""
    if text.isascii():
        return text.lower(), range(len(text))
    parts: list[str] = []
    places: list[int] = []
    for place, character in enumerate(text):
        folded = _fold_character(character)
        parts.append(folded)
        places += [place] * len(folded)
    return "".join(parts), places


@lru_cache(maxsize=4096)
def _fold_character(character: str) -> str:
    apart = unicodedata.normalize("NFKD", character.casefold())
    return "".join(each for each in apart if unicodedata.category(each) != "Mn")


def _merged(places: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    current: tuple[int, int] | None = None
    for start, end in places:
        if current is None:
            current = (start, end)
        elif start <= current[1]:
            current = (current[0], max(current[1], end))
        else:
            yield current
            current = (start, end)
    if current is not None:
        yield current
