import pytest

from embedge.models.errors import InvalidOption
from embedge.runtime.chunking import ChunkerSpec, chunk_text
from embedge.runtime.chunking.boundaries import find_boundaries
from embedge.runtime.chunking.characters import is_grapheme_edge
from embedge.runtime.chunking.outline import read_outline


def classes(text: str, kind: str = "text", pages: tuple[int, ...] = ()) -> dict[str, int]:
    """What follows each boundary, up to the next white space, with the class."""
    found = find_boundaries(text, kind, read_outline(text, kind), pages)
    pairs = zip(found.positions.tolist(), found.classes.tolist(), strict=True)
    return {text[position:].split()[0]: rank for position, rank in pairs}


def test_classes_of_prose():
    text = "One two. Three\nfour\n\nfive “six!” seven 3.14 eight"
    assert classes(text) == {
        "two.": 4, "Three": 3, "four": 2, "five": 1, "“six!”": 4, "seven": 3, "3.14": 4, "eight": 4,
    }  # fmt: skip


@pytest.mark.parametrize(
    "text", ["これは文。次の文", "「はい。」次の文", "वाक्य।अगला", "متن؟ بعدی", "མིང་།གཞན"]
)
def test_sentences_end_without_white_space_in_scripts_that_write_so(text):
    assert list(classes(text).values()) == [3]


def test_markdown_headings_are_sections_and_fences_hide_them():
    text = (
        "# A\n\ntext\n## B\n```\n# no\n\nheading\n```\n# C\nTitle\n=====\n\nD d\n---\n<h2>E</h2>\n"
    )
    found = classes(text, "markdown")
    assert found["##"] == 0
    assert found["heading"] == 2  # after a blank line, but inside the fence
    assert [(h.level, h.title) for h in read_outline(text, "markdown").headings] == [
        (1, "A"), (2, "B"), (1, "C"), (2, "D d"), (2, "E"),
    ]  # fmt: skip


def test_a_paragraph_line_above_dashes_is_a_heading_only_on_its_own():
    text = "---\ntitle: x\n---\n\none\ntwo\n---\n\n- item\n---\n\na | b\n--- | ---\n"
    assert read_outline(text, "markdown").headings == ()


@pytest.mark.parametrize(
    ("line", "title"),
    [("# C#", "C#"), ("## A ##", "A"), ("###", ""), ("#no", None), ("    # no", None)],
)
def test_atx_headings_follow_commonmark(line, title):
    titles = [heading.title for heading in read_outline(line, "markdown").headings]
    assert titles == ([] if title is None else [title])


def test_an_open_fence_lasts_to_the_end_and_needs_a_closing_one_as_long():
    text = "````\n```\n# no\n````\n# yes\n~~~\n# no\n"
    assert [h.title for h in read_outline(text, "markdown").headings] == ["yes"]


def test_rst_levels_follow_the_order_of_styles():
    text = "=====\nTop\n=====\n\ntext\n\nSub\n---\n\nSubsub\n~~~~~~\n\nSub two\n-------\n\nx\n"
    assert [(h.level, h.title) for h in read_outline(text, "rst").headings] == [
        (1, "Top"), (2, "Sub"), (3, "Subsub"), (2, "Sub two"),
    ]  # fmt: skip


def test_top_level_definitions_of_code_are_sections():
    text = "import a\n\ndef f():\n    x\n\n    y\n\n}\n\nclass B:\n"
    assert classes(text, "code") | {} == {
        "a": 4, "def": 0, "f():": 4, "x": 2, "y": 1, "}": 1, "class": 0, "B:": 4,
    }  # fmt: skip


def test_pages_are_sections():
    text = "one two\n three four\x0cfive"
    assert classes(text, pages=(0, 9))["three"] == 0
    assert classes(text)["five"] == 0


def test_indentation_stays_with_its_line(tokens):
    text = "a:\n" + "    indented line\n" * 200
    chunks = chunk_text(text, tokens, max_tokens=100, overlap=0, kind="code")
    assert all(chunk.text.startswith("    ") for chunk in chunks[1:])


@pytest.mark.parametrize(
    "cluster",
    [
        "e\u0301",
        "👩\u200d👧",
        "👍🏽",
        "🇩🇪",
        "\r\n",
        "กำ",
        "क्ष",
        "각",
        "\u1100\u1161\u11a8",
        "✈\ufe0f",
    ],
)
def test_no_cut_inside_what_a_reader_sees_as_one_character(cluster):
    assert [at for at in range(1, len(cluster)) if is_grapheme_edge(cluster, at)] == []
    assert is_grapheme_edge("x" + cluster, 1)


def test_flags_are_cut_between_pairs():
    text = "🇩🇪🇫🇷🇮🇹"
    assert [at for at in range(1, 6) if is_grapheme_edge(text, at)] == [2, 4]


def test_a_long_run_of_emoji_is_cut_between_them(tokens, joined):
    text = "👩\u200d👩\u200d👧" * 3000
    chunks = chunk_text(text, tokens, max_tokens=64)
    assert joined(chunks) == text
    assert all(chunk.text[0] == "👩" and chunk.text[-1] == "👧" for chunk in chunks)


def test_heading_is_the_path_at_the_first_own_word(tokens):
    body = "word " * 300
    text = f"# A\n\n{body}\n\n## B\n\n{body}\n\n# C\n\n{body}\n"
    chunks = chunk_text(text, tokens, max_tokens=200, overlap=20, kind="markdown")
    own = {chunk.heading for chunk in chunks}
    assert own == {"A", "A > B", "C"}
    first_of_c = next(chunk for chunk in chunks if chunk.heading == "C")
    assert first_of_c.text[first_of_c.overlap_chars :].startswith("# C")
    assert first_of_c.overlap_chars > 0


def test_page_is_that_of_the_first_own_word(tokens):
    pages = ["first " * 200, "second " * 200, "third " * 200]
    starts = (0, len(pages[0]), len(pages[0] + pages[1]))
    chunks = chunk_text("".join(pages), tokens, max_tokens=120, overlap=0, pages=starts)
    assert {chunk.page for chunk in chunks} == {1, 2, 3}
    for chunk in chunks:
        assert chunk.text.split()[0] == ("first", "second", "third")[(chunk.page or 0) - 1]


def test_white_space_only_has_no_chunks(tokens):
    assert chunk_text(" \n\t\n", tokens, max_tokens=100) == []
    assert chunk_text("", tokens, max_tokens=100) == []


def test_a_short_text_is_one_chunk(tokens):
    (chunk,) = chunk_text("\n\n# Hi\n\nthere\n", tokens, max_tokens=100, kind="markdown")
    assert (chunk.char_start, chunk.char_end, chunk.line_start, chunk.line_end) == (0, 14, 1, 5)
    assert (chunk.heading, chunk.page, chunk.n_tokens, chunk.overlap_chars) == ("Hi", None, 4, 0)


def test_all_wrong_options_are_named_at_once(tokens):
    with pytest.raises(InvalidOption, match=r"max_tokens is 3.*overlap is -1.*kind is 'x'"):
        chunk_text("a", tokens, max_tokens=3, overlap=-1, kind="x")


def test_spec_fingerprint_changes_with_every_option():
    spec = ChunkerSpec(500, 64, "ab")
    others = [ChunkerSpec(499, 64, "ab"), ChunkerSpec(500, 0, "ab"), ChunkerSpec(500, 64, "cd")]
    assert spec.canonical_json() == (
        '{"kind":"local-min/1","markup":"auto","max_tokens":500,"overlap":64,'
        '"tokenizer_sha256":"ab","window":128}'
    )
    assert spec.fingerprint.startswith("ck-")
    assert len({each.fingerprint for each in [spec, *others]}) == 4
