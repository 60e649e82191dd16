"""The quality gates pass for the recipe and fail for the mistakes they are made to catch."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from embedge.models.errors import ModelIntegrityError
from embedge.models.manifest import Manifest, read_manifest
from embedge.quantize.codes import EIGHT_BITS
from embedge.quantize.distance import compare, neighbour_overlap, same_experts, unit
from embedge.quantize.int8_graph import int8_graph
from embedge.quantize.measure import require_floors
from embedge.quantize.scheme import Options, SiteScheme, choose_schemes, mean_inputs
from embedge.quantize.weights import WeightQuantizer

# Tighter than a trained model's: two layers of random weights lose little.
FLOORS = {"int8": {"mean": 0.9999, "language": 0.9998, "p1": 0.999}}


@pytest.fixture
def gate(
    tiny_bundle: Path, dense_graph: ir.Model, run: Callable[..., Any], random_ids: Any
) -> Callable[[ir.Model], None]:
    """Compare a quantized dense encoder, which has outlier channels, with the float one."""
    manifest: Manifest = replace(read_manifest(tiny_bundle), floors=FLOORS)
    ids = random_ids(list(range(20, 84)), seed=2)
    exact = run(dense_graph, ids, ["pooled"])[0]

    def check(model: ir.Model) -> None:
        pooled = run(model, ids, ["pooled"])[0]
        languages = [str(row % 4) for row in range(len(ids))]
        require_floors(manifest, {"int8": compare(exact, pooled, languages, (32, 16))})

    return check


@pytest.fixture
def quantized(
    dense_graph: ir.Model, statistics_of: Callable[..., Any], random_ids: Callable[..., Any]
) -> Callable[..., ir.Model]:
    statistics = statistics_of(dense_graph, random_ids([30] * 64, seed=1))

    def make(shrink: float = 1.0) -> ir.Model:
        model = dense_graph.clone()
        schemes = {
            site: _shrunk(scheme, shrink)
            for site, scheme in choose_schemes(model, statistics, Options()).items()
        }
        weights = WeightQuantizer(mean_inputs(model, statistics, schemes))
        int8_graph(model, schemes, EIGHT_BITS, weights, {})
        return model

    return make


def _shrunk(scheme: SiteScheme, factor: float) -> SiteScheme:
    return replace(scheme, largest=scheme.largest * factor) if scheme.method == "static" else scheme


def test_recipe_passes(gate: Callable[..., None], quantized: Callable[..., ir.Model]) -> None:
    gate(quantized())


def test_margin_of_70_percent_fails(
    gate: Callable[..., None], quantized: Callable[..., ir.Model]
) -> None:
    with pytest.raises(ModelIntegrityError, match=r"int8 mean is 0\.9"):
        gate(quantized(0.7 / 1.1))


def test_one_scale_for_the_batch_fails(
    gate: Callable[..., None], dense_graph: ir.Model, tmp_path: Path
) -> None:
    with pytest.raises(ModelIntegrityError, match=r"int8 mean is 0\.9"):
        gate(_per_tensor(dense_graph, tmp_path))


def test_one_scale_for_the_batch_depends_on_the_neighbours(
    dense_graph: ir.Model, tmp_path: Path, run: Callable[..., Any], random_ids: Callable[..., Any]
) -> None:
    model = _per_tensor(dense_graph, tmp_path)
    ids = random_ids([9, 30, 21])
    together, alone = run(model, ids)[0], run(model, ids[:1, :9])[0]
    assert np.abs(together[0] - alone[0]).max() > 1e-4


def _per_tensor(model: ir.Model, folder: Path) -> ir.Model:
    """ONNX Runtime's own dynamic quantizer."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    source, target = folder / "float.onnx", folder / "dynamic.onnx"
    ir.save(model, source)
    logging.disable(logging.WARNING)  # it recommends its preprocessing on every call
    try:
        quantize_dynamic(
            folder / "float.onnx", folder / "dynamic.onnx", weight_type=QuantType.QInt8
        )
    finally:
        logging.disable(logging.NOTSET)
    return ir.load(target)


def test_floor_without_a_figure_is_a_miss(tiny_bundle: Path) -> None:
    manifest = replace(read_manifest(tiny_bundle), floors={"int8": {"mean": 0.9}})
    with pytest.raises(ModelIntegrityError, match="int8 has no figure 'mean'"):
        require_floors(manifest, {})


def test_figures_of_known_vectors() -> None:
    # Two equal vectors and one turned by a right angle in the first two features.
    parent = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 2]], np.float32)
    child = np.array([[2, 0, 0], [1, 0, 0], [0, 0, 1]], np.float32)
    distance = compare(parent, child, ["a", "b", "b"], (3,))
    assert distance.full.mean == pytest.approx(2 / 3)
    assert distance.full.min == pytest.approx(0)
    assert distance.by_language == {"a": pytest.approx(1), "b": pytest.approx(0.5)}
    assert distance.max_abs == pytest.approx(1)
    assert distance.worst_language[0] == "b"


def test_floor_of_languages_leaves_out_kinds_of_text() -> None:
    parent, child = np.eye(2, dtype=np.float32), np.array([[1, 0], [1, 1]], np.float32)
    assert compare(parent, child, ["de", "repeat"], (2,)).worst_language == ("de", 1.0)


def test_overlap_counts_common_neighbours() -> None:
    rng = np.random.default_rng(0)
    vectors = unit(rng.standard_normal((40, 8)).astype(np.float32), 8)
    assert neighbour_overlap(vectors, vectors) == 1
    others = unit(rng.standard_normal((40, 8)).astype(np.float32), 8)
    assert 0.1 < neighbour_overlap(vectors, others) < 0.5  # ten of 39 by chance


def test_order_of_experts_does_not_count() -> None:
    parent, child = np.array([[0, 1], [2, 3]]), np.array([[1, 0], [2, 1]])
    assert same_experts(parent, child) == 0.5
