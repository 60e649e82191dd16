import zipfile
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedge.models.errors import InputError
from embedge.runtime.chunking import chunk_text
from embedge.runtime.extract import archive, extract


def text_of(data: bytes) -> str:
    return extract(data, path="a.docx").text


def failure(data: bytes) -> InputError:
    with pytest.raises(InputError, match=r"a\.docx") as caught:
        extract(data, path="a.docx")
    return caught.value


def test_headings_paragraphs_and_marks(documents):
    body = (
        documents.paragraph("Top", "H1")
        + documents.paragraph("one", inside="<w:tab/><w:t>two</w:t><w:br/><w:t>three </w:t>")
        + documents.paragraph("Below", "Own")
        + documents.paragraph("   ")
        + documents.paragraph("& <end>")
    )
    document = extract(documents.docx(body), path="a.docx")
    assert document.text == "# Top\n\none\ttwo\nthree\n\n## Below\n\n& <end>"
    assert (document.kind, document.title) == ("markdown", "Top")


def test_headings_reach_the_chunks(documents, tokens_by_word):
    words = documents.paragraph("word " * 300)
    body = documents.paragraph("A", "H1") + words + documents.paragraph("B", "H2") + words
    document = extract(documents.docx(body), path="a.docx")
    chunks = chunk_text(document.text, tokens_by_word, max_tokens=200, kind=document.kind)
    assert {chunk.heading for chunk in chunks} == {"A", "A > B"}


def test_an_outline_level_makes_a_heading_and_takes_one_away(documents):
    def with_level(level: int, style: str = "") -> str:
        return (
            f'<w:p><w:pPr><w:pStyle w:val="{style}"/><w:outlineLvl w:val="{level}"/></w:pPr>'
            "<w:r><w:t>x</w:t></w:r></w:p>"
        )

    assert text_of(documents.docx(with_level(1))) == "## x"
    assert text_of(documents.docx(with_level(9, "H1"))) == "x"


def test_properties_become_title_author_subject_and_keywords(documents):
    names = {"dc:title": "T", "dc:creator": "Ada", "dc:subject": "s", "cp:keywords": "k"}
    document = extract(documents.docx(documents.paragraph("x"), properties=names), path="a.docx")
    found = (document.title, document.author, document.subject, document.keywords)
    assert found == ("T", "Ada", "s", "k")


def test_lists_are_tight_and_tables_have_one_line_per_row(documents):
    def item(text: str, depth: int) -> str:
        number = f'<w:numPr><w:ilvl w:val="{depth}"/><w:numId w:val="1"/></w:numPr>'
        return f"<w:p><w:pPr>{number}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"

    cells = "".join(f"<w:tc>{documents.paragraph(text)}</w:tc>" for text in ("a", "b"))
    inner = f"<w:tbl><w:tr><w:tc>{documents.paragraph('in')}</w:tc></w:tr></w:tbl>"
    table = f"<w:tbl><w:tr>{cells}</w:tr><w:tr><w:tc>{inner}</w:tc></w:tr></w:tbl>"
    text = text_of(documents.docx(item("one", 0) + item("two", 1) + table))
    assert text == "- one\n  - two\n\na | b\nin"


def test_a_style_can_make_a_list_and_a_ring_of_styles_ends(documents):
    items = documents.paragraph("one", "Bullets") + documents.paragraph("two", "Bullets")
    assert text_of(documents.docx(items)) == "- one\n- two"
    ring = "".join(
        f'<w:style w:styleId="{one}"><w:basedOn w:val="{other}"/></w:style>'
        for one, other in (("A", "B"), ("B", "A"))
    )
    styles = {"word/styles.xml": f"<w:styles {documents.W}>{ring}</w:styles>"}
    assert text_of(documents.docx(documents.paragraph("x", "A"), members=styles)) == "x"


def test_what_the_reader_does_not_see_is_left_out_and_notes_come_last(documents):
    hidden = (
        "<w:p><w:del><w:r><w:delText>deleted</w:delText></w:r></w:del>"
        "<w:moveFrom><w:r><w:t>moved</w:t></w:r></w:moveFrom>"
        "<w:ins><w:r><w:t>inserted</w:t></w:r></w:ins>"
        "<w:r><w:instrText>PAGE</w:instrText></w:r></w:p>"
    )
    notes = f"<w:footnotes {documents.W}>{documents.paragraph('a note')}</w:footnotes>"
    data = documents.docx(hidden, members={"word/footnotes.xml": notes})
    assert text_of(data) == "inserted\n\na note"


def test_a_text_box_comes_once(documents):
    box = f"<w:txbxContent>{documents.paragraph('boxed')}</w:txbxContent>"
    drawing = (
        '<mc:AlternateContent xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/'
        f'2006"><mc:Choice>{box}</mc:Choice><mc:Fallback>{box}</mc:Fallback></mc:AlternateContent>'
    )
    assert text_of(documents.docx(documents.paragraph("around", inside=drawing))) == (
        "boxed\n\naround"
    )


@pytest.mark.parametrize("text", ["שלום עולם", "مرحبا", "日本語", "हिन्दी", "ภาษาไทย", "😀 Ж"])
def test_scripts_are_kept(documents, text):
    assert text_of(documents.docx(documents.paragraph(text))) == text


def test_the_text_may_lie_anywhere(documents):
    data = documents.docx(
        "",
        members={
            "_rels/.rels": documents.relations(officeDocument="/other/text.xml"),
            "other/text.xml": f"<w:document {documents.W}>{documents.paragraph('here')}"
            "</w:document>",
        },
    )
    assert text_of(data) == "here"


def test_nothing_but_pictures_is_no_text(documents):
    assert failure(documents.docx("<w:p><w:r/></w:p>")).code == "no_text"


@pytest.mark.parametrize(
    "body",
    ["<w:p>", "</w:p>", "&undefined;", "<w:p a='1' a='2'/>", "\x00"],
)
def test_broken_xml_is_a_format_error(documents, body):
    assert failure(documents.docx(body)).code == "format"


def test_a_truncated_or_strange_archive_is_a_format_error(documents):
    whole = documents.docx(documents.paragraph("x" * 2000))
    for share in range(1, 10):
        assert failure(whole[: len(whole) * share // 10]).code == "format"
    assert failure(b"no zip").code == "format"
    assert failure(documents.archive({"other.xml": "<a/>"})).code == "format"


def test_an_encrypted_document_says_so(documents):
    error = failure(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600))
    assert (error.code, "encrypted" in str(error)) == ("format", True)
    marked = bytearray(documents.docx(documents.paragraph("x")))
    for start in (marked.index(b"PK\x03\x04"), marked.index(b"PK\x01\x02")):
        marked[start + (6 if marked[start + 2] == 3 else 8)] |= 1
    assert "encrypted" in str(failure(bytes(marked)))


def test_a_zip_bomb_is_stopped_at_the_ratio(documents):
    bomb = documents.docx(documents.paragraph("a" * (60 << 20)))
    assert len(bomb) < 200_000
    error = failure(bomb)
    assert error.code == "limit"
    assert "100 times" in str(error)


def test_unpacked_bytes_are_counted_whatever_the_archive_says(documents, monkeypatch):
    monkeypatch.setattr(archive, "MAX_UNPACKED", 1000)
    assert failure(documents.docx(documents.paragraph("x" * 2000))).code == "limit"


def test_members_have_a_limit(documents):
    members = {f"m{number}": b"x" for number in range(archive.MAX_MEMBERS)}
    error = failure(documents.docx(documents.paragraph("x"), members=members))
    assert error.code == "limit"
    assert "10,000" in str(error)


def test_members_that_share_bytes_are_refused(documents):
    buffer = BytesIO(documents.docx(documents.paragraph("x")))
    with zipfile.ZipFile(buffer, "a") as zipped:
        offset = zipped.getinfo("word/document.xml").header_offset
        zipped.getinfo("word/styles.xml").header_offset = offset
        zipped.writestr("more", b"")
    assert failure(buffer.getvalue()).code == "format"


LAUGHS = "".join(f'<!ENTITY l{number} "{f"&l{number - 1};" * 10}">' for number in range(1, 10))


def test_an_xml_bomb_is_refused_before_it_grows(documents):
    bomb = (
        f'<!DOCTYPE d [<!ENTITY l0 "lol">{LAUGHS}]><w:document {documents.W}><w:p><w:r><w:t>&l9;'
        "</w:t></w:r></w:p></w:document>"
    )
    error = failure(documents.docx("", members={"word/document.xml": bomb}))
    assert (error.code, "entities" in str(error)) == ("limit", True)


def test_no_file_outside_is_ever_opened(documents, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    entity = f'<!DOCTYPE d [<!ENTITY x SYSTEM "{secret.as_uri()}">]>'
    document = f"{entity}<w:document {documents.W}>{documents.paragraph('x')}</w:document>"
    assert failure(documents.docx("", members={"word/document.xml": document})).code == "limit"
    outside = documents.relations(officeDocument="../../../etc/passwd")
    assert failure(documents.docx("", members={"_rels/.rels": outside})).code == "no_text"


def test_depth_has_a_limit(documents):
    assert failure(documents.docx("<w:p>" * 300 + "</w:p>" * 300)).code == "limit"


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_any_damage_gives_a_text_or_a_known_code(documents, data):
    whole = documents.docx(documents.paragraph("some text in it"))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole)))
        cut = data.draw(st.integers(0, 40))  # put bytes in, take bytes out, or both
        whole = whole[:at] + data.draw(st.binary(max_size=8)) + whole[at + cut :]
    assert outcome(whole) in ("text", "format", "limit", "no_text", "empty")


def outcome(data: bytes) -> str:
    try:
        return "text" if text_of(data) else "blank"
    except InputError as error:
        return error.code
