"""Running graphs over the measurement texts, with the routers' choices as extra outputs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from embedge.models.bundle import Bundle
from embedge.models.errors import ModelIntegrityError
from embedge.models.graph_file import read_graph
from embedge.models.manifest import Json, Manifest
from embedge.models.sample_texts import TEXT_KINDS, measurement_texts
from embedge.models.space import Variant
from embedge.models.steps import StepProgress, no_progress
from embedge.quantize.calibrate import open_over
from embedge.quantize.distance import Distance, compare, same_experts, unit
from embedge.quantize.token_batches import TokenBatch, texts_sha256, token_batches
from embedge.runtime.precision import measure_ranges

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

# The exporter names the outputs of every TopK `encoder.layers.{i}.mlp.router.{...}`.
_ROUTED = ".router.expert"


@dataclass(frozen=True)
class GraphRun:
    """What one graph gave for all texts.

    Attributes:
        pooled: (texts, hidden), before cut and unit length.
        experts: per router, the chosen experts of all real tokens (tokens, k).
    """

    pooled: Float32
    experts: dict[str, Int64]


def run_graph(
    graph: Path,
    batches: Sequence[TokenBatch],
    *,
    threads: int,
    count: Callable[[int], None],
) -> GraphRun:
    """Run the proto at `graph` over `batches`; `count` is told the tokens done."""
    model = read_graph(graph)
    routers = add_router_outputs(model)
    float_weights = not any(node.op_type == "QuantizeLinear" for node in model.graph)
    session = open_over(model, graph.parent, threads, keep_mapped=float_weights)
    texts = sum(len(batch.positions) for batch in batches)
    pooled: Float32 | None = None
    experts: dict[str, list[Int64]] = {router: [] for router in routers}
    for batch in batches:
        values = session.run(
            ["pooled", *routers], {"input_ids": batch.ids, "attention_mask": batch.mask}
        )
        if pooled is None:
            pooled = np.zeros((texts, values[0].shape[1]), np.float32)
        pooled[list(batch.positions)] = values[0]
        real = batch.mask.reshape(-1) == 1
        for router, chosen in zip(routers, values[1:], strict=True):
            experts[router].append(np.asarray(chosen, np.int64)[real])
        count(batch.tokens)
    assert pooled is not None, "no batch"
    return GraphRun(pooled, {router: np.concatenate(rows) for router, rows in experts.items()})


def add_router_outputs(model: ir.Model) -> list[str]:
    """Make the chosen experts of every router an output; return the names."""
    names = []
    for node in model.graph:
        for value in node.outputs:
            if value.name is not None and value.name.endswith(_ROUTED):
                value.type = ir.TensorType(ir.DataType.INT64)
                model.graph.outputs.append(value)
                names.append(value.name)
    return names


def distance_of(
    parent: GraphRun, child: GraphRun, languages: Sequence[str], manifest: Manifest
) -> Distance:
    """Compare two runs over the same texts at all trained sizes."""
    distance = compare(parent.pooled, child.pooled, languages, manifest.matryoshka)
    agreement = {
        router.removesuffix(_ROUTED): same_experts(chosen, child.experts[router])
        for router, chosen in parent.experts.items()
    }
    return Distance(
        distance.sizes,
        distance.max_abs,
        distance.by_language,
        distance.top10_overlap,
        agreement,
        distance.texts,
    )


def measure_draft(
    parent: Bundle,
    folder: Path,
    manifest: Manifest,
    *,
    threads: int,
    progress: StepProgress = no_progress,
) -> tuple[Manifest, dict[Variant, Distance]]:
    """Compare every variant of a bundle that is being made with its fp32 parent.

    Args:
        parent: the fp32 bundle.
        folder: holds the graphs of the new bundle.
        manifest: of the new bundle.
        threads: of ONNX Runtime.
        progress: told the tokens done over all graphs, under the step `measure`.

    Returns:
        The manifest with `measured` and `output_ranges`, and the distance of each variant.
    """
    texts = measurement_texts()
    languages = [row.language for row in texts]
    batches = token_batches(parent, texts)
    variants = manifest.variants()
    total, done = sum(batch.tokens for batch in batches) * (len(variants) + 1), 0

    def count(tokens: int) -> None:
        nonlocal done
        done += tokens
        progress("measure", done, total)

    full = parent.graph_path("fp32", parent.manifest.full_dim)[0]
    reference = run_graph(full, batches, threads=threads, count=count)
    distances: dict[Variant, Distance] = {}
    output_ranges: dict[str, tuple[float, ...]] = {}
    for variant in variants:
        largest = max(graph.dim for graph in manifest.graphs if graph.variant == variant)
        run = run_graph(
            folder / manifest.graph(variant, largest).file, batches, threads=threads, count=count
        )
        distances[variant] = distance_of(reference, run, languages, manifest)
        if variant == manifest.identity.variant:
            output_ranges = {
                str(dim): measure_ranges(unit(run.pooled, dim)) for dim in manifest.matryoshka
            }
    measured: dict[str, Json] = {
        "texts": {
            "count": len(texts),
            "languages": len(set(languages) - TEXT_KINDS),
            "sha256": texts_sha256(texts),
        },
        "against_parent": {variant: d.to_json() for variant, d in distances.items()},
    }
    return replace(manifest, measured=measured, output_ranges=output_ranges), distances


def require_floors(manifest: Manifest, distances: Mapping[Variant, Distance]) -> None:
    """Check the floors that the source declares; a source without floors is only reported.

    Raises:
        ModelIntegrityError: names every figure below its floor.
    """
    misses = []
    measured = {str(variant): distance.figures() for variant, distance in distances.items()}
    for variant, floors in manifest.floors.items():
        figures = measured.get(variant, {})
        for name, floor in floors.items():
            if name not in figures:
                misses.append(f"{variant} has no figure {name!r}")
            elif figures[name] < floor:
                misses.append(f"{variant} {name} is {figures[name]:.5f}, floor {floor}")
    if misses:
        raise ModelIntegrityError(
            f"{manifest.name} misses its quality floors: {'; '.join(misses)}. No bundle was "
            f"written; use the fp32 bundle, or calibrate on your own texts with --calibrate."
        )
