"""What an assistant may do with the index: search, read a passage, ask for the state, embed.

Knows nothing of the protocol; `mcp_server.py` speaks it. Nothing here changes the index or opens a
file that the index does not know.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from embedge.models.errors import InputError, InvalidOption
from embedge.runtime.index import Index
from embedge.runtime.index.reading import shown_path
from embedge.runtime.serve.indexed_files import find_indexed_file
from embedge.runtime.serve.own_shapes import SEARCH_MODES, checked_mode

if TYPE_CHECKING:
    from embedge.runtime.embedder import Embedder
    from embedge.runtime.index import FileEntry

_MOST_NEIGHBOURS = 20
_MOST_HITS = 100
_MOST_TEXTS = 256

_PASSAGES = """
SELECT c.seq, c.text, c.overlap_chars, c.line_start, c.line_end, c.page, c.heading, c.char_start
FROM chunks c
JOIN collections k ON k.chunker_id = c.chunker_id
JOIN collection_files m ON m.collection_id = k.id AND m.file_id = c.file_id
WHERE c.file_id = ? AND k.name = ? AND c.seq BETWEEN ? AND ?
ORDER BY c.seq
"""


@dataclass(frozen=True)
class ToolForm:
    """A tool as clients see it; `properties` is JSON Schema."""

    name: str
    title: str
    description: str
    properties: Mapping[str, Any]
    required: tuple[str, ...] = ()

    @property
    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the arguments."""
        return {
            "type": "object",
            "properties": dict(self.properties),
            "required": list(self.required),
            "additionalProperties": False,
        }


TOOLS = (
    ToolForm(
        "search",
        "Search the indexed folders",
        "Find passages of the user's own documents by meaning and by words, in any language. "
        "Each hit has path, chunk, line numbers and text; read around it with get_passage.",
        {
            "query": {"type": "string", "minLength": 1, "description": "Words or a question."},
            "limit": {"type": "integer", "minimum": 1, "maximum": _MOST_HITS, "default": 10},
            "mode": {"enum": list(SEARCH_MODES), "default": "hybrid"},
            "collections": {"type": "array", "items": {"type": "string"}},
            "path": {"type": "string", "description": "Only files that match, as *.md"},
            "min_score": {"type": "number", "description": "Least cosine of a hit."},
        },
        ("query",),
    ),
    ToolForm(
        "get_passage",
        "Read a passage and its neighbours",
        "Return one passage of an indexed file by path and chunk number, as a hit names them, "
        "with up to 20 passages before and after it.",
        {
            "path": {"type": "string"},
            "chunk": {"type": "integer", "minimum": 0},
            "context": {
                "type": "integer",
                "minimum": 0,
                "maximum": _MOST_NEIGHBOURS,
                "default": 0,
                "description": "Passages before and after.",
            },
        },
        ("path", "chunk"),
    ),
    ToolForm(
        "index_status",
        "State of the index",
        "Say which folders are indexed, how many files and passages there are, and what failed.",
        {"errors": {"type": "boolean", "default": False, "description": "List failed files."}},
    ),
    ToolForm(
        "embed",
        "Embed texts",
        "Return one vector of unit length per text. Documents and queries need their own task.",
        {
            "texts": {
                "type": "array",
                "items": {"type": "string"},
                "minItems": 1,
                "maxItems": _MOST_TEXTS,
            },
            "task": {
                "enum": ["document", "query", "classification", "clustering", "none"],
                "default": "document",
            },
            "dim": {"type": "integer", "minimum": 1, "description": "Length of the vectors."},
        },
        ("texts",),
    ),
)


class McpTools:
    """The tools and resources of one index; safe to call from several threads."""

    def __init__(self, open_index: Callable[[], Index], open_embedder: "Callable[[], Embedder]"):
        """Take how to open index and model; each is opened when it is first needed."""
        self._open_index, self._open_embedder = open_index, open_embedder
        self._index: Index | None = None
        self._embedder: Embedder | None = None
        self._lock = threading.Lock()
        self._calls: Mapping[str, Callable[..., dict[str, Any]]] = {
            "search": self._search,
            "get_passage": self._get_passage,
            "index_status": self._index_status,
            "embed": self._embed,
        }

    def close(self) -> None:
        """Close what was opened."""
        for opened in (self._index, self._embedder):
            if opened is not None:
                opened.close()

    def call(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Call a tool whose arguments fit its schema.

        Raises:
            InvalidOption: there is no such tool, or a value that cannot work.
            EmbedgeError: the tool failed.
        """
        if name not in self._calls:
            raise InvalidOption(f"tool {name!r} is unknown; choose one of {', '.join(self._calls)}")
        return self._calls[name](**arguments)

    def files(self) -> "list[FileEntry]":
        """Return the indexed files that were read and are there."""
        seen: dict[str, FileEntry] = {}
        for entry in self.index.ls():
            if entry.state == "read" and entry.available:
                seen.setdefault(entry.path, entry)
        return list(seen.values())

    def read(self, uri: str) -> tuple[str, str]:
        """Return the text of an indexed file, and its media type.

        Raises:
            InputError: `not_found`: no indexed file has that address; or it cannot be read.
        """
        from embedge.runtime.extract import extract

        path = path_of(uri)
        location = None if path is None else find_indexed_file(self.index.path, path)
        if location is None or path is None:
            raise InputError(f"{uri} is no file of the index; list the resources", "not_found")
        document = extract(location, path=path)
        is_text = document.media_type.startswith("text/")
        return document.text, document.media_type if is_text else "text/plain"

    @property
    def index(self) -> Index:
        """The index, opened now if it was not.

        Raises:
            EmbedgeError: there is none, or it cannot be read.
        """
        with self._lock:
            if self._index is None:
                self._index = self._open_index()
            return self._index

    def _search(
        self,
        query: str,
        limit: int = 10,
        mode: str = "hybrid",
        collections: Sequence[str] | None = None,
        path: str | None = None,
        min_score: float | None = None,
    ) -> dict[str, Any]:
        hits = self.index.search(
            query,
            limit=limit,
            mode=checked_mode(mode),
            collections=collections or None,
            path=path,
            min_score=min_score,
        )
        return {"hits": [hit.as_dict() for hit in hits]}

    def _get_passage(self, path: str, chunk: int, context: int = 0) -> dict[str, Any]:
        first, last = max(0, chunk - context), chunk + context
        names = self.index.collections()
        with self.index.reading() as connection:
            for file_id, name in product(_file_ids(connection, path), names):
                rows = connection.execute(_PASSAGES, (file_id, name, first, last)).fetchall()
                if any(row[0] == chunk for row in rows):
                    return {"path": path, "collection": name, "passages": _passages(rows)}
        raise InvalidOption(
            f"the index holds no passage {chunk} of {path}; take path and chunk from a hit"
        )

    def _index_status(self, errors: bool = False) -> dict[str, Any]:
        return self.index.status(errors=errors).as_dict()

    def _embed(
        self, texts: Sequence[str], task: str = "document", dim: int | None = None
    ) -> dict[str, Any]:
        with self._lock:
            if self._embedder is None:
                self._embedder = self._open_embedder()
        result = self._embedder.encode(texts, task=task, dim=dim, return_info=True)
        return {
            "embeddings": result.vectors.tolist(),
            "dim": result.vectors.shape[1],
            "space": result.space.fingerprint,
            "items": [
                {"n_tokens": each.n_tokens, "n_windows": each.n_windows, "task": each.task}
                for each in result.info
            ],
        }


def _file_ids(connection: sqlite3.Connection, path: str) -> Iterator[int]:
    """Yield the rows of a path; folders of the index may lie in each other."""
    for root_id, root in connection.execute("SELECT id, path FROM roots").fetchall():
        below = path.removeprefix(shown_path(root, ""))
        if below != path:
            found = connection.execute(
                "SELECT id FROM files WHERE root_id = ? AND rel_path = ?", (root_id, below)
            )
            yield from (row[0] for row in found.fetchall())


def _passages(rows: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    """Name the columns; what a passage repeats of the one before it is left out."""
    found = []
    for number, row in enumerate(rows):
        seq, text, overlap, line_start, line_end, page, heading, char_start = row
        skip = overlap if number and rows[number - 1][0] == seq - 1 else 0
        found.append(
            {
                "chunk": seq,
                "text": text[skip:],
                "char_start": char_start + skip,
                "line_start": line_start,
                "line_end": line_end,
                "page": page,
                "heading": heading,
            }
        )
    return found


def uri_of(path: str) -> str:
    """Return the `file:` address of an absolute path as hits spell it."""
    return Path(path).as_uri()


def path_of(uri: str) -> str | None:
    """Return the path of a `file:` address of this machine; None for any other address."""
    parts = urlsplit(uri)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        return None
    path = unquote(parts.path)
    # Windows: file:///C:/notes is C:/notes.
    return path[1:] if len(path) > 2 and path[0] == "/" and path[2] == ":" else path
