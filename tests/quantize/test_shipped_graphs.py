"""What every int8 graph must never hold, and what its results must never depend on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from embedge.models.graph_file import read_graph

GRAPHS = ("model.onnx", "model-16.onnx", "model-avx2.onnx", "model-avx2-16.onnx")
BUNDLES = ("tiny_int8", "tiny_learned_int8", "tiny_standard_int8")


@pytest.fixture(params=[(bundle, graph) for bundle in BUNDLES for graph in GRAPHS],
                ids=lambda pair: "/".join(pair))  # fmt: skip
def graph(request: pytest.FixtureRequest) -> ir.Model:
    bundle, file = request.param
    return read_graph(request.getfixturevalue(bundle) / file)


def test_no_graph_holds_a_slow_or_batch_dependent_operator(graph: ir.Model) -> None:
    ops = {node.op_type for node in graph.graph}
    assert not {op for op in ops if op.startswith("Dynamic")}
    assert "DequantizeLinear" not in ops
    assert not ops & {"SkipLayerNormalization", "MoE", "QMoE", "MatMulNBits"}


def test_weights_are_int8_and_routers_float(graph: ir.Model) -> None:
    products = [n for n in graph.graph if n.op_type in ("MatMulInteger", "MatMulIntegerToFloat")]
    assert len(products) == 18
    for product in products:
        weight = product.inputs[1]
        assert weight is not None
        assert weight.dtype == ir.DataType.INT8
    for value in graph.graph.initializers.values():
        if value.dtype == ir.DataType.UINT8:
            assert value.shape is not None
            assert value.shape.rank() == 0
    router = graph.graph.initializers["encoder.layers.1.mlp.router.layer.weight"]
    assert router.dtype == ir.DataType.FLOAT
    assert [node.op_type for node in router.consumers()] == ["MatMul"]


def test_no_float_matrix_is_left_behind(graph: ir.Model) -> None:
    allowed = (
        "router.layer.weight", "position_embeddings.weight", "rotary.cos", "rotary.sin",
        ".scale", ".offsets",
    )  # fmt: skip
    for name, value in graph.graph.initializers.items():
        if value.dtype == ir.DataType.FLOAT and value.shape is not None:
            assert value.shape.rank() < 2 or name.endswith(allowed), name


def test_attention_always_has_its_mask(graph: ir.Model) -> None:
    for node in graph.graph:
        if node.op_type == "MultiHeadAttention":
            assert node.inputs[4] is not None


def test_standard_graph_has_standard_operators_only(tiny_standard_int8: Path) -> None:
    for file in GRAPHS:
        model = read_graph(tiny_standard_int8 / file)
        assert set(model.graph.opset_imports) == {""}
        assert {node.domain for node in model.graph} == {""}
        assert "MatMulInteger" in {node.op_type for node in model.graph}


def test_standard_and_ort_graphs_agree(
    tiny_int8: Path,
    tiny_standard_int8: Path,
    run: Callable[..., Any],
    random_ids: Callable[..., Any],
) -> None:
    ids = random_ids([5, 20, 33], vocabulary=600)
    for file in ("model.onnx", "model-avx2.onnx"):
        ort, standard = (
            run(read_graph(bundle / file), ids)[0] for bundle in (tiny_int8, tiny_standard_int8)
        )
        # Attention sums in another order, so single codes may turn.
        assert (ort * standard).sum(axis=1).min() > 0.9995


def test_standard_graph_runs_in_the_reference_evaluator(
    tiny_standard_int8: Path, run: Callable[..., Any], random_ids: Callable[..., Any]
) -> None:
    from onnx.reference import ReferenceEvaluator

    model = read_graph(tiny_standard_int8 / "model.onnx")
    ids = random_ids([7, 12], vocabulary=600)
    inputs = {"input_ids": ids, "attention_mask": (ids != 1).astype(np.int64)}
    for value in model.graph.initializers.values():
        assert value.const_value is not None
        value.const_value = ir.tensor(np.array(value.const_value.numpy()), name=value.name)
    expected = ReferenceEvaluator(ir.to_proto(model)).run(["embedding"], inputs)[0]
    assert (expected * run(model, ids, ["embedding"])[0]).sum(axis=1).min() > 0.9995


@pytest.mark.parametrize("file", GRAPHS)
@pytest.mark.parametrize("bundle", BUNDLES[:2])
def test_vector_depends_on_its_text_alone(
    request: pytest.FixtureRequest,
    bundle: str,
    file: str,
    run: Callable[..., Any],
    random_ids: Callable[..., Any],
) -> None:
    model = read_graph(request.getfixturevalue(bundle) / file)
    ids = random_ids([9, 3, 60, 17, 17, 40], vocabulary=600)
    together = run(model, ids, ["embedding"])[0]
    order = [4, 2, 0, 5, 1, 3]
    np.testing.assert_array_equal(together[order], run(model, ids[order], ["embedding"])[0])
    split = [run(model, part, ["embedding"])[0] for part in (ids[:2], ids[2:])]
    np.testing.assert_array_equal(together, np.concatenate(split))
    for padding in (1, 8, 130):
        wide = np.concatenate([ids, np.ones((len(ids), padding), np.int64)], axis=1)
        np.testing.assert_array_equal(together, run(model, wide, ["embedding"])[0])
    for row in range(len(ids)):
        alone = ids[row : row + 1, : int((ids[row] != 1).sum())]
        np.testing.assert_array_equal(together[row], run(model, alone, ["embedding"])[0][0])
    np.testing.assert_array_equal(together, run(model, ids, ["embedding"], threads=2)[0])


def test_seven_bit_codes_cannot_saturate_sixteen_bits(
    tiny_int8: Path, run: Callable[..., Any], random_ids: Callable[..., Any]
) -> None:
    """Emulate vpmaddubsw: the sum of two neighbouring products has 16 bits with saturation."""
    bounds = {}
    for file in ("model.onnx", "model-avx2.onnx"):
        model = read_graph(tiny_int8 / file)
        codes, weights = _codes_and_weights(model, run, random_ids([40, 25], vocabulary=600))
        bounds[file] = max(
            int(_largest_pair(c, w)) for c, w in zip(codes, weights, strict=True)
        )  # fmt: skip
        largest = max(int(c.max(initial=0)) for c in codes)
        assert largest <= (255 if file == "model.onnx" else 127)
    assert bounds["model-avx2.onnx"] <= 2 * 127 * 127 < 2**15
    assert bounds["model.onnx"] > bounds["model-avx2.onnx"]


def _codes_and_weights(model: ir.Model, run: Any, ids: Any) -> tuple[list[Any], list[Any]]:
    products = [n for n in model.graph if n.op_type == "MatMulIntegerToFloat"]
    inputs = [node.inputs[0] for node in products]
    for value in inputs:
        assert value is not None
        value.type = ir.TensorType(ir.DataType.UINT8)
        if not value.is_graph_output():
            model.graph.outputs.append(value)
    codes = run(model, ids, [str(value.name) for value in inputs if value is not None])
    weights = [np.array(n.inputs[1].const_value.numpy()) for n in products]  # type: ignore[union-attr]  # constants
    return codes, weights


def _largest_pair(codes: Any, weight: Any) -> Any:
    c, w = codes.astype(np.int64), weight.astype(np.int64)
    pairs = c[:, ::2, None] * w[None, ::2] + c[:, 1::2, None] * w[None, 1::2]
    return np.abs(pairs).max() if pairs.size else 0


def test_seven_bit_graph_has_a_step_per_row_everywhere(tiny_int8: Path) -> None:
    constant = {}
    for file in ("model.onnx", "model-avx2.onnx"):
        nodes = [n for n in read_graph(tiny_int8 / file).graph if n.op_type == "QuantizeLinear"]
        constant[file] = [n for n in nodes if "axis" not in n.attributes]
    assert constant["model.onnx"]
    assert not constant["model-avx2.onnx"]
