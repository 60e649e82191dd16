"""LlamaIndex's `BaseEmbedding`, with the argument names of its `NomicEmbedding`."""

import threading
from typing import TYPE_CHECKING, Any, cast

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import Field, PrivateAttr

from embedge.models.space import Space
from embedge.runtime.adapters.nomic_names import require_local, task_of
from embedge.runtime.embedder import Embedder

if TYPE_CHECKING:
    from embedge.runtime.results import Vectors


class _Opened:
    """The open model of an embedding; a pickled or copied one starts closed.

    Threads and mapped files cannot travel, so the copy opens its own.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.embedder: Embedder | None = None

    def __reduce__(self) -> "tuple[type[_Opened], tuple[()]]":
        return (_Opened, ())


class EmbedgeEmbedding(BaseEmbedding):
    """Texts and queries to vectors of unit length, each with its own prefix.

    Picklable: the copy opens its model again, from the same place, on first use.
    """

    model_name: str = Field(default="bundled", description="Installed model or bundle folder.")
    query_task_type: str = Field(default="search_query", description="Prefix of queries.")
    document_task_type: str = Field(default="search_document", description="Prefix of texts.")
    dimensionality: int | None = Field(default=None, description="Length of the vectors.")
    inference_mode: str = Field(default="local", description="Only `local`.")
    device: str | None = Field(default=None, description="Only None or `cpu`.")
    variant: str = Field(default="auto", description="auto, fp32, int8 or int8-avx2.")
    threads: int | None = Field(default=None, description="CPU threads.")
    cache_dir: str | None = Field(default=None, description="The model store.")

    _opened: _Opened = PrivateAttr(default_factory=_Opened)

    def __init__(self, model_name: str = "bundled", **options: Any) -> None:
        """Check the arguments and open the model.

        Args:
            model_name: `bundled`, the name of an installed model, or the path of a bundle.
            **options: the fields of this class and of `BaseEmbedding` (embed_batch_size, ...).

        Raises:
            InvalidOption: a mode, device, task type or size that cannot work.
            ModelNotFound: the model is not on this machine.
        """
        super().__init__(model_name=model_name, **options)
        require_local(self.inference_mode, self.device)
        task_of(self.query_task_type, "query_task_type")
        task_of(self.document_task_type, "document_task_type")
        self._open()

    @classmethod
    def class_name(cls) -> str:
        """Name under which LlamaIndex stores the class."""
        return "EmbedgeEmbedding"

    @property
    def space(self) -> Space:
        """The space of the vectors; keep its fingerprint beside a stored index."""
        return self._open().space

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._encode([query], self.query_task_type)[0]

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._encode([text], self.document_task_type)[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._encode(texts, self.document_task_type)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return (await self._aencode([query], self.query_task_type))[0]

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return (await self._aencode([text], self.document_task_type))[0]

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await self._aencode(texts, self.document_task_type)

    def _encode(self, texts: list[str], task_type: str) -> list[list[float]]:
        vectors = self._open().encode(texts, task=task_of(task_type, "task type"))
        rows: list[list[float]] = vectors.tolist()
        return rows

    async def _aencode(self, texts: list[str], task_type: str) -> list[list[float]]:
        task = task_of(task_type, "task type")
        vectors = cast("Vectors", await self._open().aencode(texts, task=task))
        rows: list[list[float]] = vectors.tolist()
        return rows

    def _open(self) -> Embedder:
        with self._opened.lock:
            if self._opened.embedder is None:
                self._opened.embedder = Embedder(
                    self.model_name,
                    dim=self.dimensionality,
                    variant=self.variant,
                    threads=self.threads,
                    cache_dir=self.cache_dir,
                )
            return self._opened.embedder
