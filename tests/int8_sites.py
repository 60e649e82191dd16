"""Every integer product of an int8 graph, computed a second time in numpy from its own input."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from embedge.models.graph_file import read_graph

F = np.float32
Array = NDArray[Any]


@dataclass(frozen=True)
class Site:
    """One product: the linear's name, what numpy expects, and what the graph gave."""

    name: str
    method: str
    expected: Array
    found: Array


def sites_of(bundle: Path, bits: int, ids: Array, mask: Array) -> list[Site]:
    """Run the graph for 8 or 7 bits and simulate each of its products on identical inputs."""
    graph = read_graph(bundle / ("model.onnx" if bits == 8 else "model-avx2.onnx"))
    schemes = json.loads((bundle / "embedge.json").read_text())["calibration"]["sites"]
    products = [node for node in graph.graph if node.op_type == "MatMulIntegerToFloat"]
    wanted = [(_float_source(node), node.outputs[0]) for node in products]
    values = _run(graph, [v for pair in wanted for v in pair], ids, mask)
    return [
        _simulate(node, values[str(x.name)], values[str(y.name)], schemes, bits)
        for node, (x, y) in zip(products, wanted, strict=True)
    ]


def _float_source(product: ir.Node) -> ir.Value:
    value = product.inputs[0]
    while value is not None:
        node = value.producer()
        assert node is not None
        value = node.inputs[0]
        if node.op_type == "QuantizeLinear":
            break
    assert value is not None
    return value


def _run(graph: ir.Model, wanted: Sequence[ir.Value], ids: Array, mask: Array) -> dict[str, Array]:
    import onnxruntime

    names = list(dict.fromkeys(str(value.name) for value in wanted))
    for value in wanted:
        value.type = value.type or ir.TensorType(ir.DataType.FLOAT)
        if not any(value is output for output in graph.graph.outputs):
            graph.graph.outputs.append(value)
    for name, value in graph.graph.initializers.items():
        assert value.const_value is not None
        value.const_value = ir.tensor(np.array(value.const_value.numpy()), name=name)
    session = onnxruntime.InferenceSession(
        ir.to_proto(graph).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    outputs = session.run(names, {"input_ids": ids, "attention_mask": mask})
    return dict(zip(names, outputs, strict=True))


def _simulate(product: ir.Node, x: Array, y: Array, schemes: Any, bits: int) -> Site:
    codes, scale = _constant(product, 1).astype(np.float64), _constant(product, 3)
    name = str(product.inputs[1].name).removesuffix(".int8")  # type: ignore[union-attr]  # constant
    largest, zero, steps = (255, 128, 127) if bits == 8 else (127, 64, 63)
    if float(_constant(product, 2)) != 1.0:
        step = F(_constant(product, 2))
        q = np.clip(np.rint(x / step) + zero, 0, largest) - zero
        bias = _constant(product, 6) if len(product.inputs) > 6 else 0.0
        return Site(name, "static", (q @ codes) * scale * step + bias, y)
    scheme = schemes.get(name, {"method": "row"})
    if scheme["method"] != "shifted":
        step = np.maximum(np.abs(x).max(axis=1, keepdims=True), F(1e-8)) * F(1 / steps)
        return Site(name, "row", (np.rint(x / step) @ codes) * scale, y)
    c0 = F(scheme["shift" if bits == 8 else "shift_7_bits"])
    m = x.max(axis=1, keepdims=True)
    z = np.clip(np.floor(F(largest * float(c0)) / (m + c0)), 1, steps)
    step = np.maximum(c0 / z, m * F(1 / (largest - 1)))
    return Site(name, "shifted", ((np.rint(x / step) + z) @ codes) * scale, y)


def _constant(product: ir.Node, index: int) -> Array:
    value = product.inputs[index]
    assert value is not None
    assert value.const_value is not None
    return np.array(value.const_value.numpy())


def worst(sites: Sequence[Site]) -> Iterator[tuple[str, float]]:
    """Give the largest difference of each product, as part of its largest magnitude."""
    for site in sites:
        difference = np.abs(site.expected - site.found).max()
        yield site.name, float(difference / max(1.0, np.abs(site.found).max()))
