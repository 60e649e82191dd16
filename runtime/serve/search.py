"""The folder index behind a server (docs/index.md): opened once, read only."""

import threading
from collections.abc import Sequence
from pathlib import Path

from embedge.models.errors import SpaceMismatch
from embedge.runtime.embedder import Embedder
from embedge.runtime.index import Hit, Index, open_index
from embedge.runtime.index.results import Mode


class Searcher:
    """Searches with the model of the server; collections of another model with their own."""

    def __init__(
        self,
        path: Path | None,
        embedder: Embedder,
        *,
        threads: int | None = None,
        cache_dir: Path | None = None,
    ) -> None:
        """Open the index.

        Raises:
            InvalidOption: there is none.
            IndexDamaged: the file is no index, or is damaged.
        """
        self._path = path
        self._threads, self._cache_dir = threads, cache_dir
        self._shared = open_index(path, embedder=embedder, readonly=True)
        self._shared.collections()  # opened now, so that a wrong path is no surprise later
        self._own: Index | None = None
        self._lock = threading.Lock()

    @property
    def index(self) -> Index:
        """The open index."""
        return self._shared

    def search(
        self,
        query: str,
        *,
        limit: int = 10,
        mode: Mode = "hybrid",
        collections: Sequence[str] | None = None,
        min_score: float | None = None,
        path: str | None = None,
        explain: bool = False,
    ) -> list[Hit]:
        """Find passages; arguments, result and errors as `Index.search`."""

        def ask(index: Index) -> list[Hit]:
            return index.search(
                query,
                limit=limit,
                mode=mode,
                collections=collections,
                min_score=min_score,
                path=path,
                explain=explain,
            )

        if self._own is None:
            try:
                return ask(self._shared)
            except SpaceMismatch:
                pass
        return ask(self._open_own())

    def close(self) -> None:
        """Close the index and the models that it opened itself."""
        self._shared.close()
        if self._own is not None:
            self._own.close()

    def _open_own(self) -> Index:
        with self._lock:
            if self._own is None:
                self._own = open_index(
                    self._path,
                    readonly=True,
                    threads=self._threads,
                    cache_dir=self._cache_dir,
                )
            return self._own
