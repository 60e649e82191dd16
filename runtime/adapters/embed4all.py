"""GPT4All's `Embed4All`: the same arguments, errors and return shapes, another model.

Numbers are those of the model in use (no layer norm before the cut, unlike Nomic Embed v1.5).
"""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict, Unpack, overload

from embedge.models.errors import Cancelled, InvalidOption
from embedge.models.space import Space
from embedge.runtime.adapters.nomic_names import TASK_OF
from embedge.runtime.batching import plan_batches
from embedge.runtime.embedder import Embedder
from embedge.runtime.encode_options import EncodeSettings

if TYPE_CHECKING:
    from embedge.runtime.results import TextInfo

CancelCallback = Callable[[list[int], str], bool]

# Of the Atlas API, which `atlas=True` imitates.
_ATLAS_TOKENS = 8192


class EmbedResult(TypedDict):
    """What `return_dict=True` gives; tokens without prefix and specials, overlaps twice."""

    embeddings: Any
    n_prompt_tokens: int


class ConstructorOptions(TypedDict, total=False):
    """Further arguments of GPT4All's constructor; those about GPUs and downloads have no effect."""

    model_path: str | Path | None
    allow_download: bool
    n_ctx: int
    ngl: int
    verbose: bool
    model_type: str | None


class EmbeddingRefused(InvalidOption, RuntimeError):
    """A prefix or a size that the model does not have; GPT4All raises RuntimeError for it."""


class CancellationError(Cancelled):
    """`cancel_cb` returned true."""


class Embed4All:
    """Embeddings with the interface of `gpt4all.Embed4All`; a context manager."""

    MIN_DIMENSIONALITY = 64

    def __init__(
        self,
        model_name: str | None = None,
        *,
        n_threads: int | None = None,
        device: str | None = None,
        **kwargs: Unpack[ConstructorOptions],
    ) -> None:
        """Open a model that is on this machine; nothing is ever downloaded.

        Args:
            model_name: an installed model or a bundle folder, the bundled model by default.
            n_threads: CPU threads, the physical cores by default.
            device: anything but None and `cpu` warns and runs on the CPU.
            **kwargs: `model_path`, a folder that holds the bundle `model_name`; `n_ctx`, a lower
                limit of tokens per window. `allow_download`, `ngl`, `verbose` and `model_type`
                are accepted and have no effect.

        Raises:
            ModelNotFound: the model is not on this machine.
            TypeError: another keyword.
        """
        unknown = sorted(kwargs.keys() - ConstructorOptions.__annotations__.keys())
        if unknown:
            raise TypeError(f"Embed4All() got unexpected keyword arguments {', '.join(unknown)}")
        if device not in (None, "cpu"):
            warnings.warn(f"device {device!r} is not used; embedge runs on the CPU", stacklevel=2)
        name = model_name or "bundled"
        folder = Path(kwargs.get("model_path") or "") / name
        self._embedder: Embedder | None = Embedder(
            folder if kwargs.get("model_path") and folder.is_dir() else name, threads=n_threads
        )
        limit = self._embedder.max_tokens
        self._max_tokens = min(kwargs.get("n_ctx", limit), limit)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the model; later calls of `embed` raise ValueError."""
        if self._embedder is not None:
            self._embedder.close()
        self._embedder = None

    @property
    def space(self) -> Space:
        """The space of full-size vectors."""
        return self._open().space

    @overload
    def embed(
        self,
        text: str,
        *,
        prefix: str | None = ...,
        dimensionality: int | None = ...,
        long_text_mode: str = ...,
        return_dict: Literal[False] = ...,
        atlas: bool = ...,
        cancel_cb: CancelCallback | None = ...,
    ) -> list[float]: ...

    @overload
    def embed(
        self,
        text: list[str],
        *,
        prefix: str | None = ...,
        dimensionality: int | None = ...,
        long_text_mode: str = ...,
        return_dict: Literal[False] = ...,
        atlas: bool = ...,
        cancel_cb: CancelCallback | None = ...,
    ) -> list[list[float]]: ...

    @overload
    def embed(
        self,
        text: str | list[str],
        *,
        prefix: str | None = ...,
        dimensionality: int | None = ...,
        long_text_mode: str = ...,
        return_dict: bool = ...,
        atlas: bool = ...,
        cancel_cb: CancelCallback | None = ...,
    ) -> Any: ...

    def embed(
        self,
        text: str | list[str],
        *,
        prefix: str | None = None,
        dimensionality: int | None = None,
        long_text_mode: str = "mean",
        return_dict: bool = False,
        atlas: bool = False,
        cancel_cb: CancelCallback | None = None,
    ) -> Any:
        """Embed one text or a list of texts.

        Args:
            text: a text, or texts; a list may hold empty ones.
            prefix: `search_document` (default), `search_query`, `classification`, `clustering`.
            dimensionality: length of the vectors, the model's full size by default.
            long_text_mode: `mean` of windows, or `truncate`.
            return_dict: return an EmbedResult.
            atlas: refuse texts of more than 8192 tokens with `mean`, as the Atlas API does.
            cancel_cb: called once, before anything is computed, with the tokens of every batch
                and "cpu"; true cancels.

        Returns:
            A list of floats for one text, a list of lists for a list; an EmbedResult with
            `return_dict`.

        Raises:
            ValueError: no text, `dimensionality` below 1, an unknown mode, or after `close`.
            RuntimeError: an unknown prefix, a size that the model cannot give, or `atlas`.
            CancellationError: `cancel_cb` returned true.
        """
        self._check(dimensionality, long_text_mode)
        if not text:
            raise ValueError("text must not be None or empty")
        embedder = self._open()
        texts = [text] if isinstance(text, str) else list(text)
        task = self._task(prefix, dimensionality)
        settings = embedder.loaded.options.settings(
            task=task,
            dim=dimensionality,
            long_text="mean" if long_text_mode == "mean" else "truncate",
            max_tokens=self._max_tokens,
        )
        if atlas and long_text_mode == "mean":
            self._require_atlas(texts, task)
        if cancel_cb is not None and cancel_cb(self._batch_tokens(texts, settings), "cpu"):
            raise CancellationError("operation was canceled")
        result = embedder.encode(
            texts,
            task=task,
            dim=dimensionality,
            long_text=settings.long_text,
            max_tokens=self._max_tokens,
            return_info=True,
        )
        rows = result.vectors.tolist()
        embeddings = rows[0] if isinstance(text, str) else rows
        if not return_dict:
            return embeddings
        return EmbedResult(embeddings=embeddings, n_prompt_tokens=self._text_tokens(result.info))

    def _check(self, dimensionality: int | None, long_text_mode: str) -> None:
        """Refuse arguments in the order in which the peer does."""
        if dimensionality is not None and dimensionality <= 0:
            raise ValueError(
                f"Dimensionality must be None or a positive integer, got {dimensionality}"
            )
        if dimensionality is not None and dimensionality < self.MIN_DIMENSIONALITY:
            warnings.warn(
                f"Dimensionality {dimensionality} is less than the suggested minimum of "
                f"{self.MIN_DIMENSIONALITY}. Performance may be degraded.",
                stacklevel=3,
            )
        if long_text_mode not in ("mean", "truncate"):
            raise ValueError(
                f"Long text mode must be one of 'mean' or 'truncate', got {long_text_mode!r}"
            )

    def _open(self) -> Embedder:
        if self._embedder is None:
            raise ValueError("Attempted operation on a closed Embed4All")
        return self._embedder

    def _task(self, prefix: str | None, dimensionality: int | None) -> str:
        name = "search_document" if prefix is None else prefix
        if name not in TASK_OF:
            raise EmbeddingRefused(
                f"prefix {prefix!r} is unknown; choose one of {', '.join(TASK_OF)}"
            )
        full = self._open().dim
        if dimensionality is not None and dimensionality > full:
            raise EmbeddingRefused(f"dimensionality {dimensionality} is above the model's {full}")
        return TASK_OF[name]

    def _require_atlas(self, texts: Sequence[str], task: str) -> None:
        embedder = self._open()
        around = embedder.count_tokens("", task=task)
        for number, count in enumerate(embedder.count_tokens(texts, task=task)):
            if count - around > _ATLAS_TOKENS:
                raise EmbeddingRefused(
                    f"text {number} has {count - around} tokens, the Atlas API takes "
                    f'{_ATLAS_TOKENS}; use long_text_mode="truncate" or atlas=False'
                )

    def _batch_tokens(self, texts: Sequence[str], settings: EncodeSettings) -> list[int]:
        loaded = self._open().loaded
        prepared = [loaded.encoder.prepare(text, settings) for text in texts]
        lengths = [
            len(window) + loaded.tokens.n_special for each in prepared for window in each.windows
        ]
        batches = plan_batches(lengths, budget_tokens=settings.batch_tokens)
        return [sum(lengths[row] for row in batch) for batch in batches]

    def _text_tokens(self, info: "Sequence[TextInfo]") -> int:
        loaded = self._open().loaded
        prompts = loaded.bundle.manifest.identity.prompts
        around = {
            task: len(loaded.encoder.prefix_tokens(prompt)) + loaded.tokens.n_special
            for task, prompt in prompts.items()
        }
        return sum(each.n_tokens - each.n_windows * around[each.task] for each in info)
