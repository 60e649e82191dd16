"""From a checkpoint folder to an fp32 bundle."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir

from embedge.export.bundle_facts import (
    fp32_manifest,
    graph_metadata,
    tokenizer_file,
    tool_versions,
)
from embedge.export.documents import write_documents
from embedge.export.finishing import finish_export
from embedge.export.parity import check_published
from embedge.export.trace import DEFAULT_OPSET, FLAVORS, OPSETS, Flavor, bind_weights, trace
from embedge.models.bundle import (
    TOKENIZER_NAME,
    Bundle,
    file_sha256,
    new_bundle,
)
from embedge.models.checkpoint import Checkpoint, open_checkpoint
from embedge.models.disk_space import require_space
from embedge.models.errors import InvalidOption
from embedge.models.graph_file import write_graphs
from embedge.models.manifest import Json, Manifest
from embedge.models.source import SourceOverrides, read_source
from embedge.models.steps import StepProgress, no_progress

# Protos, tokenizer and documents, beside the weights.
_SMALL_FILES_BYTES = 64 * 1024 * 1024


def export_checkpoint(
    checkpoint: Path,
    out: Path,
    *,
    flavor: Flavor = "ort",
    opset: int = DEFAULT_OPSET,
    source: SourceOverrides | None = None,
    checks: bool = True,
    measure: bool = True,
    progress: StepProgress = no_progress,
) -> Bundle:
    """Trace the checkpoint's model to ONNX and write it as an fp32 bundle.

    Weights are read, turned and written one at a time; anonymous memory stays far below the size
    of the model. `out` appears only when it is complete.

    Args:
        checkpoint: folder with config.json, tokenizer.json and safetensors weights.
        out: the bundle folder to make.
        flavor: `ort` uses ONNX Runtime's attention operators, `standard` only standard ones.
        opset: version of the standard operators.
        source: what the folder does not say (name, licence, sizes, prompts), or says wrongly.
        checks: compare with the published hidden states and routing, where the source is the
            published revision; the tensor contract is always checked.
        measure: embed the packaged sentences to fix the ranges of `precision="int8"`.
        progress: told about every step.

    Raises:
        ConfigError, CheckpointError: the checkpoint cannot be exported; nothing is written.
        InvalidOption: the opset or flavour is not supported.
        ModelIntegrityError: the written graph misses the published values; no bundle is left.
    """
    if opset not in OPSETS:
        raise InvalidOption(f"opset {opset} is not supported; choose one of {OPSETS}")
    if flavor not in FLAVORS:
        raise InvalidOption(f"flavor {flavor!r} is unknown; choose one of {FLAVORS}")
    weights = open_checkpoint(checkpoint)
    known = read_source(checkpoint, weights.config, source)
    tokenizer = tokenizer_file(checkpoint)
    needs = {"weights": weights.parameters * 4, "other files": _SMALL_FILES_BYTES}
    require_space(out.absolute().parent, needs)
    progress("hash checkpoint", 0, 1)
    manifest = fp32_manifest(
        known,
        checkpoint_sha256=weights.sha256,
        tokenizer_sha256=file_sha256(tokenizer),
        full=weights.config.hidden,
        architecture=_architecture(weights, flavor, opset),
        tools=tool_versions(),
    )
    progress("hash checkpoint", 1, 1)
    with new_bundle(out) as draft:
        graphs = _trace_all(weights, manifest, flavor, opset)
        write_graphs(graphs, draft.folder, progress)
        shutil.copyfile(tokenizer, draft.folder / TOKENIZER_NAME)
        write_documents(draft.folder, manifest, checkpoint)
        if checks and known.is_published:
            progress("check published values", 0, 1)
            manifest = replace(manifest, measured={"checks": check_published(draft.folder)})
        return finish_export(draft, manifest, progress, measure=measure)


def _trace_all(
    weights: Checkpoint, manifest: Manifest, flavor: Flavor, opset: int
) -> dict[str, ir.Model]:
    graphs = {}
    for entry in manifest.graphs:
        model = trace(
            weights.config,
            entry.dim,
            max_tokens=manifest.identity.max_tokens,
            flavor=flavor,
            opset=opset,
        )
        bind_weights(model, weights)
        model.metadata_props.update(graph_metadata(manifest))
        graphs[entry.file] = model
    return graphs


def _architecture(weights: Checkpoint, flavor: Flavor, opset: int) -> Mapping[str, Json]:
    config = weights.config
    moe_layers: list[Json] = [i for i in range(config.layers) if config.is_moe(i)]
    return {
        "kind": "nomic-bert-moe",
        "parameters": weights.parameters,
        "vocabulary": config.vocabulary,
        "hidden": config.hidden,
        "layers": config.layers,
        "heads": config.heads,
        "inner": config.inner,
        "experts": config.experts,
        "experts_per_token": config.experts_per_token,
        "moe_layers": moe_layers,
        "positions": "learned" if config.rotary_base is None else "rotary",
        "epsilon": config.epsilon,
        "flavor": flavor,
        "opset": opset,
    }
