"""An object with the methods of Sentence Transformers' model, for libraries that expect one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from embedge.models.errors import InvalidOption, MissingExtra
from embedge.models.space import TASKS, Space, custom_task
from embedge.runtime.adapters.nomic_names import require_cpu
from embedge.runtime.embedder import Embedder
from embedge.runtime.encode_options import first_given
from embedge.runtime.loading import OpenOptions
from embedge.runtime.precision import Precision
from embedge.runtime.similarity import cosine_matrix

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from embedge.runtime.results import Vectors

Texts = str | Sequence[str]

# In the order in which Sentence Transformers looks for the prompt of a document.
_DOCUMENT_PROMPTS = ("document", "passage", "corpus")
_PRECISIONS: Mapping[str, Precision] = {
    "float32": "float32",
    "int8": "int8",
    "binary": "ubinary",
    "ubinary": "ubinary",
}


class EncodeArguments(TypedDict, total=False):
    """Keyword arguments of `encode` besides the prompt; see there."""

    batch_size: int
    show_progress_bar: bool | None
    output_value: Literal["sentence_embedding"]
    precision: Literal["float32", "int8", "binary", "ubinary"]
    convert_to_numpy: bool
    convert_to_tensor: bool
    device: str | None
    normalize_embeddings: bool
    truncate_dim: int | None
    pool: None
    chunk_size: int | None


class SentenceEncoder:
    """`encode`, `encode_query`, `encode_document`, `similarity` on this runtime.

    As with the published checkpoint, a plain `encode` adds no prefix and texts above the limit
    are cut. Vectors always have unit length, since the model's own pipeline normalises. After
    `truncate_dim` they are given unit length again; the original leaves them shorter.
    """

    similarity_fn_name = "cosine"

    def __init__(
        self,
        model_name_or_path: str = "bundled",
        device: str | None = "cpu",
        truncate_dim: int | None = None,
        prompts: Mapping[str, str] | None = None,
        default_prompt_name: str | None = None,
        **options: Unpack[OpenOptions],
    ) -> None:
        """Open a model that is on this machine.

        Args:
            model_name_or_path: `bundled`, the name of an installed model, or a bundle folder.
            device: only None or `cpu`.
            truncate_dim: length of the vectors, the model's full size by default.
            prompts: name to prefix, besides or instead of the model's own.
            default_prompt_name: the prompt of a plain `encode`; none by default.
            **options: as in `Embedder`: variant, threads, max_memory, cache_dir, ...

        Raises:
            InvalidOption: another device, an unknown prompt, or a size the model cannot give.
            ModelNotFound: the model is not on this machine.
        """
        require_cpu(device)
        self._embedder = Embedder(model_name_or_path, dim=truncate_dim, **options)
        manifest = self._embedder.loaded.bundle.manifest
        own = dict(manifest.identity.prompts)
        own |= {alias: own.get(task, "") for alias, task in manifest.prompt_aliases.items()}
        own.setdefault("passage", own["document"])
        self.prompts: dict[str, str] = own | dict(prompts or {})
        self.default_prompt_name = default_prompt_name
        self.truncate_dim = truncate_dim
        self.max_seq_length = self._embedder.max_tokens
        self._prompt(None, None)  # refuses an unknown default

    @property
    def device(self) -> str:
        """Always `cpu`."""
        return "cpu"

    @property
    def space(self) -> Space:
        """The space of the vectors."""
        return self._embedder.space

    def encode(
        self,
        inputs: Texts | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        output_value: Literal["sentence_embedding"] = "sentence_embedding",
        precision: Literal["float32", "int8", "binary", "ubinary"] = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: str | None = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        pool: None = None,
        chunk_size: int | None = None,
        *,
        sentences: Texts | None = None,
    ) -> Any:
        """Embed one text or several.

        Args:
            inputs: a text, or a sequence of texts.
            prompt_name: a key of `prompts`.
            prompt: a prefix, verbatim; wins over `prompt_name`.
            batch_size: most texts per batch; changes no vector.
            show_progress_bar: write progress to stderr.
            output_value: only sentence embeddings.
            precision: `int8` has fixed ranges, so that codes of two calls compare; `binary` and
                `ubinary` pack signs.
            convert_to_numpy: return a numpy array; False gives a list of torch tensors.
            convert_to_tensor: return one torch tensor.
            device: only None or `cpu`.
            normalize_embeddings: vectors have unit length either way.
            truncate_dim: length of the vectors of this call.
            pool: process pools are not supported; the graph uses all cores by itself.
            chunk_size: belongs to `pool`.
            sentences: another name of `inputs`.

        Returns:
            (dim,) for one text, (n, dim) for several.

        Raises:
            InvalidOption: a value that cannot work here.
            MissingExtra: tensors were asked for and torch is not installed.
        """
        del normalize_embeddings, chunk_size
        texts = first_given("inputs", inputs, "sentences", sentences)
        if texts is None:
            raise TypeError("encode() needs texts: inputs= is missing")
        require_cpu(device)
        _require_sentences(output_value, pool)
        asked = self._prompt(prompt_name, prompt)
        vectors = self._embedder.encode(
            texts if isinstance(texts, str) else list(texts),
            task=asked.task,
            prefix=asked.prefix,
            batch_size=batch_size,
            show_progress_bar=show_progress_bar,
            precision=_precision(precision),
            dim=truncate_dim,
            max_tokens=self.max_seq_length,
            long_text="truncate",
        )
        if precision == "binary":
            vectors = _signed_bytes(vectors)
        if convert_to_tensor or not convert_to_numpy:
            return _tensors(vectors, stacked=convert_to_tensor or isinstance(texts, str))
        return vectors

    def encode_query(
        self,
        inputs: Texts,
        prompt_name: str | None = None,
        prompt: str | None = None,
        **arguments: Unpack[EncodeArguments],
    ) -> Any:
        """Embed search queries with the prompt `query`; arguments and result as `encode`."""
        name = prompt_name or ("query" if prompt is None else None)
        return self.encode(inputs, name, prompt, **arguments)

    def encode_document(
        self,
        inputs: Texts,
        prompt_name: str | None = None,
        prompt: str | None = None,
        **arguments: Unpack[EncodeArguments],
    ) -> Any:
        """Embed documents with the prompt `document`; arguments and result as `encode`."""
        known = next(name for name in _DOCUMENT_PROMPTS if name in self.prompts)
        name = prompt_name or (known if prompt is None else None)
        return self.encode(inputs, name, prompt, **arguments)

    def similarity(
        self, embeddings1: "ArrayLike", embeddings2: "ArrayLike"
    ) -> "NDArray[np.float32]":
        """Return the cosine of every vector with every other one, (n, m)."""
        return cosine_matrix(embeddings1, embeddings2)

    def similarity_pairwise(
        self, embeddings1: "ArrayLike", embeddings2: "ArrayLike"
    ) -> "NDArray[np.float32]":
        """Return the cosine of each vector with the one at the same place, (n,).

        Raises:
            InvalidOption: the numbers of vectors differ.
        """
        import numpy as np

        first, second = np.atleast_2d(embeddings1), np.atleast_2d(embeddings2)
        if len(first) != len(second):
            raise InvalidOption(f"{len(first)} and {len(second)} vectors make no pairs")
        pairs = [cosine_matrix(a, b)[0, 0] for a, b in zip(first, second, strict=True)]
        return np.array(pairs, dtype=np.float32)

    def get_max_seq_length(self) -> int:
        """Return the limit in tokens, prefix and special tokens included."""
        return self.max_seq_length

    def get_embedding_dimension(self) -> int:
        """Return the length of the vectors."""
        return self._embedder.dim

    get_sentence_embedding_dimension = get_embedding_dimension

    def _prompt(self, name: str | None, prompt: str | None) -> "_Asked":
        """Return what `Embedder.encode` needs; a prompt of the model's own is a task to it.

        Only then are texts that bring their prefix by hand left with that one.
        """
        name = name or self.default_prompt_name
        if prompt is not None:
            return _Asked(None, prompt)
        if name is None:
            return _Asked("none", None)
        if name not in self.prompts:
            known = ", ".join(sorted(self.prompts))
            raise InvalidOption(f"prompt_name {name!r} is unknown; choose one of {known}")
        task = custom_task(self.prompts[name], self.space.identity.prompts)
        return _Asked(None, self.prompts[name]) if task not in TASKS else _Asked(task, None)


@dataclass(frozen=True)
class _Asked:
    """A task or a verbatim prefix, never both."""

    task: str | None
    prefix: str | None


def _require_sentences(output_value: str, pool: object) -> None:
    if output_value != "sentence_embedding":
        raise InvalidOption(
            f"output_value {output_value!r} is not supported: the graph gives one vector per text; "
            f'use "sentence_embedding"'
        )
    if pool is not None:
        raise InvalidOption(
            "pool is not supported: one graph uses all cores. For several machines see "
            "`embed files --runner ray`"
        )


def _precision(name: str) -> Precision:
    if name not in _PRECISIONS:
        raise InvalidOption(
            f"precision {name!r} is not supported; choose one of {', '.join(_PRECISIONS)}"
        )
    return _PRECISIONS[name]


def _signed_bytes(packed: "Vectors") -> "NDArray[np.int8]":
    """Shift packed signs into int8, as the peer's `binary` does: byte 128 becomes 0."""
    import numpy as np

    shifted: NDArray[np.int8] = (packed.astype(np.int16) - 128).astype(np.int8)
    return shifted


def _tensors(vectors: "Vectors", *, stacked: bool) -> Any:
    try:
        import torch
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "tensors need torch, which is not installed (embedge itself never uses it). "
            "Install torch, or leave convert_to_numpy=True"
        ) from error
    tensor = torch.from_numpy(vectors.copy())
    return tensor if stacked else list(tensor)
