"""Texts to vectors for an evaluation: the right prefix by role, each text once, cut afterwards."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedge.models.space import Space
from embedge.runtime.cancel import CancelToken
from embedge.runtime.embedder import Embedder
from embedge.runtime.long_text import LongText
from embedge.runtime.progress import ProgressCallback
from embedge.runtime.quality.cache import VectorCache
from embedge.runtime.quality.task import Role


@dataclass(frozen=True, kw_only=True)
class EncodeChoices:
    """How the texts of an evaluation are embedded.

    Attributes:
        sts_task: prefix of similarity sentences; the checkpoint's own table says classification.
        bitext_task: prefix of translations, on both sides. The checkpoint's table has no entry
            for it; published scores of the model use the document prefix there, its
            default, and only its query and document prefixes were trained in many languages.
        long_text: `truncate` as in published scores, or `mean`.
        max_tokens: the model's limit by default.
    """

    sts_task: str = "classification"
    bitext_task: str = "document"
    long_text: LongText = "truncate"
    max_tokens: int | None = None
    batch_tokens: int | None = None

    def tasks(self) -> Mapping[Role, str]:
        """Return the task, that is the prefix, of each role."""
        return {
            "query": "query", "document": "document",
            "sts": self.sts_task, "bitext": self.bitext_task,
        }  # fmt: skip


class Encoding:
    """An open model and its cache of full-length vectors."""

    def __init__(self, embedder: Embedder, cache: VectorCache, choices: EncodeChoices) -> None:
        self._embedder = embedder
        self._cache = cache
        self._choices = choices
        self._tasks = choices.tasks()
        prompts = embedder.loaded.prompts
        self._prefixes = {role: prompts.choose(t, None).prefix for role, t in self._tasks.items()}
        self._limit = choices.max_tokens or embedder.max_tokens

    @property
    def dim(self) -> int:
        """Full length of the vectors."""
        return self._embedder.dim

    @property
    def variant(self) -> str:
        """The numeric form in use."""
        return self._embedder.variant

    def checked_dim(self, dim: int) -> int:
        """Return `dim`.

        Raises:
            InvalidOption: the model gives no such size.
        """
        return self._embedder.loaded.options.size(dim)

    def space(self, dim: int) -> Space:
        """Return the space of vectors cut to `dim`."""
        loaded = self._embedder.loaded
        return loaded.bundle.manifest.space(loaded.variant, dim)

    def missing(self, texts: Sequence[tuple[Role, str]]) -> dict[bytes, tuple[Role, str]]:
        """Return key -> text of those that have no vector yet, each once."""
        keyed = {self._key(text, role): (role, text) for role, text in texts}
        known = self._cache.known(list(keyed))
        return {key: item for key, item in keyed.items() if key not in known}

    def fill(
        self,
        texts: Sequence[tuple[Role, str]],
        *,
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
    ) -> int:
        """Embed what is missing, store it, and return how many texts that were.

        Raises:
            Cancelled: `cancel` was used; earlier blocks are kept.
        """
        missing = self.missing(texts)
        for task in sorted({self._tasks[role] for role, _ in missing.values()}):
            part = {k: text for k, (role, text) in missing.items() if self._tasks[role] == task}
            vectors = self._embedder.encode(
                list(part.values()),
                task=task,
                own_prefix=False,  # a document may start with anything
                long_text=self._choices.long_text,
                max_tokens=self._choices.max_tokens,
                batch_tokens=self._choices.batch_tokens,
                progress=progress,
                cancel=cancel,
            )
            self._cache.add(list(part), np.asarray(vectors, np.float32))
        return len(missing)

    def vectors(self, texts: Sequence[str], role: Role, dim: int) -> NDArray[np.float32]:
        """Return stored vectors, cut to `dim` and at unit length again, (texts, dim)."""
        full = self._cache.read([self._key(text, role) for text in texts])
        return cut(full, dim)

    def _key(self, text: str, role: Role) -> bytes:
        # Everything that decides a vector besides the space and the build.
        parts = [self._prefixes[role], self._choices.long_text, self._limit, text]
        return hashlib.sha256(json.dumps(parts).encode("ascii")).digest()[:16]


def cut(vectors: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
    """Keep the first `dim` features and give unit length (Matryoshka): the same as a smaller graph.

    A zero vector stays zero.
    """
    kept = vectors[:, :dim]
    norm = np.linalg.norm(kept, axis=1, keepdims=True)
    return np.asarray(kept / np.maximum(norm, 1e-12), np.float32)
