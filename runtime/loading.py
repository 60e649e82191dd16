"""Open a model for embedding: find, verify, choose the variant, load graph and tokenizer."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from embedge.models.bundle import TOKENIZER_NAME, Bundle, Verify, open_bundle
from embedge.models.errors import InvalidOption, MemoryBudgetError, SpaceMismatch
from embedge.models.space import VARIANT_ALIASES, VARIANTS, Variant
from embedge.models.store import cache_dir as default_cache_dir
from embedge.models.store import find_model
from embedge.runtime.cpu import (
    EXACT_INT8,
    choose_variant,
    cpu_features,
    int8_sums_saturate,
    plan_threads,
)
from embedge.runtime.encode_options import ModelOptions
from embedge.runtime.encoding import TextEncoder
from embedge.runtime.engine import Engine
from embedge.runtime.memory import (
    MemoryModel,
    batch_tokens_within,
    check_before_loading,
    default_batch_tokens,
    parse_size,
    peak_rss,
    resident_rss,
)
from embedge.runtime.tasks import Prompts
from embedge.runtime.tokens import Tokens


class OpenOptions(TypedDict, total=False):
    """Keyword arguments of `Embedder` besides `dim`, which adapters call by other names."""

    revision: str | None
    variant: str
    threads: int | None
    max_memory: int | str | None
    offline: bool | None
    cache_dir: str | Path | None
    verify: Verify
    spinning: bool


class LoadOptions(OpenOptions, total=False):
    """Keyword arguments of `Embedder`; see there."""

    dim: int | None


@dataclass(frozen=True)
class LoadedModel:
    """Everything that a run needs, and why the variant was chosen."""

    bundle: Bundle
    variant: Variant
    reason: str
    engine: Engine
    tokens: Tokens
    encoder: TextEncoder
    prompts: Prompts
    options: ModelOptions


def load_model(
    model: str | Path,
    *,
    revision: str | None,
    variant: str,
    dim: int | None,
    threads: int | None,
    spinning: bool,
    max_memory: int | str | None,
    cache_dir: str | Path | None,
    verify: Verify,
) -> LoadedModel:
    """Open `model`; arguments as in `Embedder`.

    Raises:
        ModelNotFound: the model is not on this machine.
        ModelIntegrityError, BundleError: its files are damaged.
        InvalidOption: no such variant, size or thread count.
        SpaceMismatch: `int8` was asked for and this CPU cannot compute it exactly.
        MemoryBudgetError: `max_memory` cannot be met.
    """
    store = Path(cache_dir) if cache_dir is not None else None
    cache = store or default_cache_dir()
    wanted = None if variant == "auto" else check_variant(variant)
    path = find_model(str(model), cache_dir=store, revision=revision, variant=wanted)
    bundle = open_bundle(path, verify=verify, cache_dir=cache)
    limit = None if max_memory is None else parse_size(max_memory)
    memory = MemoryModel.of(bundle)
    if limit is not None:
        check_before_loading(memory, limit, bundle.manifest.name)
    chosen, reason = (wanted, "asked for") if wanted else choose_variant(bundle)
    size = _size(bundle, chosen, dim)
    if threads is not None and threads < 1:
        raise InvalidOption(f"threads {threads} is below 1")
    engine = Engine(
        bundle,
        chosen,
        size,
        threads or plan_threads().threads,
        spinning=spinning,
        config=session_config(chosen),
    )
    # The graph opens in its own thread meanwhile.
    hash_of_file = bundle.manifest.files[TOKENIZER_NAME].sha256
    tokens = Tokens.from_file(
        bundle.tokenizer_path,
        bundle.manifest.identity.max_tokens,
        cache=cache / "vocabulary" / hash_of_file,
    )
    engine.wait()
    prompts = Prompts(bundle.manifest.identity.prompts, bundle.manifest.prompt_aliases)
    try:
        batch_tokens = _batch_tokens(memory, limit, tokens.max_tokens, engine.threads)
    except MemoryBudgetError:
        engine.close()
        raise
    options = ModelOptions(
        manifest=bundle.manifest,
        prompts=prompts,
        variant=chosen,
        dim=size,
        largest_dim=engine.entry.dim,
        n_special=tokens.n_special,
        batch_tokens=batch_tokens,
    )
    encoder = TextEncoder(engine, tokens, prompts)
    return LoadedModel(bundle, chosen, reason, engine, tokens, encoder, prompts, options)


def check_variant(name: str) -> Variant:
    """Return the variant that `name`, or an alias of other tools, means.

    Raises:
        InvalidOption: there is no such variant.
    """
    variant = VARIANT_ALIASES.get(name, name)
    for known in VARIANTS:
        if variant == known:
            return known
    raise InvalidOption(f"variant {name!r} is unknown; choose auto, {', '.join(VARIANTS)}")


def session_config(variant: Variant) -> Mapping[str, str]:
    """Return the session entries that make `variant` exact on this CPU.

    Raises:
        SpaceMismatch: 8-bit sums saturate here and no exact mode helps; the vectors would be
            those of no known space.
    """
    if variant != "int8" or not int8_sums_saturate():
        return {}
    if int8_sums_saturate(exact_mode=True):
        raise SpaceMismatch(
            f"variant int8 cannot run on this CPU: 8-bit sums saturate, also in ONNX Runtime's "
            f"exact mode (features: {', '.join(cpu_features())}). Use --variant int8-avx2, whose "
            f"vectors are a space of their own."
        )
    return EXACT_INT8


def _size(bundle: Bundle, variant: Variant, dim: int | None) -> int:
    """Return the length of vectors: the one asked for, else the largest that has a graph."""
    if dim is not None and dim < 1:
        raise InvalidOption(f"dim {dim} is below 1")
    manifest = bundle.manifest
    if dim is None:
        held = [graph.dim for graph in manifest.graphs if graph.variant == variant]
        dim = max(held, default=manifest.full_dim)
    manifest.graph(variant, dim)  # names what the bundle holds if it lacks this
    return dim


def _batch_tokens(memory: MemoryModel, limit: int | None, longest: int, threads: int) -> int:
    wanted = default_batch_tokens(threads)
    if limit is None:
        return wanted
    return batch_tokens_within(
        memory, limit, longest=longest, wanted=wanted, peak=peak_rss(), resident=resident_rss()
    )
