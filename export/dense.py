"""From a dense Hugging Face model, or a plain ONNX file, to an fp32 bundle."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import onnx_ir as ir

from embedge.export.bundle_facts import (
    fp32_manifest,
    graph_metadata,
    tokenizer_file,
    tool_versions,
)
from embedge.export.dense_check import (
    check_same_ids,
    check_tokenizer,
    compare_with_transformers,
)
from embedge.export.dense_graph import read_dense_graph
from embedge.export.dense_head import add_head
from embedge.export.documents import write_documents
from embedge.export.finishing import finish_export
from embedge.export.onnx_folder import find_onnx
from embedge.export.optimum_engine import (
    DEFAULT_OPSET,
    OPSETS,
    TOOLS,
    Traced,
    require_optimum,
    trace_with_optimum,
)
from embedge.export.trace import FLAVORS, Flavor
from embedge.models.bundle import TOKENIZER_NAME, Bundle, file_sha256, new_bundle, scratch_folder
from embedge.models.checkpoint import weight_files, weights_sha256
from embedge.models.dense_config import OPTIMUM_KINDS, DenseConfig, read_dense_config
from embedge.models.disk_space import require_space
from embedge.models.errors import ConfigError, InvalidOption
from embedge.models.graph_edit import CONTRIB
from embedge.models.graph_file import write_graphs
from embedge.models.manifest import Json, Manifest
from embedge.models.pooling import Pooling
from embedge.models.source import Source, SourceOverrides, read_source
from embedge.models.steps import StepProgress, no_progress

DenseEngine = Literal["optimum", "onnx"]
ENGINES: tuple[DenseEngine, ...] = ("optimum", "onnx")

_POOLINGS: tuple[Pooling, ...] = ("mean", "cls")
_IR_VERSION = 10
# Graphs, tokenizer and documents, beside the weights; the weights once more while tracing.
_SMALL_FILES_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class _Origin:
    """What the bundle is made of.

    Attributes:
        side: folder of config, tokenizer and side files.
        weights: the files whose hash names the checkpoint.
        graph: a published graph; None where optimum has to trace one.
        config: sizes.
        known: name, prompts, pooling and limits.
    """

    side: Path
    weights: tuple[Path, ...]
    graph: Path | None
    config: DenseConfig
    known: Source


def export_dense(
    folder: Path,
    out: Path,
    *,
    engine: DenseEngine,
    flavor: Flavor = "ort",
    opset: int | None = None,
    source: SourceOverrides | None = None,
    checks: bool = True,
    measure: bool = True,
    progress: StepProgress = no_progress,
) -> Bundle:
    """Write a dense encoder as an fp32 bundle. `out` appears only when it is complete.

    Args:
        folder: a Hugging Face folder, with the side files of Sentence Transformers if it has any;
            for `onnx`, one that holds `model.onnx` or `onnx/model.onnx`.
        out: the bundle folder to make.
        engine: `optimum` traces the safetensors weights, `onnx` takes the graph that is there.
        flavor: `standard` refuses operators outside the ONNX standard, also later in int8.
        opset: of the traced graph, 18 by default; a published graph has its own.
        source: what the folder does not say, or says wrongly.
        checks: compare the traced graph with transformers on sentences in 72 languages.
        measure: embed the packaged sentences to fix the ranges of `precision="int8"`.
        progress: told about every step.

    Raises:
        ConfigError, CheckpointError: the model would be computed wrongly; names every field.
        MissingExtra: optimum is not installed here.
        InvalidOption: the opset or flavour cannot be used.
        ModelIntegrityError: the traced graph misses transformers' vectors; no bundle is left.
    """
    opset = _check(engine, flavor, opset)
    origin = _find(folder, engine, source)
    check_tokenizer(origin.side, origin.config, origin.known.max_tokens)
    size = sum(file.stat().st_size for file in origin.weights)
    require_space(out.absolute().parent, {"weights": 2 * size, "other files": _SMALL_FILES_BYTES})
    with new_bundle(out) as draft, scratch_folder(out) as scratch:
        traced = None if origin.graph else _trace(origin, scratch, opset, progress)
        path = origin.graph or scratch / "model.onnx"
        model, states = read_dense_graph(path, origin.config.hidden)
        _prepare(model, flavor, path)
        manifest = _manifest(origin, model, engine, flavor)
        write_graphs(_graphs(model, states, manifest), draft.folder, progress)
        shutil.copyfile(origin.side / TOKENIZER_NAME, draft.folder / TOKENIZER_NAME)
        write_documents(draft.folder, manifest, origin.side)
        if checks and traced is not None:
            progress("compare with transformers", 0, 1)
            worst = compare_with_transformers(draft.folder, manifest, traced.hidden_states)
            manifest = replace(manifest, measured={"checks": {"transformers max-abs": worst}})
        return finish_export(draft, manifest, progress, measure=measure)


def _check(engine: DenseEngine, flavor: Flavor, opset: int | None) -> int:
    if flavor not in FLAVORS:
        raise InvalidOption(f"flavor {flavor!r} is unknown; choose one of {FLAVORS}")
    if engine == "onnx" and opset is not None:
        raise InvalidOption("--opset is for graphs that we write; a published graph has its own")
    if engine == "optimum":
        require_optimum()
        if opset is not None and opset not in OPSETS:
            raise InvalidOption(
                f"opset {opset} is not supported with --engine optimum; choose one of {OPSETS}"
            )
    return opset or DEFAULT_OPSET


def _find(folder: Path, engine: DenseEngine, source: SourceOverrides | None) -> _Origin:
    if engine == "onnx":
        found = find_onnx(folder)
        side, weights, graph = found.side, found.files, found.graph
        config = read_dense_config(side, None)
    else:
        config = read_dense_config(folder, OPTIMUM_KINDS)
        side, weights, graph = folder, tuple(weight_files(folder)), None
    tokenizer_file(side)
    known = read_source(side, config, source, poolings=_POOLINGS)
    return _Origin(side, weights, graph, config, known)


def _trace(origin: _Origin, scratch: Path, opset: int, progress: StepProgress) -> Traced:
    progress("trace", 0, 1)
    traced = trace_with_optimum(origin.side, scratch, opset)
    check_same_ids(origin.side, origin.known.max_tokens, traced.token_ids)
    progress("trace", 1, 1)
    return traced


def _prepare(model: ir.Model, flavor: Flavor, path: Path) -> None:
    foreign = sorted({node.domain for node in model.graph if node.domain not in ("", "ai.onnx")})
    unknown = [domain for domain in foreign if domain != CONTRIB]
    if unknown or (foreign and flavor == "standard"):
        raise ConfigError(
            f"{path} uses operators of {', '.join(unknown or foreign)}, which "
            f"{'ONNX Runtime has not' if unknown else '--flavor standard excludes'}"
        )
    model.ir_version = max(model.ir_version or 0, _IR_VERSION)
    if flavor == "ort":
        # Lets the quantizer use ONNX Runtime's integer product.
        model.graph.opset_imports[CONTRIB] = 1
    model.producer_name, model.producer_version = "embedge", None
    model.doc_string = None


def _graphs(model: ir.Model, states: ir.Value, manifest: Manifest) -> dict[str, ir.Model]:
    identity = manifest.identity
    pooling: Pooling = "cls" if identity.pooling == "cls" else "mean"
    graphs = {}
    for entry in manifest.graphs:
        graph = add_head(model, states, pooling, entry.dim, identity.dim)
        graph.metadata_props.clear()
        graph.metadata_props.update(graph_metadata(manifest))
        graphs[entry.file] = graph
    return graphs


def _manifest(origin: _Origin, model: ir.Model, engine: DenseEngine, flavor: Flavor) -> Manifest:
    return fp32_manifest(
        origin.known,
        checkpoint_sha256=weights_sha256(origin.weights),
        tokenizer_sha256=file_sha256(origin.side / TOKENIZER_NAME),
        full=origin.config.hidden,
        architecture=_architecture(origin.config, model, engine, flavor),
        tools=tool_versions(*(TOOLS if engine == "optimum" else ())),
    )


def _architecture(
    config: DenseConfig, model: ir.Model, engine: DenseEngine, flavor: Flavor
) -> Mapping[str, Json]:
    values = [
        int(np.prod(value.shape.numpy()))
        for value in model.graph.initializers.values()
        if value.shape is not None and value.dtype == ir.DataType.FLOAT
    ]
    return {
        "kind": config.kind,
        "parameters": sum(values),
        "vocabulary": config.vocabulary,
        "hidden": config.hidden,
        "layers": config.layers,
        "heads": config.heads,
        "inner": config.inner,
        "experts": 0,
        "experts_per_token": 1,
        "engine": engine,
        "flavor": engine if flavor == "ort" else flavor,
        "opset": model.graph.opset_imports[""],
    }
