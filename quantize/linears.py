"""Finding the linears of an encoder graph, and the values whose quantization decides each input."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import onnx_ir as ir

from embedge.models.graph_edit import constant, first_input, producer
from embedge.quantize.trace import is_gelu, rank_of
from embedge.quantize.unexplained import unexplained_weights

Kind = Literal["norm", "gelu", "other"]


@dataclass(frozen=True, eq=False)
class Linear:
    """One MatMul or Gemm with a constant weight.

    Attributes:
        name: of its weight; unique in a graph.
        node: the MatMul or Gemm.
        weight: float32, (inputs, outputs), or (outputs, inputs) if `transposed`.
        bias: constant (outputs,), from Gemm or from the Add behind a MatMul.
        output: what the rest of the graph reads, bias included.
        source: the value that is quantized; rows of the linear's input are rows of it.
        gathers: row indices that lead from the source to the input, in order.
        kind: what made the source.
    """

    name: str
    node: ir.Node
    weight: ir.Value
    transposed: bool
    bias: ir.Value | None
    output: ir.Value
    source: ir.Value
    gathers: tuple[ir.Value, ...]
    kind: Kind

    @property
    def sizes(self) -> tuple[int, int]:
        """Numbers of inputs and outputs."""
        tensor = constant(self.weight)
        assert tensor is not None
        rows, columns = (int(size) for size in tensor.shape)  # type: ignore[arg-type]  # constants have fixed shapes
        return (columns, rows) if self.transposed else (rows, columns)

    @property
    def site(self) -> str:
        """Name of the place whose statistics decide the input's scheme.

        A norm gives its own name; linears behind a GELU share one place per layer, because the
        rare expert sees too few calibration tokens to have a maximum of its own.
        """
        if self.kind == "norm":
            return norm_name(self.source)
        head, _, tail = self.name.rpartition(".")
        return head if tail.isdecimal() else self.name


@dataclass(frozen=True)
class Linears:
    """All linears in graph order, and the multiplications that stay in float with the reason."""

    found: Sequence[Linear]
    kept_float: Mapping[str, str] = field(default_factory=dict)

    def by_source(self) -> list[list[Linear]]:
        """Group by the value that is quantized."""
        groups: dict[ir.Value, list[Linear]] = defaultdict(list)
        for linear in self.found:
            groups[linear.source].append(linear)
        return list(groups.values())


def norm_name(source: ir.Value) -> str:
    """Name a LayerNormalization by its scale, without `.weight` and the mark of a twin."""
    node = source.producer()
    scale = None if node is None else node.inputs[1]
    assert scale is not None, f"{source.name} is not the output of a LayerNormalization"
    return str(scale.name).removesuffix(TWIN_SUFFIX).removesuffix(".weight")


TWIN_SUFFIX = ".smoothed"


def find_linears(graph: ir.Graph) -> Linears:
    """List the linears of `graph`; routers stay in float, because a flipped expert costs most.

    A weight that is multiplied in another way is named in `kept_float`, too.
    """
    found, kept = [], dict(unexplained_weights(graph))
    for node in graph:
        if node.op_type not in {"MatMul", "Gemm"} or node.domain:
            continue
        weight = node.inputs[1]
        if weight is None or constant(weight) is None:
            continue  # attention scores and values, pooling
        reason = _float_reason(node)
        if reason:
            kept[str(weight.name)] = reason
        else:
            found.append(_linear(node, weight))
    return Linears(found, kept)


def _float_reason(node: ir.Node) -> str | None:
    tensor = constant(node.inputs[1])
    if tensor is None or tensor.shape.rank() != 2 or tensor.dtype != ir.DataType.FLOAT:
        return "its weight is not a float32 matrix"
    if _reaches_top_k(node.outputs[0]):
        return "router"
    if node.op_type == "Gemm":
        attributes = node.attributes
        plain = all(
            key not in attributes or attributes[key].as_float() == 1.0 for key in ("alpha", "beta")
        )
        if not plain or ("transA" in attributes and attributes["transA"].as_int()):
            return "Gemm with alpha, beta or transA"
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        tensor = constant(bias)
        if bias is not None and (tensor is None or tensor.shape.rank() != 1):
            return "Gemm with a bias that is not a constant vector"
    return None


def _reaches_top_k(value: ir.Value, depth: int = 6) -> bool:
    for node in value.consumers():
        if node.op_type == "TopK":
            return True
        passing = node.op_type in {"Softmax", "Reshape", "Cast", "Identity", "Add", "Mul"}
        if passing and depth and _reaches_top_k(node.outputs[0], depth - 1):
            return True
    return False


def _linear(node: ir.Node, weight: ir.Value) -> Linear:
    transposed = "transB" in node.attributes and bool(node.attributes["transB"].as_int())
    bias = node.inputs[2] if node.op_type == "Gemm" and len(node.inputs) > 2 else None
    output = node.outputs[0]
    if bias is None:
        bias, output = _bias_behind(output)
    source, gathers = _trace_rows(first_input(node))
    name = str(weight.name)
    if len(weight.consumers()) > 1:
        name += f"@{node.name}"
    return Linear(
        name, node, weight, transposed, bias, output, source, gathers, _kind_of(source)
    )  # fmt: skip


def _bias_behind(output: ir.Value) -> tuple[ir.Value | None, ir.Value]:
    consumers = output.consumers()
    if len(consumers) == 1 and consumers[0].op_type == "Add" and not output.is_graph_output():
        add = consumers[0]
        for operand in add.inputs:
            tensor = constant(operand)
            if operand is not output and tensor is not None and tensor.shape.rank() == 1:
                return operand, add.outputs[0]
    return None, output


def _trace_rows(x: ir.Value) -> tuple[ir.Value, tuple[ir.Value, ...]]:
    """Walk from a linear's input to the value of which it is a selection of rows."""
    gathers: list[ir.Value] = []
    value = x
    while True:
        node = producer(value, "Gather", "Reshape", "Identity")
        if node is None:
            break
        if node.op_type == "Gather":
            indices = node.inputs[1]
            axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
            if axis != 0 or rank_of(first_input(node)) != 2 or indices is None:
                break
            if constant(first_input(node)) is not None or rank_of(indices) != 1:
                break
            gathers.insert(0, indices)
        elif node.op_type == "Reshape" and not _flattens_rows(node):
            break
        value = first_input(node)
    return value, tuple(gathers)


def _flattens_rows(reshape: ir.Node) -> bool:
    """Say whether a Reshape to two dimensions keeps the last one, i.e. only joins the others."""
    target = constant(reshape.inputs[1])
    source = first_input(reshape)
    if target is None or target.shape.rank() != 1 or target.size != 2:
        return False
    width = int(target.numpy()[1])
    return width == _width_of(source)


def _width_of(value: ir.Value) -> int | None:
    if value.shape is not None and isinstance(value.shape[-1], int):
        return value.shape[-1]
    norm = producer(value, "LayerNormalization")
    scale = constant(norm.inputs[1]) if norm is not None else None
    return None if scale is None else int(scale.shape[-1])  # type: ignore[arg-type]  # constants have fixed shapes


def _kind_of(source: ir.Value) -> Kind:
    norm = producer(source, "LayerNormalization")
    if norm is not None and constant(norm.inputs[1]) is not None and _over_last_axis(norm):
        return "norm"
    return "gelu" if is_gelu(source) else "other"


def _over_last_axis(norm: ir.Node) -> bool:
    axis = norm.attributes["axis"].as_int() if "axis" in norm.attributes else -1
    return axis == -1 or axis + 1 == rank_of(norm.outputs[0])
