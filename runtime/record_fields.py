"""The fields of a record that say where its text lies in a file."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embedge.runtime.chunking import Chunk
    from embedge.runtime.extract import Document


def passage_fields(name: str, number: int, count: int, chunk: "Chunk") -> dict[str, object]:
    """Return the fields of passage `number` of `count` of the input `name`."""
    return {
        "id": f"{name}#{number}",
        "chunk": number,
        "n_chunks": count,
        "char_start": chunk.char_start,
        "char_end": chunk.char_end,
        "line_start": chunk.line_start,
        "line_end": chunk.line_end,
        "page": chunk.page,
        "heading": chunk.heading,
    }


def whole_fields(path: str, document: "Document") -> dict[str, object]:
    """Return the fields of a file that is one text."""
    return {
        "id": f"{path}#0",
        "path": path,
        "chunk": 0,
        "n_chunks": 1,
        "char_start": 0,
        "char_end": len(document.text),
        "line_start": 1,
        "line_end": len(document.text.splitlines()),
        "page": 1 if document.pages else None,
        "heading": None,
    }
