"""Smoothing changes where outliers live and nothing else."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from embedge.quantize.linears import find_linears
from embedge.quantize.smooth import shared_weight_max, smooth, smoothing_scale

both_graphs = pytest.mark.parametrize("either_graph", ["dense_graph", "moe_graph"], indirect=True)


def test_scale_is_activation_to_alpha_over_weight_to_the_rest() -> None:
    # alpha 0.5: sqrt(16 / 4) = 2 and sqrt(1 / 4) = 0.5.
    scale = smoothing_scale(np.array([16.0, 1.0]), np.array([4.0, 4.0]), alpha=0.5)
    np.testing.assert_array_equal(np.array([2.0, 0.5], np.float32), scale)


def test_alpha_one_makes_all_channels_equally_large() -> None:
    peaks = np.array([30.0, 0.5, 2.0], np.float32)
    scale = smoothing_scale(peaks, np.array([0.1, 3.0, 1.0]), alpha=1.0)
    np.testing.assert_allclose([1.0, 1.0, 1.0], peaks / scale, rtol=1e-3)


@both_graphs
def test_smoothed_graph_computes_the_same(
    either_graph: ir.Model, run: Callable[..., Any], random_ids: Callable[..., Any]
) -> None:
    ids = random_ids([3, 9, 17])
    before = run(either_graph, ids)
    rng = np.random.default_rng(1)
    groups = find_linears(either_graph.graph).by_source()
    scales = {
        group[0].site: np.exp(rng.standard_normal(group[0].sizes[0])).astype(np.float32)
        for group in groups
        if group[0].kind == "norm"
    }
    smooth(either_graph, scales)
    twins = [node for node in either_graph.graph if ".smoothed" in str(node.name)]
    assert len([node for node in twins if node.op_type == "LayerNormalization"]) == len(scales)
    for old, new in zip(before, run(either_graph, ids), strict=True):
        np.testing.assert_allclose(old, new, atol=2e-5)


@both_graphs
def test_linears_of_one_norm_share_one_twin(either_graph: ir.Model) -> None:
    groups = find_linears(either_graph.graph).by_source()
    first = next(group for group in groups if group[0].kind == "norm" and len(group) > 2)
    names = {linear.name for linear in first}
    smooth(either_graph, {first[0].site: smoothing_scale(
        np.full(first[0].sizes[0], 3.0, np.float32), shared_weight_max(first), 0.8)})  # fmt: skip
    after = find_linears(either_graph.graph)
    sources = {linear.source for linear in after.found if linear.name in names}
    assert len(sources) == 1
    assert str(sources.pop().name).endswith(".smoothed")


def test_router_reads_the_norm_itself(moe_graph: ir.Model) -> None:
    smooth(moe_graph, {"encoder.layers.1.norm1": np.full(32, 2.0, np.float32)})
    router = next(
        node for node in moe_graph.graph
        if node.inputs[1:2] and node.inputs[1] is not None
        and node.inputs[1].name == "encoder.layers.1.mlp.router.layer.weight"
    )  # fmt: skip
    read = router.inputs[0]
    assert read is not None
    assert not str(read.name).endswith(".smoothed")
