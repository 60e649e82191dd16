import itertools

import pytest

from embedge.runtime.serve.marks import find_marks


def marked(text: str, query: str) -> list[str]:
    return [text[start:end] for start, end in find_marks(text, query)]


@pytest.mark.parametrize(
    ("text", "query", "expected"),
    [
        ("Renew the lease; leases end.", "lease", ["lease", "lease"]),
        ("RENEW it", "renew the", ["RENEW"]),
        ("release the lease", "lease", ["lease"]),
        ("Café, CAFE\u0301 and cafe", "cafe", ["Café", "CAFE\u0301", "cafe"]),
        ("Straße und STRASSE", "strasse", ["Straße", "STRASSE"]),
        ("getUser(id)", "getUser", ["getUser"]),
        ("a, b", "?!", []),
        ("what? no", "what?", ["what"]),
        ("東京都に住む", "東京", ["東京"]),
        ("東京都に住む", "京", ["京"]),
        ("한국어 문장", "한국", ["한국"]),
        ("ภาษาไทยง่าย", "ไทย", ["ไทย"]),
        ("हिन्दी में पाठ", "हिन्दी", ["हिन्दी"]),
        ("\uff21\uff22 wide", "ab", ["\uff21\uff22"]),
        ("", "x", []),
        ("x", "", []),
    ],
)
def test_words_of_the_query_are_marked(text, query, expected):
    assert marked(text, query) == expected


def test_marks_are_apart_and_ascending():
    assert find_marks("東京都", "東京都") == [(0, 3)]
    marks = find_marks("b a b ab", "a b ab")
    assert marks == sorted(marks)
    assert all(one[1] <= two[0] for one, two in itertools.pairwise(marks))


def test_places_count_code_points_before_folding():
    text = "ﬁne \U0001f600 ﬁnd"  # one character that folds to two letters
    assert find_marks(text, "find") == [(6, 9)]
