"""INT8 rows, smaller sizes, and the merging of row factors: each alone, before against after."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from embedge.quantize.codes import EIGHT_BITS
from embedge.quantize.int8_embedding import int8_embedding
from embedge.quantize.int8_linear import int8_linears
from embedge.quantize.linears import find_linears
from embedge.quantize.matryoshka import cut
from embedge.quantize.row_scales import join_expert_offsets, merge_row_scales
from embedge.quantize.shifted_gelu import shifted_gelu
from embedge.quantize.weights import WeightQuantizer

both_graphs = pytest.mark.parametrize("either_graph", ["dense_graph", "moe_graph"], indirect=True)


@both_graphs
def test_rows_are_gathered_as_int8_and_then_scaled(
    either_graph: ir.Model, run: Callable[..., Any], random_ids: Callable[..., Any]
) -> None:
    ids = random_ids([5, 20])
    before = run(either_graph, ids)[0]
    tables = int8_embedding(either_graph)
    assert len(tables) == 1
    codes = either_graph.graph.initializers[f"{tables[0]}.int8"]
    assert codes.dtype == ir.DataType.INT8
    assert [node.op_type for node in codes.consumers()] == ["Gather"]
    assert tables[0] not in either_graph.graph.initializers
    assert not any(node.op_type == "DequantizeLinear" for node in either_graph.graph)
    after = run(either_graph, ids)[0]
    assert (before * after).sum(axis=1).min() > 0.999
    assert np.abs(before - after).max() > 0


def test_learned_positions_stay_float(tiny_learned_bundle: Any) -> None:
    from embedge.models.graph_file import read_graph

    model = read_graph(tiny_learned_bundle / "model.onnx")
    assert int8_embedding(model) == ["embeddings.word_embeddings.weight"]
    positions = model.graph.initializers["embeddings.position_embeddings.weight"]
    assert positions.dtype == ir.DataType.FLOAT


@both_graphs
@pytest.mark.parametrize("dim", [32, 16, 7])
def test_cut_graph_gives_the_first_features_at_unit_length(
    either_graph: ir.Model, dim: int, run: Callable[..., Any], random_ids: Callable[..., Any]
) -> None:
    ids = random_ids([5, 20])
    full, pooled = run(either_graph, ids)
    embedding, same_pooled = run(cut(either_graph, dim), ids)
    expected = pooled[:, :dim] / np.linalg.norm(pooled[:, :dim], axis=1, keepdims=True)
    np.testing.assert_allclose(expected, embedding, atol=1e-6)
    np.testing.assert_array_equal(pooled, same_pooled)
    np.testing.assert_array_equal(full, run(either_graph, ids)[0])  # the original is untouched


def test_cut_of_a_cut_graph_starts_from_the_whole_vector(
    dense_graph: ir.Model, run: Callable[..., Any], random_ids: Callable[..., Any]
) -> None:
    ids = random_ids([5, 20])
    whole = run(dense_graph, ids)[0]
    np.testing.assert_array_equal(whole, run(cut(cut(dense_graph, 8), 32), ids)[0])


def test_graph_is_not_cut_to_more_features_than_it_has(dense_graph: ir.Model) -> None:
    with pytest.raises(ValueError, match="gives 32 features, so it cannot be cut to 64"):
        cut(dense_graph, 64)


def quantized(model: ir.Model) -> ir.Model:
    weights = WeightQuantizer()
    sites = {linear.site for linear in find_linears(model.graph).found if linear.kind == "gelu"}
    shifted_gelu(model, dict.fromkeys(sites, 6.0), EIGHT_BITS, weights)
    int8_linears(model, {"encoder.layers.1.norm1": 12.0}, EIGHT_BITS, weights)
    return model


def test_expert_offsets_leave_the_experts_as_one_product(
    moe_graph: ir.Model, run: Callable[..., Any], random_ids: Callable[..., Any]
) -> None:
    model = quantized(moe_graph)
    ids = random_ids([5, 20, 13])
    before = run(model, ids, ["pooled"])[0]
    additions = len([node for node in model.graph if node.op_type == "Add"])
    assert join_expert_offsets(model) == ["encoder.layers.1.mlp.router.expert"]
    assert len([node for node in model.graph if node.op_type == "Add"]) == additions - 4
    np.testing.assert_allclose(before, run(model, ids, ["pooled"])[0], atol=2e-6)


def test_step_and_gate_weight_multiply_each_other_first(
    moe_graph: ir.Model, run: Callable[..., Any], random_ids: Callable[..., Any]
) -> None:
    model = quantized(moe_graph)
    join_expert_offsets(model)
    ids = random_ids([5, 20, 13])
    before = run(model, ids, ["pooled"])[0]
    assert merge_row_scales(model) == 4  # one per expert
    assert merge_row_scales(model) == 0
    np.testing.assert_allclose(before, run(model, ids, ["pooled"])[0], atol=2e-6)


def test_mixture_of_another_form_keeps_its_additions(moe_graph: ir.Model) -> None:
    model = quantized(moe_graph)
    concat = next(node for node in model.graph
                  if node.op_type == "Concat" and len(node.inputs) == 4
                  and node.outputs[0].consumers()[0].op_type == "Gather")  # fmt: skip
    concat.replace_input_with(0, concat.inputs[1])  # expert 1 twice, expert 0 never
    assert join_expert_offsets(model) == []
