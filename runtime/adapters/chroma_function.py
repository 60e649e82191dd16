"""Chroma's `EmbeddingFunction`: documents and queries with their own prefixes."""

from typing import Any, ClassVar

import numpy as np
from chromadb.api.types import Documents, EmbeddingFunction, Embeddings
from chromadb.utils.embedding_functions import register_embedding_function

from embedge.models.errors import InvalidOption, SpaceMismatch
from embedge.models.space import Space
from embedge.runtime.adapters.nomic_names import require_cpu
from embedge.runtime.embedder import Embedder


@register_embedding_function
class EmbedgeEmbeddingFunction(EmbeddingFunction[Documents]):
    """Give this to `create_collection`; Chroma stores its settings and finds it again.

    The settings hold the space's fingerprint, so that a collection is never opened with another
    model under the same name.
    """

    _open: ClassVar[dict[tuple[object, ...], Embedder]] = {}

    def __init__(
        self,
        model_name: str = "bundled",
        device: str = "cpu",
        truncate_dim: int | None = None,
        variant: str = "auto",
        cache_dir: str | None = None,
    ) -> None:
        """Open a model that is on this machine.

        Args:
            model_name: `bundled`, the name of an installed model, or the path of a bundle.
            device: only `cpu`.
            truncate_dim: length of the vectors, the model's full size by default.
            variant: as in `Embedder`.
            cache_dir: the model store, the user's cache by default.

        Raises:
            InvalidOption: another device, or a size that the model cannot give.
            ModelNotFound: the model is not on this machine.
        """
        require_cpu(device)
        self._config = {
            "model_name": model_name,
            "device": device,
            "truncate_dim": truncate_dim,
            "variant": variant,
            "cache_dir": cache_dir,
        }
        key = tuple(self._config.values())
        if key not in self._open:
            self._open[key] = Embedder(
                model_name, dim=truncate_dim, variant=variant, cache_dir=cache_dir
            )
        self._embedder = self._open[key]

    @property
    def space(self) -> Space:
        """The space of the vectors."""
        return self._embedder.space

    def __call__(self, input: Documents) -> Embeddings:
        """Embed documents to be searched."""
        return list(np.asarray(self._embedder.encode_document(input), dtype=np.float32))

    def embed_query(self, input: Documents) -> Embeddings:
        """Embed search queries."""
        return list(np.asarray(self._embedder.encode_query(input), dtype=np.float32))

    @staticmethod
    def name() -> str:
        """Name under which Chroma stores the function."""
        return "embedge"

    def default_space(self) -> str:
        """Return `cosine`; vectors have unit length, so that the others order alike."""
        return "cosine"

    def get_config(self) -> dict[str, Any]:
        """Return the settings that Chroma stores with a collection."""
        return self._config | {"space": self.space.fingerprint}

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> "EmbedgeEmbeddingFunction":
        """Open the model of a stored collection.

        Raises:
            SpaceMismatch: the model of that name is another one now.
        """
        settings = dict(config)
        fingerprint = settings.pop("space", None)
        function = EmbedgeEmbeddingFunction(**settings)
        if fingerprint not in (None, function.space.fingerprint):
            raise SpaceMismatch(
                f"the collection holds vectors of {fingerprint}, the model "
                f"{settings.get('model_name')!r} now gives {function.space.fingerprint}. Install "
                f"the first model again, or embed the documents into a new collection"
            )
        return function

    def validate_config_update(
        self, old_config: dict[str, Any], new_config: dict[str, Any]
    ) -> None:
        """Refuse another space for vectors that exist.

        Raises:
            SpaceMismatch: the fingerprints differ.
        """
        before, after = old_config.get("space"), new_config.get("space")
        if before != after:
            raise SpaceMismatch(
                f"the collection holds vectors of {before}, not of {after}. Embed the documents "
                f"into a new collection"
            )

    @staticmethod
    def validate_config(config: dict[str, Any]) -> None:
        """Refuse settings of another version.

        Raises:
            InvalidOption: names the unknown ones.
        """
        known = {"model_name", "device", "truncate_dim", "variant", "cache_dir", "space"}
        unknown = sorted(config.keys() - known)
        if unknown:
            raise InvalidOption(f"unknown settings of embedge in the collection: {unknown}")
