"""Plugin of the `llm` command: embedding models `NAME-document` and `NAME-query`.

The plugin interface knows no role of a text, so each model appears once per role.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import llm

from embedge.models.store import BUNDLED, installed_models
from embedge.runtime.embedder import Embedder

_ROLES = ("document", "query")
_BATCH = 100


class EmbedgeModel(llm.EmbeddingModel):
    """One model in one role; opened when it is first used."""

    supports_text = True
    supports_binary = False
    batch_size = _BATCH

    def __init__(self, model_id: str, model: str, task: str) -> None:
        """Remember what to open.

        Args:
            model_id: what users type after `llm embed -m`.
            model: name of the installed model.
            task: `document` or `query`.
        """
        self.model_id = model_id
        self._model, self._task = model, task
        self._embedder: Embedder | None = None

    def embed_batch(
        self, items: Iterable[str | bytes], *, key: str | None = None
    ) -> Iterator[list[float]]:
        """Yield one vector per text."""
        del key
        if self._embedder is None:
            self._embedder = Embedder(self._model)
        texts = [item if isinstance(item, str) else item.decode() for item in items]
        yield from self._embedder.encode(texts, task=self._task).tolist()


@llm.hookimpl
def register_embedding_models(register: Any) -> None:
    """Register every model on this machine; the bundled one also as `embedge-*`."""
    for name, is_bundled in _names().items():
        for role in _ROLES:
            aliases = (f"embedge-{role}",) if is_bundled else ()
            model = BUNDLED if is_bundled else name
            register(EmbedgeModel(f"{name}-{role}", model, role), aliases=aliases)


def _names() -> dict[str, bool]:
    """Return the names of all undamaged models, bundled ones first, and which are bundled."""
    names: dict[str, bool] = {}
    for model in installed_models():
        if model.problem is None:
            names.setdefault(model.name, model.is_bundled)
    return names
