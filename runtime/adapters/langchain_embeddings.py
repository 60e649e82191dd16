"""LangChain's `Embeddings`, with the argument names of `langchain-nomic`."""

from pathlib import Path
from typing import TYPE_CHECKING, Unpack, cast

from langchain_core.embeddings import Embeddings

from embedge.models.space import Space
from embedge.runtime.adapters.nomic_names import require_local, task_of
from embedge.runtime.embedder import Embedder
from embedge.runtime.loading import OpenOptions

if TYPE_CHECKING:
    from embedge.runtime.results import Vectors


class EmbedgeEmbeddings(Embeddings):
    """Documents and queries to vectors of unit length, each with its own prefix.

    Long texts are averaged over windows; a text that already starts with `search_document: ` or
    another prefix of the model keeps it and gets no second one.
    """

    def __init__(
        self,
        model: str | Path = "bundled",
        dimensionality: int | None = None,
        inference_mode: str = "local",
        device: str | None = None,
        **options: Unpack[OpenOptions],
    ) -> None:
        """Open a model that is on this machine.

        Args:
            model: `bundled`, the name of an installed model, or the path of a bundle.
            dimensionality: length of the vectors, the model's full size by default.
            inference_mode: only `local`.
            device: only None or `cpu`.
            **options: as in `Embedder`: variant, threads, max_memory, cache_dir, ...

        Raises:
            InvalidOption: another mode or device, or a size that the model cannot give.
            ModelNotFound: the model is not on this machine.
        """
        require_local(inference_mode, device)
        self.model = model
        self.dimensionality = dimensionality
        self._embedder = Embedder(model, dim=dimensionality, **options)

    @property
    def space(self) -> Space:
        """The space of the vectors; keep its fingerprint beside a stored index."""
        return self._embedder.space

    def embed(self, texts: list[str], *, task_type: str) -> list[list[float]]:
        """Embed texts for one of Nomic's task types, such as `clustering`."""
        return _rows(self._embedder.encode(texts, task=task_of(task_type, "task_type")))

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed documents to be searched, one list of floats each."""
        return _rows(self._embedder.encode_document(texts))

    def embed_query(self, text: str) -> list[float]:
        """Embed a search query."""
        return _rows(self._embedder.encode_query([text]))[0]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed documents without blocking the event loop; cancelling the task ends the run."""
        return _rows(cast("Vectors", await self._embedder.aencode_document(texts)))

    async def aembed_query(self, text: str) -> list[float]:
        """Embed a search query without blocking the event loop."""
        return _rows(cast("Vectors", await self._embedder.aencode_query([text])))[0]


def _rows(vectors: "Vectors") -> list[list[float]]:
    """Return plain lists of Python floats; LangChain's stores refuse numpy's."""
    rows: list[list[float]] = vectors.tolist()
    return rows
