"""The classes that other libraries' users know, on this runtime: one thin file each.

    from embedge.runtime.adapters import EmbedgeEmbeddings      # LangChain

A name is imported when it is used, so that a missing framework only matters to its own adapter.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embedge.runtime.adapters.chroma_function import (
        EmbedgeEmbeddingFunction as EmbedgeEmbeddingFunction,
    )
    from embedge.runtime.adapters.embed4all import Embed4All as Embed4All
    from embedge.runtime.adapters.haystack_embedders import (
        EmbedgeDocumentEmbedder as EmbedgeDocumentEmbedder,
    )
    from embedge.runtime.adapters.haystack_embedders import (
        EmbedgeTextEmbedder as EmbedgeTextEmbedder,
    )
    from embedge.runtime.adapters.langchain_embeddings import EmbedgeEmbeddings as EmbedgeEmbeddings
    from embedge.runtime.adapters.llama_index_embedding import EmbedgeEmbedding as EmbedgeEmbedding
    from embedge.runtime.adapters.sentence_encoder import SentenceEncoder as SentenceEncoder

# Name -> module here, and the extra that it needs.
_HOME = {
    "EmbedgeEmbeddings": ("langchain_embeddings", "langchain"),
    "EmbedgeEmbedding": ("llama_index_embedding", "llama-index"),
    "SentenceEncoder": ("sentence_encoder", None),
    "Embed4All": ("embed4all", None),
    "EmbedgeEmbeddingFunction": ("chroma_function", "chroma"),
    "EmbedgeTextEmbedder": ("haystack_embedders", "haystack"),
    "EmbedgeDocumentEmbedder": ("haystack_embedders", "haystack"),
}

__all__ = [
    "Embed4All",
    "EmbedgeDocumentEmbedder",
    "EmbedgeEmbedding",
    "EmbedgeEmbeddingFunction",
    "EmbedgeEmbeddings",
    "EmbedgeTextEmbedder",
    "SentenceEncoder",
]


def __getattr__(name: str) -> object:
    """Import an adapter on first use.

    Raises:
        MissingExtra: its framework is not installed; names the extra.
        AttributeError: there is no adapter of that name.
    """
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, extra = _HOME[name]
    try:
        value = getattr(import_module(f"{__name__}.{module}"), name)
    except ModuleNotFoundError as error:
        if extra is None or (error.name or "").startswith("embedge"):
            raise
        from embedge.models.errors import MissingExtra

        raise MissingExtra(
            f"{name} needs {error.name}, which is not installed. "
            f"Run: pip install 'embedge[{extra}]'"
        ) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
