"""A graph that another tool wrote, brought into the form that the rest of embedge reads.

In: token ids, a mask and perhaps token types, any number of outputs, weights named by counters.
Out: ids and mask, one value of hidden states, weights named by their place, layer norms as one
operator each.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir

from embedge.export.dense_norms import join_layer_norms
from embedge.export.fused_forms import open_fused
from embedge.models.errors import ConfigError
from embedge.models.graph_edit import GraphEdit, constant, first_input, remove_unused
from embedge.models.graph_file import EXTERNAL_BYTES, read_graph

IDS, MASK, TYPES = "input_ids", "attention_mask", "token_type_ids"

# The quantizer's operators take their axes as inputs, as the standard does since then.
_LEAST_OPSET = 18
_CONVERTED_OPSET = 21

_QUANTIZED = frozenset((
    "ConvInteger", "DequantizeLinear", "DynamicQuantizeLinear", "DynamicQuantizeMatMul",
    "MatMulInteger", "MatMulIntegerToFloat", "MatMulNBits", "QAttention", "QLinearMatMul", "QGemm",
    "QuantizeLinear",
))  # fmt: skip
# What exporters call hidden states, best known first.
_HIDDEN_NAMES = ("last_hidden_state", "token_embeddings", "hidden_states", "output_0")
_HALF = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


def read_dense_graph(path: Path, hidden: int) -> tuple[ir.Model, ir.Value]:
    """Read the proto at `path`; returns the graph without outputs, and its hidden states.

    Args:
        path: `model.onnx`; weights may lie beside it.
        hidden: features of a hidden state, as the config says.

    Raises:
        ConfigError: the graph is quantized, holds half precision, wants other inputs, or gives no
            hidden states of that width; names the node or value.
        BundleError: the file is not an ONNX graph.
    """
    model = read_graph(path)
    for value in [v for v in model.graph.inputs if v.name in model.graph.initializers]:
        model.graph.inputs.remove(value)  # old files list their weights as inputs, too
    problems = [*_operator_problems(model.graph), *_input_problems(model.graph)]
    if problems:
        raise ConfigError(f"{path} would be computed wrongly: {'; '.join(problems)}")
    if model.graph.opset_imports.get("", 0) < _LEAST_OPSET:
        model = _converted(model, path)
    # Shapes among them are read when the graph is checked, before any weight file is.
    _in_memory(model, EXTERNAL_BYTES)
    open_fused(model)
    states = _hidden_states(model.graph, path)
    model.graph.outputs.clear()
    _without_token_types(model.graph)
    _without_identities(model.graph, states)
    remove_unused_but(model.graph, states)
    _name_weights(model.graph)
    states = join_layer_norms(model, states)
    _require_width(states, hidden, path)
    for node in model.graph:
        node.metadata_props.clear()  # source lines of the exporting machine
        node.doc_string = None
    return model, states


def _without_identities(graph: ir.Graph, kept: ir.Value) -> None:
    """Read weights themselves: exporters write equal ones once and point to them."""
    for node in graph:
        if node.op_type == "Identity" and node.outputs[0] is not kept:
            ir.convenience.replace_all_uses_with(node.outputs[0], first_input(node))


def remove_unused_but(graph: ir.Graph, kept: ir.Value) -> None:
    """Drop what `kept` does not need."""
    graph.outputs.append(kept)
    remove_unused(graph)
    graph.outputs.clear()


def _operator_problems(graph: ir.Graph) -> Iterator[str]:
    quantized = [node for node in graph if node.op_type in _QUANTIZED]
    if quantized:
        first = quantized[0]
        yield (
            f"it is quantized already (node {first.name}, {first.op_type}); give the float32 graph"
        )
    halves = [n for n, v in graph.initializers.items() if v.dtype in _HALF]
    if halves:
        yield f"{len(halves)} constants are half precision ({halves[0]}, ...); give the float32 one"


def _input_problems(graph: ir.Graph) -> Iterator[str]:
    names = [str(value.name) for value in graph.inputs]
    for needed in (IDS, MASK):
        if needed not in names:
            yield f"it has no input {needed}, only {', '.join(names)}"
    for name in names:
        if name not in (IDS, MASK, TYPES):
            yield f"its input {name} is none that we can fill"


def _converted(model: ir.Model, path: Path) -> ir.Model:
    """Bring an old graph to a newer opset with ONNX's own converter."""
    import onnx.version_converter

    had = model.graph.opset_imports.get("")
    try:
        proto = onnx.version_converter.convert_version(
            ir.to_proto(_in_memory(model)), _CONVERTED_OPSET
        )
    except Exception as error:  # the converter raises its own kinds; chained
        raise ConfigError(
            f"{path} has opset {had} and cannot be brought to {_CONVERTED_OPSET}: {error}. Export "
            f"it again with opset {_LEAST_OPSET} or newer."
        ) from error
    return ir.from_proto(proto)


def _in_memory(model: ir.Model, below: float = float("inf")) -> ir.Model:
    """Read constants of fewer bytes than `below` from the weight file."""
    for name, value in model.graph.initializers.items():
        tensor = constant(value)
        if isinstance(tensor, ir.ExternalTensor) and tensor.nbytes < below:
            value.const_value = ir.tensor(np.array(tensor.numpy()), name=name)
    return model


def _hidden_states(graph: ir.Graph, path: Path) -> ir.Value:
    outputs = {str(value.name): value for value in graph.outputs}
    candidates = [outputs[name] for name in _HIDDEN_NAMES if name in outputs]
    candidates += [v for v in graph.outputs if v.shape is not None and v.shape.rank() == 3]
    for value in candidates:
        if value.shape is None or value.shape.rank() == 3:
            return value
    raise ConfigError(
        f"{path} gives {', '.join(outputs)}, expected hidden states of shape (batch, sequence, "
        f"features), such as last_hidden_state. Export it for the task feature-extraction."
    )


def _require_width(states: ir.Value, hidden: int, path: Path) -> None:
    width = None if states.shape is None else states.shape[-1]
    if isinstance(width, int) and width != hidden:
        raise ConfigError(
            f"{path} gives {width} features, config.json says hidden_size {hidden}; take both "
            f"from one model"
        )
    states.shape = ir.Shape(["batch", "sequence", hidden])
    states.type = ir.TensorType(ir.DataType.FLOAT)


def _without_token_types(graph: ir.Graph) -> None:
    """Replace the input of token types by its value for a single text: zero everywhere.

    A row chosen by it becomes that constant row, which broadcasts to the same sums.
    """
    edit = GraphEdit(graph)
    found = [value for value in graph.inputs if value.name == TYPES]
    for types in found:
        for gather in [node for node in types.consumers() if node.op_type == "Gather"]:
            table, output = constant(gather.inputs[0]), gather.outputs[0]
            readers = output.consumers()
            if table is None or any(node.op_type != "Add" for node in readers):
                continue
            row = edit.constant(f"{first_input(gather).name}.0", table.numpy()[0])
            ir.convenience.replace_all_uses_with(output, row)
        if types.uses():
            ids = next(value for value in graph.inputs if value.name == IDS)
            shape = edit.op("Shape", [ids], "token_types.shape")
            zero = ir.tensor(np.zeros(1, np.int64))
            zeros = edit.op("ConstantOfShape", [shape], "token_types.zeros", value=zero)
            if types.dtype == ir.DataType.INT32:
                zeros = edit.op("Cast", [zeros], "token_types.int32", to=int(ir.DataType.INT32))
            ir.convenience.replace_all_uses_with(types, zeros)
        graph.inputs.remove(types)
    graph.sort()
    _widen_inputs(edit)


def _widen_inputs(edit: GraphEdit) -> None:
    """Let 32-bit inputs take the 64-bit ids that we feed."""
    for value in list(edit.graph.inputs):
        if value.dtype != ir.DataType.INT32:
            continue
        value.type = ir.TensorType(ir.DataType.INT64)
        readers = list(value.uses())
        narrow = edit.op("Cast", [value], f"{value.name}.int32", to=int(ir.DataType.INT32))
        for use in readers:
            use.node.replace_input_with(use.idx, narrow)
    edit.graph.sort()


# Exporters that transpose or fold a weight give it a counter for a name.
_COUNTED = re.compile(r"(onnx::\w+_\d+|val_\d+|\d+|_v_\d+|.*_output_\d+)")


def _name_weights(graph: ir.Graph) -> None:
    """Name the matrices of linears by the bias behind them, or by the path of their node."""
    taken = set(graph.initializers)
    for node in graph:
        if node.op_type not in {"MatMul", "Gemm"} or len(node.inputs) < 2:
            continue
        weight = node.inputs[1]
        if weight is None or not weight.is_initializer():
            continue
        if _COUNTED.fullmatch(str(weight.name)) is None or len(weight.consumers()) > 1:
            continue
        name = _place_of(node)
        if name and name not in taken:
            taken.add(name)
            _rename(graph, weight, name)


def _rename(graph: ir.Graph, value: ir.Value, name: str) -> None:
    del graph.initializers[str(value.name)]
    value.name = name
    if value.const_value is not None:
        value.const_value.name = name
    graph.register_initializer(value)


def _place_of(node: ir.Node) -> str | None:
    biases = [*node.inputs[2:3]]
    for reader in node.outputs[0].consumers():
        biases += reader.inputs if reader.op_type == "Add" else ()
    for bias in biases:
        if bias is not None and bias.is_initializer() and str(bias.name).endswith(".bias"):
            return f"{str(bias.name).removesuffix('.bias')}.weight"
    path = (node.name or "").strip("/").split("/")
    return ".".join([*path[:-1], "weight"]) if len(path) > 1 else None
