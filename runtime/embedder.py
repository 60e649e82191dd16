"""`Embedder`: the public face of the runtime."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Unpack, overload

from embedge.models.bundle import Verify
from embedge.models.errors import InvalidOption
from embedge.models.space import Space
from embedge.runtime.cancel import CancelToken
from embedge.runtime.encode_forms import EncodeForms, RunOptions, Texts
from embedge.runtime.encode_options import CHUNK_OVERLAP, EncodeOptions
from embedge.runtime.loading import LoadedModel, LoadOptions, load_model
from embedge.runtime.long_text import LongText
from embedge.runtime.precision import Precision
from embedge.runtime.progress import ProgressCallback, ProgressMeter, text_bar
from embedge.runtime.results import Embedded, EncodeResult
from embedge.runtime.similarity import cosine_matrix
from embedge.runtime.streaming import encode_all, stream_all

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from embedge.runtime.chunking import Chunk
    from embedge.runtime.results import Vectors

__all__ = ["Embedder"]


class Embedder(EncodeForms):
    """An open model. Thread-safe, fork-safe, and a context manager.

    Concurrent calls share one graph and take turns batch by batch. A forked child opens its own
    graph on first use.
    """

    def __init__(
        self,
        model: str | Path = "bundled",
        *,
        revision: str | None = None,
        variant: str = "auto",
        dim: int | None = None,
        threads: int | None = None,
        max_memory: int | str | None = None,
        offline: bool | None = None,
        cache_dir: str | Path | None = None,
        verify: Verify = "cached",
        spinning: bool = False,
    ) -> None:
        """Open a model that is on this machine; nothing is ever downloaded.

        Args:
            model: `bundled`, the name of an installed model, or the path of a bundle folder.
            revision: take only this revision.
            variant: `auto` chooses for this CPU; `fp32`, `int8`, `int8-avx2`.
            dim: length of the vectors, the model's full size by default.
            threads: the physical cores inside affinity mask and cgroup quota by default.
            max_memory: bound of the peak RSS of the process, in bytes or as `800MB`; result arrays
                are not counted.
            offline: accepted for symmetry with other libraries; this class never uses the network.
            cache_dir: the model store, the user's cache by default.
            verify: `cached` trusts hashes checked before while size and time of a file are the
                same; `full` hashes every file.
            spinning: let idle threads burn CPU between operators.

        Raises:
            ModelNotFound: the model is not on this machine; names the command that gets it.
            ModelIntegrityError: a file of it differs from its manifest.
            MemoryBudgetError: `max_memory` cannot be met.
            InvalidOption: a value that cannot work.
        """
        del offline
        super().__init__()
        self._model: LoadedModel = load_model(
            model,
            revision=revision,
            variant=variant,
            dim=dim,
            threads=threads,
            spinning=spinning,
            max_memory=max_memory,
            cache_dir=cache_dir,
            verify=verify,
        )

    @classmethod
    def from_pretrained(
        cls, model: str | Path = "bundled", **options: Unpack[LoadOptions]
    ) -> "Embedder":
        """Open a model; the same as `Embedder(model, ...)`."""
        return cls(model, **options)

    def close(self) -> None:
        """Free the graph; later calls raise BackendError."""
        self._close_async()
        self._model.engine.close()

    def __enter__(self) -> "Embedder":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def loaded(self) -> LoadedModel:
        """The opened bundle, engine, tokenizer and why this variant was chosen."""
        return self._model

    @property
    def space(self) -> Space:
        """The space of vectors made with the default options."""
        return self._model.bundle.manifest.space(self._model.variant, self.dim)

    @property
    def dim(self) -> int:
        """Length of the vectors by default."""
        return self._model.options.dim

    @property
    def variant(self) -> str:
        """The numeric form in use: `fp32`, `int8` or `int8-avx2`."""
        return self._model.variant

    @property
    def model(self) -> str:
        """The model's name."""
        return self._model.bundle.manifest.name

    @property
    def max_tokens(self) -> int:
        """The model's limit per sequence, prefix and special tokens included."""
        return self._model.tokens.max_tokens

    @overload
    def encode(
        self,
        texts: Texts,
        *,
        return_info: Literal[True],
        task: str | None = None,
        prompt_name: str | None = None,
        **options: Unpack[RunOptions],
    ) -> EncodeResult: ...

    @overload
    def encode(
        self,
        texts: Texts,
        *,
        return_info: Literal[False] = False,
        task: str | None = None,
        prompt_name: str | None = None,
        **options: Unpack[RunOptions],
    ) -> "Vectors": ...

    def encode(
        self,
        texts: Texts,
        *,
        task: str | None = None,
        prefix: str | None = None,
        own_prefix: bool = True,
        dim: int | None = None,
        precision: Precision = "float32",
        normalize: bool | None = None,
        long_text: LongText = "mean",
        max_tokens: int | None = None,
        overlap: int | None = None,
        batch_size: int | None = None,
        batch_tokens: int | None = None,
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
        show_progress_bar: bool | None = None,
        return_info: bool = False,
        truncate_dim: int | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
        normalize_embeddings: bool | None = None,
    ) -> "Vectors | EncodeResult":
        """Embed texts.

        Args:
            texts: one text, or texts.
            task: `document` (default), `query`, `classification`, `clustering` or `none`; selects
                the prefix.
            prefix: put before every text verbatim; wins over the task.
            own_prefix: a text that starts with a prefix of the model keeps it and gets no second.
            dim: length of the vectors; sizes that the model was not trained for work less well.
            precision: `float32`, `float16`, `int8` (fixed ranges of the model) or `ubinary`
                (uint8, eight signs per byte).
            normalize: give unit length, the default.
            long_text: texts above the limit: `mean` of windows, `truncate`, or `error`.
            max_tokens: limit per sequence with prefix and special tokens; the model's by default.
            overlap: tokens that neighbouring windows share, 8 by default.
            batch_size: most sequences per batch; changes no vector.
            batch_tokens: most padded tokens per batch; changes no vector.
            progress: called with ProgressEvents on this thread, between batches.
            cancel: a token that ends the run, also inside a batch.
            show_progress_bar: write progress to stderr.
            return_info: return an EncodeResult with what became of every text.
            truncate_dim: another name of `dim`.
            prompt: another name of `prefix`.
            prompt_name: another name of `task`.
            normalize_embeddings: another name of `normalize`.

        Returns:
            (dim,) for one text, (n, dim) for several, (0, dim) for none; (n, dim / 8) for
            `ubinary`. The caller owns the array.

        Raises:
            TextTooLong: `long_text="error"` and a text is.
            InvalidOption: a value that cannot work.
            Cancelled: the token was used.
            TypeError: both names of one argument, or a text that is no string.
        """
        settings = self._model.options.settings(
            task=task,
            prefix=prefix,
            own_prefix=own_prefix,
            dim=dim,
            precision=precision,
            normalize=normalize,
            long_text=long_text,
            max_tokens=max_tokens,
            overlap=overlap,
            batch_size=batch_size,
            batch_tokens=batch_tokens,
            truncate_dim=truncate_dim,
            prompt=prompt,
            prompt_name=prompt_name,
            normalize_embeddings=normalize_embeddings,
        )
        if long_text == "chunk":
            raise InvalidOption(
                'long_text="chunk" gives several vectors per text; use stream(), or "mean"'
            )
        single = isinstance(texts, str)
        items = [texts] if isinstance(texts, str) else list(texts)
        meter = ProgressMeter(
            _callback(progress, show_progress_bar),
            space=settings.space.fingerprint,
            chunks_total=len(items),
        )
        vectors, info = encode_all(self._model.encoder, items, settings, meter, cancel)
        result = vectors[0] if single else vectors
        return EncodeResult(result, info, settings.space) if return_info else result

    def stream(
        self,
        texts: Iterable[str],
        *,
        task: str | None = None,
        prompt_name: str | None = None,
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
        show_progress_bar: bool | None = None,
        **options: Unpack[EncodeOptions],
    ) -> Iterator[Embedded]:
        """Embed any number of texts in bounded memory, in the order of the input.

        Reads ahead some thousand texts at most, so that batches stay full. With
        `long_text="chunk"` every text gives one result per passage, with offsets; such texts are
        never looked at for a prefix of their own.

        Args:
            texts: read lazily.
            task: as in `encode`, and so are all other arguments.
            prompt_name: another name of `task`.
            progress: called on the thread that iterates.
            cancel: a token that ends the iteration.
            show_progress_bar: write progress to stderr.
            **options: as in `encode`.

        Raises:
            As `encode`; wrong options at once, the rest while iterating.
        """
        settings = self._model.options.settings(task=task, prompt_name=prompt_name, **options)
        meter = ProgressMeter(
            _callback(progress, show_progress_bar), space=settings.space.fingerprint
        )
        if isinstance(texts, str):
            raise TypeError("stream() takes texts, not one text; use encode()")
        return stream_all(self._model.encoder, texts, settings, meter, cancel)

    def chunk(
        self,
        text: str,
        *,
        max_tokens: int | None = None,
        overlap: int = CHUNK_OVERLAP,
        kind: str = "text",
    ) -> "list[Chunk]":
        """Split a text into passages that fit the model beside the document prefix.

        Args:
            text: decoded text; offsets of the passages are its code points.
            max_tokens: limit per passage with prefix and special tokens; the model's by default.
            overlap: tokens that a passage repeats from its predecessor.
            kind: markup of the text, such as `text`, `markdown`, `html`, `code`.
        """
        settings = self._model.options.settings(
            max_tokens=max_tokens, overlap=overlap, long_text="chunk"
        )
        return self._model.encoder.chunk(text, settings, kind=kind)

    @overload
    def count_tokens(  # type: ignore[overload-overlap]  # a str is an Iterable[str], too
        self, texts: str, *, task: str = "document"
    ) -> int: ...

    @overload
    def count_tokens(self, texts: Iterable[str], *, task: str = "document") -> list[int]: ...

    def count_tokens(self, texts: Texts, *, task: str = "document") -> int | list[int]:
        """Count what the model would see of each text, uncut: with prefix and special tokens."""
        prompt = self._model.prompts.choose(task, None)
        if isinstance(texts, str):
            return self._model.encoder.count(texts, prompt)
        return [self._model.encoder.count(text, prompt) for text in texts]

    def similarity(self, a: "ArrayLike", b: "ArrayLike") -> "NDArray[np.float32]":
        """Return the cosine of every vector of `a` with every one of `b`, (n, m).

        Takes any precision that `encode` gives; a single vector counts as one row. For `ubinary`
        (uint8) it is the cosine of the signs.
        """
        return cosine_matrix(a, b)


def _callback(
    progress: ProgressCallback | None, show_progress_bar: bool | None
) -> ProgressCallback | None:
    if progress is None and show_progress_bar:
        return text_bar()
    return progress
