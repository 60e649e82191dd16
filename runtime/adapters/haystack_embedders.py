"""Haystack's pair of embedders, with the argument names of its Sentence Transformers pair."""

from dataclasses import replace
from typing import Any

from haystack import Document, component, default_from_dict, default_to_dict

from embedge.models.space import Space
from embedge.runtime.adapters.nomic_names import require_cpu
from embedge.runtime.embedder import Embedder


class _Lazy:
    """Settings that both embedders share, and the model, opened by `warm_up`."""

    def __init__(
        self,
        model: str,
        device: str | None,
        batch_size: int,
        progress_bar: bool,
        truncate_dim: int | None,
    ) -> None:
        require_cpu(device)
        self.settings: dict[str, Any] = {
            "model": model,
            "device": device,
            "batch_size": batch_size,
            "progress_bar": progress_bar,
            "truncate_dim": truncate_dim,
        }
        self._embedder: Embedder | None = None

    def open(self) -> Embedder:
        if self._embedder is None:
            self._embedder = Embedder(self.settings["model"], dim=self.settings["truncate_dim"])
        return self._embedder

    def encode(self, texts: list[str], task: str) -> list[list[float]]:
        vectors = self.open().encode(
            texts,
            task=task,
            batch_size=self.settings["batch_size"],
            show_progress_bar=self.settings["progress_bar"],
        )
        rows: list[list[float]] = vectors.tolist()
        return rows


@component
class EmbedgeTextEmbedder:
    """Embeds one search query."""

    def __init__(
        self,
        model: str = "bundled",
        device: str | None = None,
        batch_size: int = 32,
        progress_bar: bool = False,
        truncate_dim: int | None = None,
    ) -> None:
        """Remember what to open; the model is opened by `warm_up` or the first `run`.

        Args:
            model: `bundled`, the name of an installed model, or the path of a bundle.
            device: only None or `cpu`.
            batch_size: most texts per batch; changes no vector.
            progress_bar: write progress to stderr.
            truncate_dim: length of the vectors, the model's full size by default.

        Raises:
            InvalidOption: another device.
        """
        self._model = _Lazy(model, device, batch_size, progress_bar, truncate_dim)

    @property
    def space(self) -> Space:
        """The space of the vectors."""
        return self._model.open().space

    def warm_up(self) -> None:
        """Open the model."""
        self._model.open()

    @component.output_types(embedding=list[float])
    def run(self, text: str) -> dict[str, Any]:
        """Embed a query.

        Raises:
            TypeError: a list was given; EmbedgeDocumentEmbedder takes documents.
        """
        if not isinstance(text, str):
            raise TypeError("EmbedgeTextEmbedder takes one str; use EmbedgeDocumentEmbedder")
        return {"embedding": self._model.encode([text], "query")[0]}

    def to_dict(self) -> dict[str, Any]:
        """Serialise the settings."""
        fields: dict[str, Any] = default_to_dict(self, **self._model.settings)
        return fields

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "EmbedgeTextEmbedder":
        """Make the component that `to_dict` described."""
        made: EmbedgeTextEmbedder = default_from_dict(cls, data)
        return made


@component
class EmbedgeDocumentEmbedder:
    """Embeds documents to be searched, with chosen fields of their meta data before the text."""

    def __init__(
        self,
        model: str = "bundled",
        device: str | None = None,
        batch_size: int = 32,
        progress_bar: bool = False,
        truncate_dim: int | None = None,
        meta_fields_to_embed: list[str] | None = None,
        embedding_separator: str = "\n",
    ) -> None:
        """Remember what to open; the model is opened by `warm_up` or the first `run`.

        Args:
            model: as in EmbedgeTextEmbedder, and so are device, batch_size, progress_bar and
                truncate_dim.
            device: only None or `cpu`.
            batch_size: most texts per batch; changes no vector.
            progress_bar: write progress to stderr.
            truncate_dim: length of the vectors, the model's full size by default.
            meta_fields_to_embed: fields of `Document.meta` put before the content.
            embedding_separator: what joins them.

        Raises:
            InvalidOption: another device.
        """
        self._model = _Lazy(model, device, batch_size, progress_bar, truncate_dim)
        self._fields = meta_fields_to_embed or []
        self._separator = embedding_separator

    @property
    def space(self) -> Space:
        """The space of the vectors."""
        return self._model.open().space

    def warm_up(self) -> None:
        """Open the model."""
        self._model.open()

    @component.output_types(documents=list[Document])
    def run(self, documents: list[Document]) -> dict[str, Any]:
        """Return copies of the documents with their `embedding` filled in."""
        texts = [self._text(document) for document in documents]
        rows = self._model.encode(texts, "document")
        pairs = zip(documents, rows, strict=True)
        return {"documents": [replace(document, embedding=row) for document, row in pairs]}

    def _text(self, document: Document) -> str:
        found = (document.meta.get(name) for name in self._fields)
        parts = [str(value) for value in found if value] + [document.content or ""]
        return self._separator.join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Serialise the settings."""
        fields: dict[str, Any] = default_to_dict(
            self,
            **self._model.settings,
            meta_fields_to_embed=self._fields,
            embedding_separator=self._separator,
        )
        return fields

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "EmbedgeDocumentEmbedder":
        """Make the component that `to_dict` described."""
        made: EmbedgeDocumentEmbedder = default_from_dict(cls, data)
        return made
