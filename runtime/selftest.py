"""Does this installation compute what it should? `embed doctor --verify`, stage by stage.

A bundle carries token ids and vectors of a few texts (`selftest.json`), written where it was made.
For the published model there are also facts that others printed (models/golden).
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from embedge.models.bundle import Bundle, open_bundle
from embedge.models.errors import BundleError, EmbedgeError
from embedge.models.golden import Golden, read_golden
from embedge.models.manifest import Manifest
from embedge.models.space import Variant
from embedge.runtime.similarity import cosine_matrix

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from embedge.runtime.embedder import Embedder
    from embedge.runtime.tasks import Prompts
    from embedge.runtime.tokens import Tokens

SELFTEST_NAME = "selftest.json"
_FORMAT = 1

# Several scripts, a number, an emoji, punctuation: what tokenizers and kernels get wrong.
_TEXTS = (
    ("document", "The quick brown fox jumps over the lazy dog."),
    ("query", "Wie spät ist es in München?"),
    ("document", "机器学习让计算机从数据中学习。"),
    ("query", "ما هي عاصمة مصر؟"),
    ("classification", "Этот фильм мне совсем не понравился!"),
    ("clustering", "def add(a, b):\n    return a + b  # 42 🚀"),
    ("none", "नमस्ते दुनिया"),
    ("none", ""),
)

# Smallest cosine with a stored vector. Other instruction sets and builds agree to about 1e-4 in
# 1 - cosine; kernels whose sums saturate reached only 0.994 on all-MiniLM-L6-v2.
_STORED_FLOOR = {"fp32": 0.99999, "int8": 0.998, "int8-avx2": 0.998}
# Our choice: largest difference of the published similarity (G4, printed to 1e-4 in fp32), and
# smallest cosine with the published vectors (G5; their GELU is the tanh form).
_G4_TOLERANCE = {"fp32": 1e-4, "int8": 0.01, "int8-avx2": 0.02}
_G5_FLOOR = {"fp32": 0.999, "int8": 0.99, "int8-avx2": 0.985}

Outcome = Literal["ok", "differs", "absent"]


@dataclass(frozen=True)
class Stage:
    """Result of one stage: `absent` means that there is nothing to compare with."""

    name: str
    outcome: Outcome
    detail: str


def write_selftest(folder: Path, manifest: Manifest) -> None:
    """Write `selftest.json` into a bundle that is being made, all graphs and tokenizer in place.

    Args:
        folder: the bundle, or the folder of its draft; file hashes are not needed yet.
        manifest: the manifest that it will get.

    Raises:
        BackendError: a graph does not run.
    """
    from embedge.runtime.tasks import Prompts
    from embedge.runtime.tokens import Tokens

    bundle = Bundle(folder, manifest)
    tokens = Tokens.from_file(bundle.tokenizer_path, manifest.identity.max_tokens)
    prompts = Prompts(manifest.identity.prompts, manifest.prompt_aliases)
    cases = [
        {
            "task": task,
            "text": text,
            "ids": tokens.ids(prompts.choose(task, None).prefix + text).tolist(),
        }
        for task, text in _TEXTS
    ]
    vectors = {
        variant: _numbers(_vectors_of(bundle, variant, tokens, prompts))
        for variant in manifest.variants()
    }
    stored = {"format": _FORMAT, "cases": cases, "vectors": vectors}
    text = json.dumps(stored, ensure_ascii=False) + "\n"
    (folder / SELFTEST_NAME).write_bytes(text.encode("utf-8"))


def _vectors_of(
    bundle: Bundle, variant: Variant, tokens: "Tokens", prompts: "Prompts"
) -> "NDArray[np.float32]":
    """Embed the texts with a graph of a bundle that has no hashes yet."""
    from embedge.runtime.cancel import CancelToken
    from embedge.runtime.encode_options import ModelOptions
    from embedge.runtime.encoding import TextEncoder
    from embedge.runtime.engine import Engine
    from embedge.runtime.loading import session_config

    manifest = bundle.manifest
    dim = max(graph.dim for graph in manifest.graphs if graph.variant == variant)
    # fp32 weights stay in mapped pages: a full-size graph needs no second copy for eight texts.
    config = {"session.disable_prepacking": "1"} if variant == "fp32" else session_config(variant)
    engine = Engine(bundle, variant, dim, threads=1, config=config)
    options = ModelOptions(
        manifest=manifest,
        prompts=prompts,
        variant=variant,
        dim=dim,
        largest_dim=dim,
        n_special=tokens.n_special,
        batch_tokens=1024,
    )
    encoder = TextEncoder(engine, tokens, prompts)
    settings = [options.settings(task=task, own_prefix=False) for task, _ in _TEXTS]
    prepared = [encoder.prepare(text, s) for (_, text), s in zip(_TEXTS, settings, strict=True)]
    try:
        return encoder.run(prepared, settings[0], CancelToken(), lambda texts, count: None)
    finally:
        engine.close()


def _numbers(vectors: "NDArray[np.float32]") -> list[list[float]]:
    """Round to six decimals: far below what another processor changes, and short."""
    return [[round(value, 6) for value in row] for row in vectors.tolist()]


def verify(embedder: "Embedder") -> Iterator[Stage]:
    """Run the stages in the order of the data: files, token ids, vectors, published facts.

    The first stage that differs is where to look; later ones may follow from it.
    """
    bundle = embedder.loaded.bundle
    yield _check_files(bundle)
    stored = _read_selftest(bundle.path)
    golden = _golden_of(bundle.manifest)
    yield _check_tokens(embedder, stored, golden)
    yield _check_stored_vectors(embedder, stored)
    if golden is not None:
        yield _check_published_similarity(embedder, golden)
        yield _check_published_vectors(embedder, golden)


def _check_files(bundle: Bundle) -> Stage:
    try:
        open_bundle(bundle.path, verify="full")
    except EmbedgeError as error:  # the finding of this stage, reported with the others
        return Stage("files", "differs", str(error))
    return Stage("files", "ok", f"{len(bundle.manifest.files)} files match their SHA-256")


def _check_tokens(embedder: "Embedder", stored: "Stored | None", golden: Golden | None) -> Stage:
    tokens, prompts = embedder.loaded.tokens, embedder.loaded.prompts
    cases = [(case.text, case.ids) for case in golden.tokenizer_cases] if golden else []
    if stored is not None:
        prefixes = [prompts.choose(case.task, None).prefix for case in stored.cases]
        cases += [
            (prefix + case.text, case.ids)
            for prefix, case in zip(prefixes, stored.cases, strict=True)
        ]
    if not cases:
        return Stage("token ids", "absent", "the bundle stores none")
    for text, expected in cases:
        found = tuple(tokens.ids(text).tolist())
        if found != expected:
            return Stage("token ids", "differs", f"{text!r} gives {found}, expected {expected}")
    return Stage("token ids", "ok", f"{len(cases)} texts")


def _check_stored_vectors(embedder: "Embedder", stored: "Stored | None") -> Stage:
    name, variant = "stored vectors", embedder.variant
    if stored is None or variant not in stored.vectors:
        return Stage(name, "absent", f"the bundle stores none of {variant}")
    found = [embedder.encode(case.text, task=case.task, own_prefix=False) for case in stored.cases]
    cosines = [
        _cosine(vector, row[: embedder.dim])
        for vector, row in zip(found, stored.vectors[variant], strict=True)
    ]
    return _judge(name, cosines, _STORED_FLOOR[variant])


def _check_published_similarity(embedder: "Embedder", golden: Golden) -> Stage:
    name = "published similarity"
    if embedder.dim != embedder.loaded.bundle.manifest.full_dim:
        return Stage(name, "absent", f"published for the full size, not for {embedder.dim}")
    pair = golden.similarity
    first, second = embedder.encode([pair.first, pair.second], prefix="")
    found, allowed = _cosine(first, second), _G4_TOLERANCE[embedder.variant]
    detail = f"cosine {found:.6f}, published {pair.cosine:.6f}, tolerance {allowed}"
    return Stage(name, "ok" if abs(found - pair.cosine) <= allowed else "differs", detail)


def _check_published_vectors(embedder: "Embedder", golden: Golden) -> Stage:
    found = [embedder.encode(vector.text, prefix="") for vector in golden.vectors]
    cosines = [
        _cosine(mine, vector.values[: embedder.dim])
        for mine, vector in zip(found, golden.vectors, strict=True)
    ]
    return _judge("published vectors", cosines, _G5_FLOOR[embedder.variant])


def _judge(name: str, cosines: Sequence[float], floor: float) -> Stage:
    worst = min(cosines)
    detail = f"smallest of {len(cosines)} cosines {worst:.6f}, required {floor}"
    return Stage(name, "ok" if worst >= floor else "differs", detail)


def _cosine(first: "ArrayLike", second: "ArrayLike") -> float:
    return float(cosine_matrix(first, second)[0, 0])


@dataclass(frozen=True)
class _Case:
    task: str
    text: str
    ids: tuple[int, ...]


@dataclass(frozen=True)
class Stored:
    """What `selftest.json` holds: cases, and per variant one vector for each."""

    cases: tuple[_Case, ...]
    vectors: dict[str, list[list[float]]]


def _read_selftest(folder: Path) -> Stored | None:
    path = folder / SELFTEST_NAME
    if not path.exists():
        return None
    raw = json.loads(path.read_text(encoding="utf-8"))
    if raw["format"] != _FORMAT:
        raise BundleError(
            f"{path} has format {raw['format']}, this version reads {_FORMAT}. "
            f"Update embedge, or export the bundle again."
        )
    cases = tuple(_Case(c["task"], c["text"], tuple(c["ids"])) for c in raw["cases"])
    return Stored(cases, raw["vectors"])


def _golden_of(manifest: Manifest) -> Golden | None:
    """Return the published facts if this is the revision that they are about."""
    golden = read_golden()
    return golden if manifest.revision == golden.weights_revision else None
