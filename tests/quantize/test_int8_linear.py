"""INT8 linears alone: right numbers, right operators, independent rows."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from embedge.quantize.codes import EIGHT_BITS, SEVEN_BITS, ActivationCodes
from embedge.quantize.int8_linear import int8_linears
from embedge.quantize.linears import find_linears
from embedge.quantize.weights import WeightQuantizer

both_graphs = pytest.mark.parametrize("either_graph", ["dense_graph", "moe_graph"], indirect=True)
both_widths = pytest.mark.parametrize("codes", [EIGHT_BITS, SEVEN_BITS], ids=["8 bits", "7 bits"])


def one_linear(weight: Any, bias: Any, *, contrib: bool = True, rank: int = 2) -> ir.Model:
    """A graph of one Gemm or, for three dimensions, one MatMul and Add."""
    rows = ["rows"] if rank == 2 else ["batch", "sequence"]
    x = ir.Value(name="x", shape=ir.Shape([*rows, len(weight)]), type=_FLOAT)
    constants = [
        ir.Value(name=name, const_value=ir.tensor(np.asarray(values, np.float32), name=name))
        for name, values in (("w", weight), ("b", bias))
    ]
    if rank == 2:
        nodes = [ir.node("Gemm", [x, *constants])]
    else:
        product = ir.node("MatMul", [x, constants[0]])
        nodes = [product, ir.node("Add", [product.outputs[0], constants[1]])]
    y = nodes[-1].outputs[0]
    y.name, y.type, y.shape = "y", _FLOAT, ir.Shape([*rows, len(bias)])
    imports = {"": 21} | ({"com.microsoft": 1} if contrib else {})
    graph = ir.Graph([x], [y], nodes=nodes, initializers=constants, opset_imports=imports)
    return ir.Model(graph, ir_version=10)


_FLOAT = ir.TensorType(ir.DataType.FLOAT)


def evaluate(model: ir.Model, x: Any) -> Any:
    import onnxruntime

    data = ir.to_proto(model).SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(["y"], {"x": np.asarray(x, np.float32)})[0]


def test_row_step_is_its_largest_magnitude_over_127() -> None:
    # Row (2.54, -0.03): step 0.02, codes 127 and -2 (1.5 rounds to even); identity weights with
    # step 1/127 hold 127, so y = 0.02 / 127 * 127 * (127, -2) + bias.
    model = one_linear(np.eye(2), [0.0, 1.0])
    per_row = int8_linears(model, {}, EIGHT_BITS, WeightQuantizer())
    assert per_row == ["w"]
    np.testing.assert_allclose([[2.54, 0.96]], evaluate(model, [[2.54, -0.03]]), atol=1e-6)


def test_constant_range_clips_what_lies_beyond_it() -> None:
    # Range 1.27, step 0.01: 0.504 becomes 50 steps, 3.0 is cut to 127 of them.
    model = one_linear(np.eye(2), [0.0, 0.0])
    per_row = int8_linears(model, {"w": 1.27}, EIGHT_BITS, WeightQuantizer())
    assert per_row == []
    np.testing.assert_allclose([[0.5, 1.27]], evaluate(model, [[0.504, 3.0]]), atol=1e-6)


def test_seven_bits_have_63_steps_and_clip_there() -> None:
    model = one_linear(np.eye(2), [0.0, 0.0])
    int8_linears(model, {"w": 6.3}, SEVEN_BITS, WeightQuantizer())
    np.testing.assert_allclose([[0.5, 6.3]], evaluate(model, [[0.54, 99.0]]), atol=1e-6)


def test_row_of_zeros_gives_the_bias() -> None:
    model = one_linear(np.eye(2), [0.25, -1.0])
    int8_linears(model, {}, EIGHT_BITS, WeightQuantizer())
    np.testing.assert_array_equal([[0.25, -1.0]], evaluate(model, [[0.0, 0.0]]))


@pytest.mark.parametrize("contrib", [True, False], ids=["ort", "standard"])
@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("ranges", [{}, {"w": 4.0}], ids=["row", "static"])
@both_widths
def test_product_equals_numpy(
    codes: ActivationCodes, ranges: dict[str, float], rank: int, contrib: bool
) -> None:
    rng = np.random.default_rng(3)
    w, b = rng.standard_normal((24, 10)).astype(np.float32), rng.standard_normal(10)
    x = rng.standard_normal((2, 5, 24) if rank == 3 else (5, 24)).astype(np.float32)
    model = one_linear(w, b, contrib=contrib, rank=rank)
    int8_linears(model, ranges, codes, WeightQuantizer())
    steps, zero = (127, 128) if codes.bits == 8 else (63, 64)
    sw = np.abs(w).max(axis=0) / np.float32(127)
    wq = np.rint(w / sw).astype(np.int64)
    largest = np.float32(ranges["w"]) if ranges else np.abs(x).max(axis=-1, keepdims=True)
    step = largest / np.float32(steps)
    q = np.clip(np.rint(x / step), -zero, steps).astype(np.int64)
    expected = step * sw * (q @ wq) + b
    np.testing.assert_allclose(expected, evaluate(model, x), atol=1e-5)
    domains = {node.domain for node in model.graph}
    assert domains == ({"", "com.microsoft"} if contrib else {""})


@both_graphs
@both_widths
def test_every_linear_but_the_router_becomes_an_integer_product(
    either_graph: ir.Model, codes: ActivationCodes
) -> None:
    before = find_linears(either_graph.graph)
    per_row = int8_linears(either_graph, {}, codes, WeightQuantizer())
    assert sorted(per_row) == sorted(linear.name for linear in before.found)
    products = [n for n in either_graph.graph if n.op_type == "MatMulIntegerToFloat"]
    assert len(products) == len(before.found) >= 12
    assert not find_linears(either_graph.graph).found
    assert set(before.kept_float.values()) <= {"router"}


@both_graphs
def test_quantized_graph_stays_close_to_the_float_graph(
    either_graph: ir.Model, run: Callable[..., Any], random_ids: Callable[..., Any]
) -> None:
    ids = random_ids([4, 12, 30])
    before = run(either_graph, ids)[0]
    int8_linears(either_graph, {}, EIGHT_BITS, WeightQuantizer())
    after = run(either_graph, ids)[0]
    assert (before * after).sum(axis=1).min() > 0.99
    assert np.abs(before - after).max() > 1e-5  # it did quantize


@both_graphs
@both_widths
def test_row_is_the_same_beside_an_outlier(
    either_graph: ir.Model,
    codes: ActivationCodes,
    run: Callable[..., Any],
    random_ids: Callable[..., Any],
) -> None:
    int8_linears(either_graph, {}, codes, WeightQuantizer())
    ids = random_ids([9, 9, 31, 9])
    together = run(either_graph, ids)[0]
    for row in range(len(ids)):
        real = ids[row : row + 1, : int((ids[row] != 1).sum())]
        alone = run(either_graph, real)[0]
        np.testing.assert_array_equal(together[row], alone[0])


def test_gemm_that_cannot_be_explained_stays_float_and_is_named() -> None:
    model = one_linear(np.eye(2), [0.0, 0.0])
    gemm = next(iter(model.graph))
    gemm.attributes["alpha"] = ir.AttrFloat32("alpha", 2.0)
    int8_linears(model, {}, EIGHT_BITS, WeightQuantizer())
    assert [node.op_type for node in model.graph] == ["Gemm"]
    assert find_linears(model.graph).kept_float == {"w": "Gemm with alpha, beta or transA"}
