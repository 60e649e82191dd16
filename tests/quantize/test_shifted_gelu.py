"""Shifted GELU codes: the arithmetic of one row, and the whole graph."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedge.quantize.codes import EIGHT_BITS, SEVEN_BITS, ActivationCodes
from embedge.quantize.int8_linear import int8_linears
from embedge.quantize.linears import find_linears
from embedge.quantize.shifted_gelu import compensation, shift_for, shifted_gelu
from embedge.quantize.weights import QuantizedWeight, WeightQuantizer

both_graphs = pytest.mark.parametrize("either_graph", ["dense_graph", "moe_graph"], indirect=True)
both_widths = pytest.mark.parametrize("codes", [EIGHT_BITS, SEVEN_BITS], ids=["8 bits", "7 bits"])


def test_shift_is_the_minimum_of_gelu_until_rows_grow_too_large() -> None:
    assert shift_for(20.0, EIGHT_BITS) == pytest.approx(0.17)
    # 60 units need 1.5 * 60 / 254, and half the codes twice as much.
    assert shift_for(60.0, EIGHT_BITS) == pytest.approx(0.3543307)
    assert shift_for(60.0, SEVEN_BITS) == pytest.approx(0.7142857)


def test_compensation_takes_the_shift_out_of_the_sum() -> None:
    # Codes 3 and -1 with scale 0.5: the column sums to 1.0, so c0 = 0.2 costs -0.2, bias 1.
    weight = QuantizedWeight(ir.tensor([0]), np.array([0.5], np.float32), np.array([2]))
    np.testing.assert_allclose([0.8], compensation(weight, 0.2, np.array([1.0], np.float32)))


def test_one_row_by_hand() -> None:
    # c0 = 0.17 and M = 1.53: z = floor(255 * 0.17 / 1.7) = floor(25.5) = 25, s = 0.17 / 25.
    z = np.floor(np.float32(255 * 0.17) / (np.float32(1.53) + np.float32(0.17)))
    assert z == 25
    step = 0.17 / 25
    row = np.array([1.53, 0.0, -0.1699])
    codes = np.rint(row / step) + 25
    np.testing.assert_array_equal([250, 25, 0], codes)
    assert np.abs(codes * step - 0.17 - row).max() <= step / 2


@both_widths
@given(maximum=st.floats(-0.16, 400), seen=st.floats(0.01, 80))
def test_codes_never_leave_their_range(codes: ActivationCodes, maximum: float, seen: float) -> None:
    c0, m = np.float32(shift_for(seen, codes)), np.float32(maximum)
    z = np.clip(np.floor(np.float32(codes.largest) * c0 / (m + c0)), 1, codes.steps)
    step = max(c0 / z, m * np.float32(1 / (codes.largest - 1)))
    assert np.rint(m / step) + z <= codes.largest
    assert np.rint(np.float32(-0.16998) / step) + z >= 0


@both_graphs
@both_widths
def test_only_linears_behind_a_gelu_change(either_graph: ir.Model, codes: ActivationCodes) -> None:
    before = find_linears(either_graph.graph).found
    gelus = {linear.site for linear in before if linear.kind == "gelu"}
    shifted_gelu(either_graph, dict.fromkeys(gelus, 5.0), codes, WeightQuantizer())
    left = {linear.name for linear in find_linears(either_graph.graph).found}
    assert gelus
    assert left == {linear.name for linear in before if linear.kind != "gelu"}


def test_shift_beats_symmetric_codes() -> None:
    """One linear behind a GELU, both ways, against the float product."""
    rng = np.random.default_rng(4)
    x = rng.standard_normal((200, 64)).astype(np.float32)
    weight = rng.standard_normal((64, 16)).astype(np.float32)
    errors = {}
    for kind in ("shifted", "symmetric"):
        model, names = gelu_and_linear(weight), {"w"}
        exact = evaluate(model, x)
        if kind == "shifted":
            shifted_gelu(model, dict.fromkeys(names, 4.0), SEVEN_BITS, WeightQuantizer())
        int8_linears(model, {}, SEVEN_BITS, WeightQuantizer())
        errors[kind] = np.square(evaluate(model, x) - exact).mean()
    # Nearly one bit, so nearly a quarter of the squared error of the inputs.
    assert errors["shifted"] < 0.4 * errors["symmetric"]


def gelu_and_linear(weight: Any) -> ir.Model:
    x = ir.Value(name="x", shape=ir.Shape(["rows", len(weight)]), type=_FLOAT)
    w = ir.Value(name="w", const_value=ir.tensor(weight, name="w"))
    gelu = ir.node("Gelu", [x])
    product = ir.node("MatMul", [gelu.outputs[0], w])
    y = product.outputs[0]
    y.name, y.type, y.shape = "y", _FLOAT, ir.Shape(["rows", weight.shape[1]])
    imports = {"": 21, "com.microsoft": 1}
    graph = ir.Graph([x], [y], nodes=[gelu, product], initializers=[w], opset_imports=imports)
    return ir.Model(graph, ir_version=10)


def evaluate(model: ir.Model, x: Any) -> Any:
    import onnxruntime

    data = ir.to_proto(model).SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(["y"], {"x": x})[0]


_FLOAT = ir.TensorType(ir.DataType.FLOAT)


@both_graphs
def test_rows_beyond_the_calibrated_maximum_stay_close(
    either_graph: ir.Model, run: Callable[..., Any], random_ids: Callable[..., Any]
) -> None:
    ids = random_ids([12, 30])
    exact = run(either_graph, ids)[0]
    gelus = {linear.site for linear in find_linears(either_graph.graph).found
             if linear.kind == "gelu"}  # fmt: skip
    # Calibrated far too low: rows of several units meet a c0 made for hundredths.
    shifted_gelu(either_graph, dict.fromkeys(gelus, 0.01), EIGHT_BITS, WeightQuantizer())
    assert (run(either_graph, ids)[0] * exact).sum(axis=1).min() > 0.99
