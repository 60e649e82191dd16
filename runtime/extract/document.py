"""What every format is turned into."""

from dataclasses import dataclass

from embedge.runtime.chunking import ChunkKind, Heading


@dataclass(frozen=True)
class Document:
    """The text of one file; offsets of its chunks count code points of `text`.

    Attributes:
        text: without byte-order mark and lone surrogates, otherwise as the file has it for
            text formats, and rewritten as paragraphs for html, csv, json and jsonl.
        media_type: such as `text/markdown`.
        kind: how the chunker should read it.
        encoding: Python name of the encoding that was found or given.
        extractor: name and version of the code that made the text; a new version may cut
            the same file elsewhere.
        title: from the file itself, or None.
        pages: position in `text` at which each page starts; empty without pages.
        headings: by position, where the file names them apart from its text (PDF bookmarks).
    """

    text: str
    media_type: str
    kind: ChunkKind
    encoding: str
    extractor: str
    title: str | None = None
    author: str | None = None
    subject: str | None = None
    keywords: str | None = None
    pages: tuple[int, ...] = ()
    headings: tuple[Heading, ...] = ()
