"""A line of a passage around the words that were looked for."""

import re
from collections.abc import Sequence

LENGTH = 200
"""Characters."""

_WHITE = re.compile(r"\s+")


def make_snippet(text: str, terms: Sequence[str], overlap_chars: int = 0) -> str:
    """Return at most 200 characters of a passage, white space collapsed.

    The place with the most different terms near each other; without any, the start of what the
    passage does not share with the one before.
    """
    flat = _WHITE.sub(" ", text).strip()
    if len(flat) <= LENGTH:
        return flat
    start = _best_start(flat, terms)
    if start is None:
        start = len(_WHITE.sub(" ", text[:overlap_chars]).lstrip())
        start = start if len(flat) - start > LENGTH // 2 else 0
    start = max(0, min(start, len(flat) - LENGTH))
    if start and flat[start - 1] != " ":  # at the start of a word, if one is near
        space = flat.find(" ", start, start + 20)
        start = space + 1 if space >= 0 else start
    end = min(len(flat), start + LENGTH)
    if end < len(flat):
        space = flat.rfind(" ", end - 20, end)
        end = space if space > start else end
    return ("…" if start else "") + flat[start:end] + ("…" if end < len(flat) else "")


def _best_start(flat: str, terms: Sequence[str]) -> int | None:
    folded = flat.casefold()
    if len(folded) != len(flat):  # folding changed lengths (ß): positions would be off
        folded = flat.lower() if len(flat.lower()) == len(flat) else flat
    places: list[tuple[int, int]] = []
    for number, term in enumerate(terms):
        wanted = term.casefold()
        place = folded.find(wanted) if wanted else -1
        while place >= 0 and len(places) < 2_000:
            places.append((place, number))
            place = folded.find(wanted, place + 1)
    if not places:
        return None
    places.sort()
    best, best_start = 0, places[0][0]
    for place, _ in places:
        inside = {number for at, number in places if place <= at < place + LENGTH - 40}
        if len(inside) > best:
            best, best_start = len(inside), place
        if best == len(terms):
            break
    return max(0, best_start - 30)
