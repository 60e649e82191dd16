"""Bookmarks of a PDF become the headings of its passages."""

import pytest

from embedge.runtime.chunking import Heading, chunk_text
from embedge.runtime.extract import extract
from embedge.runtime.extract.pdf_headings import Bookmark, place_bookmarks

pytest.importorskip("pypdfium2", reason="needs the extra docs")


def placed(bookmarks, *pages):
    """Level, title and what stands at the place of each heading."""
    text, starts = "", []
    for page in pages:
        starts.append(len(text))
        text += page + "\n\n"
    headings = place_bookmarks([Bookmark(*each) for each in bookmarks], pages, starts)
    return [(each.level, each.title, text[each.position :][:5]) for each in headings]


def test_bookmarks_of_a_file_are_headings_of_its_passages(documents, tokens_by_word):
    filler = ["word " * 20 + "end."] * 8
    data = documents.pdf(
        [["1. Beginning", *filler, "The middle", *filler], ["End", *filler]],
        bookmarks=[(0, "Part", None), (1, "Beginning", 0), (2, "The middle", 0), (0, "End", 1)],
    )
    document = extract(data, path="a.pdf")
    assert [(each.level, each.title) for each in document.headings] == [
        (1, "Part"), (2, "Beginning"), (3, "The middle"), (1, "End")
    ]  # fmt: skip
    middle = document.text.index("The middle")
    assert [each.position for each in document.headings] == [0, 0, middle, document.pages[1]]
    chunks = chunk_text(
        document.text, tokens_by_word, max_tokens=200, overlap=0, headings=document.headings
    )
    assert [chunk.heading for chunk in chunks] == [
        "Part > Beginning", "Part > Beginning > The middle", "End"
    ]  # fmt: skip
    assert chunks[1].text.startswith("The middle")


def test_a_file_without_bookmarks_has_no_headings(documents):
    assert extract(documents.pdf([["x"]]), path="a.pdf").headings == ()


@pytest.mark.parametrize(
    ("title", "printed", "first"),
    [
        ("Results", "3.1 Results", "3.1 R"),
        ("3.1 Results", "RESULTS", "RESUL"),
        ("A long heading of two lines", "A long heading\nof two lines", "A lon"),
        ("Conﬁguration", "Configuration:", "Confi"),
        ("1984", "1984", "1984\n"),
        ("再生可能エネルギー", "第1章\n再生可能エネルギー", "再生可能エ"),
    ],
)
def test_a_bookmark_stands_where_its_words_are_printed(title, printed, first):
    page = f"text before\n{printed}\ntext after"
    assert placed([(0, title, 1)], "other", page) == [(1, title, first)]


def test_a_bookmark_whose_words_are_nowhere_stands_at_the_start_of_its_page():
    assert placed([(0, "Nowhere", 1)], "one", "two words") == [(1, "Nowhere", "two w")]


def test_equal_titles_on_a_page_stand_one_after_the_other():
    page = "Notes\nfirst\nNotes\nsecond"
    places = [found for _, _, found in placed([(0, "Notes", 0), (0, "Notes", 0)], page)]
    assert places == ["Notes", "Notes"]
    headings = place_bookmarks([Bookmark(0, "Notes", 0)] * 2, [page], [0])
    assert [each.position for each in headings] == [0, 12]


def test_headings_are_in_the_order_of_the_text_whatever_the_outline_says():
    found = placed([(0, "Last", 1), (0, "First", 0)], "First", "Last")
    assert [title for _, title, _ in found] == ["First", "Last"]


@pytest.mark.parametrize("page", [None, -1, 7])
def test_bookmarks_that_lead_nowhere_are_left_out(page):
    assert placed([(0, "Away", page), (0, "Here", 0)], "Here") == [(1, "Here", "Here\n")]


def test_titles_are_clean_and_short(documents):
    titles = ["  Two\n lines\x00 ", "\ud800broken", "", "long " * 300]
    data = documents.pdf([["x"]], bookmarks=[(0, title, 0) for title in titles])
    found = [each.title for each in extract(data, path="a.pdf").headings]
    assert found[0] == "Two lines"
    assert len(found[-1]) == 200
    assert "" not in found


@pytest.mark.parametrize(
    "links",
    [[(1, "Next", 0)], [(1, "First", 0)], [(0, "Next", 0)], [(2, "First", 2)]],
    ids=["back", "into its parent", "itself", "into itself"],
)
def test_an_outline_that_runs_in_a_circle_ends(documents, links):
    bookmarks = [(0, "a", 0), (0, "b", 0), (1, "c", 0)]
    data = documents.pdf([["x"]], bookmarks=bookmarks, links=links)
    document = extract(data, path="a.pdf")
    assert document.text == "x"
    assert {each.title for each in document.headings} <= {"a", "b", "c"}
    assert len(document.headings) <= 3


def test_depth_and_number_of_bookmarks_are_limited(documents):
    deep = documents.pdf([["x"]], bookmarks=[(depth, f"d{depth}", 0) for depth in range(200)])
    assert max(each.level for each in extract(deep, path="a.pdf").headings) == 16
    wide = documents.pdf([["x"]], bookmarks=[(0, f"n{number}", 0) for number in range(10_050)])
    assert len(extract(wide, path="a.pdf").headings) == 10_000


def test_given_headings_replace_those_of_the_text(tokens_by_word):
    text = "# Of the text\n\nwords"
    (chunk,) = chunk_text(
        text, tokens_by_word, max_tokens=50, kind="markdown", headings=[Heading(0, 1, "Given")]
    )
    assert chunk.heading == "Given"
