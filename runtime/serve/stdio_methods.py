"""What a desktop app can ask over stdin: each method from fields to a JSON text."""

import json
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from embedge.runtime.cancel import CancelToken
from embedge.runtime.embedder import Embedder
from embedge.runtime.long_text import LongText
from embedge.runtime.number_text import json_array
from embedge.runtime.progress import ProgressCallback
from embedge.runtime.serve.chunk_call import chunk_fields
from embedge.runtime.serve.failures import BadField
from embedge.runtime.serve.json_body import MAX_DIM, Fields
from embedge.runtime.serve.own_shapes import MAX_HITS, SEARCH_MODES, checked_mode
from embedge.runtime.serve.vector_text import base64_strings

if TYPE_CHECKING:
    from embedge.runtime.index import Index, UpdateReport
    from embedge.runtime.serve.search import Searcher

_LONG_TEXT = ("mean", "truncate", "error")


@dataclass(frozen=True)
class Call:
    """One request: its fields, the switch that cancels it, and where its events go."""

    fields: Fields
    cancel: CancelToken
    progress: ProgressCallback | None


class Methods:
    """The methods over one model and one index; thread-safe."""

    def __init__(self, embedder: Embedder, index_path: Path | None) -> None:
        """Take the model; the index is opened when it is first asked for."""
        self._embedder = embedder
        self._index_path = index_path
        self._searcher: Searcher | None = None
        self._index: Index | None = None
        self._lock = threading.Lock()

    def table(self) -> dict[str, tuple[Callable[[Call], str], frozenset[str]]]:
        """Return each method with the params that it knows."""

        def names(text: str) -> frozenset[str]:
            return frozenset(text.split())

        return {
            "embed": (self._embed, names("input task dim long_text encoding progress")),
            "count_tokens": (self._count_tokens, names("input task")),
            "chunk": (self._chunk, names("text max_tokens overlap kind")),
            "search": (
                self._search,
                names("query limit mode collections min_score path explain"),
            ),
            "index.add": (self._index_add, names("path collection confirm progress")),
            "index.update": (
                self._index_update,
                names("collections rescan confirm progress"),
            ),
            "index.status": (self._index_status, names("errors")),
        }

    def close(self) -> None:
        """Close the index."""
        if self._searcher is not None:
            self._searcher.close()
        if self._index is not None:
            self._index.close()

    def _embed(self, call: Call) -> str:
        fields = call.fields
        encoding = fields.choice("encoding", ("base64", "float")) or "base64"
        long_text = fields.choice("long_text", _LONG_TEXT) or "mean"
        result = self._embedder.encode(
            _texts(fields),
            task=fields.text("task"),
            dim=fields.integer("dim", 1, MAX_DIM),
            long_text=cast("LongText", long_text),
            progress=call.progress,
            cancel=call.cancel,
            return_info=True,
        )
        values = (
            base64_strings(result.vectors)
            if encoding == "base64"
            else [json_array(vector) for vector in result.vectors]
        )
        rest = {
            "dim": result.vectors.shape[1],
            "space": result.space.fingerprint,
            "items": [
                {
                    "n_tokens": each.n_tokens,
                    "truncated": each.truncated,
                    "n_windows": each.n_windows,
                    "task": each.task,
                }
                for each in result.info
            ],
        }
        return f'{{"embeddings":[{",".join(values)}],{_json(rest)[1:]}'

    def _count_tokens(self, call: Call) -> str:
        task = call.fields.text("task") or "document"
        counts = self._embedder.count_tokens(_texts(call.fields), task=task)
        is_one = isinstance(call.fields.get("input"), str)
        return _json({"n_tokens": counts[0] if is_one else counts})

    def _chunk(self, call: Call) -> str:
        chunks = chunk_fields(self._embedder, call.fields)
        return _json({"chunks": [asdict(chunk) for chunk in chunks]})

    def _search(self, call: Call) -> str:
        fields = call.fields
        hits = self._open_searcher().search(
            fields.required_text("query"),
            limit=fields.integer("limit", 1, MAX_HITS) or 10,
            mode=checked_mode(fields.choice("mode", SEARCH_MODES)),
            collections=fields.texts("collections"),
            min_score=fields.number("min_score"),
            path=fields.text("path"),
            explain=fields.flag("explain") is True,
        )
        space = self._embedder.space.fingerprint
        return _json({"hits": [hit.as_dict() for hit in hits], "space": space})

    def _index_add(self, call: Call) -> str:
        fields = call.fields
        report = self._open_index().add(
            fields.required_text("path"),
            fields.text("collection"),
            confirm=_consent(fields),
            progress=call.progress,
            cancel=call.cancel,
        )
        return _report(report)

    def _index_update(self, call: Call) -> str:
        fields = call.fields
        report = self._open_index().update(
            fields.texts("collections"),
            rescan=fields.flag("rescan") is True,
            confirm=_consent(fields),
            progress=call.progress,
            cancel=call.cancel,
        )
        return _report(report)

    def _index_status(self, call: Call) -> str:
        status = self._open_index().status(errors=call.fields.flag("errors") is True)
        return _json(asdict(status))

    def _open_searcher(self) -> "Searcher":
        from embedge.runtime.serve.search import Searcher

        with self._lock:
            if self._searcher is None:
                self._searcher = Searcher(self._index_path, self._embedder)
            return self._searcher

    def _open_index(self) -> "Index":
        from embedge.runtime.index import open_index

        with self._lock:
            if self._index is None:
                self._index = open_index(self._index_path, embedder=self._embedder)
            return self._index


def _texts(fields: Fields) -> list[str]:
    texts = fields.texts("input")
    if texts is None:
        raise BadField("input", "input is missing; send a string or a list of strings")
    return texts


def _consent(fields: Fields) -> Callable[[object], bool]:
    """Return the answer to a plan: `confirm: true` in the request, else no."""
    agreed = fields.flag("confirm") is True
    return lambda plan: agreed


def _report(report: "UpdateReport") -> str:
    return _json(asdict(report))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
