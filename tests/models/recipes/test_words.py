"""Words that two tokenizers of the same text have in common."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from embedge.models.recipes.packing import Packed
from embedge.models.recipes.words import Side, common_words

PIECES = ["<s>", "</s>", "<unk>", "▁", *"abcdef", "▁ab", "▁abc", "de", "def", "query", ":"]
NUMBER = {piece: i for i, piece in enumerate(PIECES)}
CHARACTERS = np.array([0 if piece.startswith("<") else len(piece) for piece in PIECES])


def side(*texts: list[str], front: list[str] | None = None) -> Side:
    before = ["<s>", *(front or [])]
    rows = [[NUMBER[p] for p in [*before, *text, "</s>"]] for text in texts]
    ids = np.array([i for row in rows for i in row], np.int64)
    lengths = np.array([len(row) for row in rows], np.int64)
    return Side(Packed(ids, lengths), len(before), CHARACTERS)


def strings(some: Side, tokens: np.ndarray, starts: np.ndarray) -> list[str]:
    pieces = [PIECES[i] for i in some.packed.ids[tokens]]
    ends = [*starts[1:], len(pieces)][: len(starts)]
    return ["".join(pieces[a:b]) for a, b in zip(starts, ends, strict=True)]


def words(student: Side, teacher: Side) -> tuple[list[str], list[str]]:
    own, full = common_words(student, teacher)
    return strings(student, own.tokens, own.starts), strings(teacher, full.tokens, full.starts)


def test_words_begin_and_end_where_both_tokenizers_cut() -> None:
    student = side(["▁", "a", "b", "c", "de", "f"], front=["query", ":"])
    teacher = side(["▁ab", "c", "def"])

    assert words(student, teacher) == (["▁ab", "c", "def"],) * 2


def test_a_text_that_one_tokenizer_cuts_short_ends_at_its_last_common_cut() -> None:
    student = side(["▁", "a", "b", "c", "d"], ["▁abc"])
    teacher = side(["▁abc", "def"], ["▁abc"])

    assert words(student, teacher) == (["▁abc", "▁abc"],) * 2


def test_a_text_with_an_unknown_piece_is_left_out() -> None:
    student = side(["▁abc", "<unk>"], ["▁ab", "c"])
    teacher = side(["▁abc", "def"], ["▁abc"])

    assert words(student, teacher) == (["▁abc"],) * 2


def cuts(text: str) -> st.SearchStrategy[list[str]]:
    """Any way to write the text in pieces."""
    return st.lists(st.booleans(), min_size=len(text) + 1, max_size=len(text) + 1).map(
        lambda merge: _merged(text, merge)
    )


def _merged(text: str, merge: list[bool]) -> list[str]:
    longer = sorted((p for p in PIECES if len(p) > 1 and p[0] != "<"), key=len, reverse=True)
    out, place = [], 0
    while place < len(text):
        found = next((p for p in longer if merge[place] and text.startswith(p, place)), text[place])
        out.append(found)
        place += len(found)
    return out


TEXTS = st.lists(st.text("▁abcdef", max_size=12), min_size=1, max_size=5)


@given(st.data(), TEXTS)
def test_both_sides_give_the_same_words_and_together_the_whole_text(
    data: st.DataObject, texts: list[str]
) -> None:
    student = side(*(data.draw(cuts(text)) for text in texts), front=["query", ":"])
    teacher = side(*(data.draw(cuts(text)) for text in texts))

    own, full = words(student, teacher)

    assert own == full
    assert "".join(own) == "".join(texts)
