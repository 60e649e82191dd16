"""PDF: the text layer, page by page, read by PDFium in a process of its own."""

import re
from importlib.util import find_spec

from embedge.models.errors import InputError
from embedge.runtime.extract.decoding import without_lone_surrogates
from embedge.runtime.extract.document import Document
from embedge.runtime.extract.pdf_headings import Bookmark, place_bookmarks
from embedge.runtime.extract.pdf_lines import join_lines
from embedge.runtime.extract.pdf_process import PdfAnswer, pdf_process
from embedge.runtime.extract.registry import Source

_BREAK = "\n\n"

# PDFium marks a hyphen that only the line break needed; both marks occur.
_SOFT_BREAK = re.compile("[\x02\ufffe\u00ad](?:\r?\n)?[ \t]*")
_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f\ufffe\uffff]")


def read_pdf(source: Source) -> Document:
    """Read the text layer; `pages` says where each page starts, `headings` what bookmarks say.

    Raises:
        InputError: `missing_extra` without pypdfium2, `format` for damaged and encrypted files,
            `limit` for too many pages, too much time or memory, `no_text` for pages of pictures.
        Cancelled: somebody ended the reading process.
    """
    if find_spec("pypdfium2") is None:
        raise InputError(
            f"{source.path} is a PDF, and reading it needs pypdfium2, which is not installed. "
            "Run: pip install 'embedge[docs]'",
            "missing_extra",
        )
    answer = pdf_process().read(source.data, source.path)
    texts = [_clean(page) for page in answer.pages]
    if not any(texts):
        raise InputError(
            f"{source.path} has {len(texts):,} pages and no text layer, as scans have; "
            "recognise its text first, for example with OCRmyPDF",
            "no_text",
        )
    return _document(answer, texts)


def _document(answer: PdfAnswer, texts: list[str]) -> Document:
    bookmarks = [
        Bookmark(each.depth, title, each.page)
        for each in answer.bookmarks
        if (title := _CONTROL.sub("", without_lone_surrogates(each.title)).strip())
    ]
    starts: list[int] = []
    position = 0
    for text in texts:
        starts.append(position)
        position += len(text) + len(_BREAK)
    return Document(
        text=_BREAK.join(texts),
        media_type="application/pdf",
        kind="text",
        encoding="utf-8",
        extractor="pdf/2",
        title=answer.property("Title"),
        author=answer.property("Author"),
        subject=answer.property("Subject"),
        keywords=answer.property("Keywords"),
        pages=tuple(starts),
        headings=place_bookmarks(bookmarks, texts, starts),
    )


def _clean(page: str) -> str:
    text = _SOFT_BREAK.sub("", page).replace("\r\n", "\n").replace("\r", "\n")
    return join_lines(without_lone_surrogates(_CONTROL.sub("", text))).strip()
