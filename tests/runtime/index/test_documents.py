"""PDF, DOCX and EPUB in the index."""

import pytest

from embedge import Index
from embedge.runtime.extract import pdf

pytest.importorskip("pypdfium2", reason="needs the extra docs")

CHAPTER = "<html><body><h1>River</h1><p>The boat drifts at night.</p></body></html>"


@pytest.fixture
def shelf(tmp_path, documents):
    folder = tmp_path / "shelf"
    folder.mkdir()
    filler = ["word " * 12] * 30
    pages = [filler, ["The lease ends in May.", *filler], filler]
    info = {"Title": "Contract", "Author": "Ada"}
    (folder / "a.pdf").write_bytes(documents.pdf(pages, info=info))
    (folder / "b.docx").write_bytes(
        documents.docx(documents.paragraph("Invitation", "H1") + documents.paragraph("A party."))
    )
    (folder / "c.epub").write_bytes(documents.epub({"1.xhtml": CHAPTER}))
    (folder / "scan.pdf").write_bytes(documents.pdf([[]]))
    (folder / "torn.epub").write_bytes(documents.epub({"1.xhtml": CHAPTER})[:200])
    return folder


def test_a_hit_names_the_page_or_the_heading(index: Index, shelf):
    index.add(shelf)
    (lease, *_) = index.search("lease ends", mode="text")
    assert (lease.path.rpartition("/")[2], lease.page) == ("a.pdf", 2)
    (party, *_) = index.search("party", mode="text")
    assert (party.page, party.heading) == (None, "Invitation")
    (boat, *_) = index.search("boat", mode="text")
    assert boat.heading == "River"


def test_properties_are_kept_and_every_bad_file_has_its_reason(index: Index, shelf, query):
    index.add(shelf)
    rows = query("SELECT rel_path, state, reason, title, author, extractor FROM files")
    found = {row[0]: row[1:] for row in rows}
    assert found["a.pdf"] == ("read", None, "Contract", "Ada", "pdf/2")
    assert found["scan.pdf"][:2] == ("skipped", "no_text")
    assert found["torn.epub"][:2] == ("error", "format")


def test_documents_are_read_once_the_extra_is_there(index: Index, shelf, monkeypatch):
    from embedge.runtime.index import readers

    with monkeypatch.context() as without:
        without.setattr(pdf, "find_spec", lambda _name: None)
        without.setattr(readers, "find_spec", lambda _name: None)
        index.add(shelf)
        assert index.status().collections[0].reasons["missing_extra"] == 2
        assert index.search("lease ends", mode="text") == []
    report = index.update()
    assert report.chunks_embedded > 0
    assert index.search("lease ends", mode="text")[0].page == 2
    assert index.update().chunks_embedded == 0
