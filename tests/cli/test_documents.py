"""`embed files` and `embed chunk` on documents of every kind."""

import pytest

pytest.importorskip("pypdfium2", reason="needs the extra docs")

PAGE = "<html><body><h1>Chapter</h1><p>text of a book</p></body></html>"


@pytest.fixture
def folder(documents, tmp_path):
    """One good document of each kind, a scan, a damaged one, and what Word leaves beside."""
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.pdf").write_bytes(documents.pdf([["first page"], ["second page"]]))
    heading = documents.paragraph("Heading", "H1")
    (docs / "b.docx").write_bytes(documents.docx(heading + documents.paragraph("a letter")))
    (docs / "c.epub").write_bytes(documents.epub({"c.xhtml": PAGE}))
    (docs / "d.md").write_text("# Note\n\ntext\n")
    (docs / "scan.pdf").write_bytes(documents.pdf([[]]))
    (docs / "torn.docx").write_bytes(documents.docx(heading)[:300])
    (docs / "~$b.docx").write_bytes(b"\x03me" + bytes(159))
    return docs


def test_documents_become_passages_and_bad_ones_say_why(embed, folder):
    done = embed("chunk", "docs")
    assert done.code == 3
    texts = {one["path"]: one["text"] for one in done.records if "error" not in one}
    assert texts == {
        "docs/a.pdf": "first page\n\nsecond page",
        "docs/b.docx": "# Heading\n\na letter",
        "docs/c.epub": "# Chapter\n\ntext of a book",
        "docs/d.md": "# Note\n\ntext\n",
    }
    codes = {one["path"]: one["error"]["code"] for one in done.records if "error" in one}
    assert codes == {"docs/scan.pdf": "no_text", "docs/torn.docx": "format"}


def test_passages_carry_page_and_heading(embed, folder):
    records = embed("chunk", "docs", "--include", "*.pdf", "--include", "*.docx").records
    found = {one["path"]: (one["page"], one["heading"]) for one in records if "error" not in one}
    assert found == {"docs/a.pdf": (1, None), "docs/b.docx": (None, "Heading")}


def test_documents_are_embedded_and_a_page_is_in_the_record(embed, folder):
    done = embed("files", "docs/a.pdf", "docs/b.docx", "docs/c.epub")
    assert (done.code, done.stderr) == (0, "")
    assert [one["path"] for one in done.records] == ["docs/a.pdf", "docs/b.docx", "docs/c.epub"]
    assert [one["page"] for one in done.records] == [1, None, None]


def test_a_pdf_comes_through_a_pipe(embed, documents):
    done = embed("chunk", "-", stdin=documents.pdf([["piped"]]))
    assert [one["text"] for one in done.records] == ["piped"]
