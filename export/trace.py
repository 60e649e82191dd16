"""Records the whole graph: token ids and mask in, pooled and unit vectors out."""

from collections.abc import Mapping
from typing import Literal, cast

import onnx_ir as ir
from onnxscript import GraphBuilder, OpBuilder

from embedge.export.contrib_ops import CONTRIB, ContribAttention
from embedge.export.standard_ops import StandardAttention
from embedge.models.checkpoint import Checkpoint
from embedge.models.config import EncoderConfig
from embedge.models.encoder import AttentionForm, Encoder
from embedge.models.graph_file import Blocks, BlockTensor
from embedge.models.weight import Weight

Flavor = Literal["ort", "standard"]
FLAVORS: tuple[Flavor, ...] = ("ort", "standard")

DEFAULT_OPSET = 21
# Gelu came with opset 20; the runtime's kernels were checked up to 23.
OPSETS = (20, 21, 22, 23)
_IR_VERSION = 10

_INPUTS: Mapping[str, str] = {
    "input_ids": "Token ids of the model's tokenizer, prefix and special tokens included, "
    "right-padded with the pad id.",
    "attention_mask": "1 for a token, 0 for padding.",
}


def trace(
    config: EncoderConfig,
    dim: int,
    *,
    max_tokens: int,
    flavor: Flavor = "ort",
    opset: int = DEFAULT_OPSET,
) -> ir.Model:
    """Record the graph of a model that gives vectors of `dim` features; weights stay unbound.

    Inputs are int64 (batch, sequence); outputs `embedding` (batch, dim), cut and unit length, and
    `pooled` (batch, hidden), the mean of the hidden states before both.
    """
    imports = {"": opset} | ({CONTRIB: 1} if flavor == "ort" else {})
    graph = ir.Graph([], [], nodes=[], opset_imports=imports, name="embedding_model")
    builder = GraphBuilder(graph)
    op = builder.op
    ids, mask = (builder.input(name, ir.DataType.INT64, ["batch", "sequence"]) for name in _INPUTS)
    for value in (ids, mask):
        value.doc_string = _INPUTS[cast(str, value.name)]
    attention: AttentionForm = (
        ContribAttention(config, max_tokens)
        if flavor == "ort"
        else StandardAttention(config, max_tokens)
    )
    hidden = Encoder(config, attention)(op, ids, mask)
    pooled = _mean_pool(op, hidden, ids, mask, config.hidden)
    embedding = _cut_and_normalise(op, pooled, dim, config.hidden)
    _declare_output(builder, embedding, "embedding", dim, "First features, unit length.")
    _declare_output(builder, pooled, "pooled", config.hidden, "Mean over the tokens.")
    for node in graph:
        # The path of a node is in its name already.
        node.metadata_props.clear()
    return ir.Model(graph, ir_version=_IR_VERSION, producer_name="embedge")


def _mean_pool(
    op: OpBuilder, hidden: ir.Value, ids: ir.Value, mask: ir.Value, features: int
) -> ir.Value:
    """Mean over the real tokens: (tokens, hidden) -> (batch, hidden).

    A product with the mask instead of a reduction: its result does not depend on the batch size.
    """
    shape = op.Concat(op.Shape(ids), [features], axis=0)
    x = op.Reshape(hidden, shape)
    x.name = "last_hidden_state"
    real = op.Cast(mask, to=ir.DataType.FLOAT)
    total = op.MatMul(op.Unsqueeze(real, [1]), x)  # (batch, 1, hidden)
    count = op.Max(op.ReduceSum(real, [1], keepdims=1), 1e-9)  # (batch, 1)
    return cast(ir.Value, op.Div(op.Squeeze(total, [1]), count))


def _cut_and_normalise(op: OpBuilder, pooled: ir.Value, dim: int, hidden: int) -> ir.Value:
    """Keep the first `dim` features, then scale to unit length; no layer norm in between."""
    x = pooled if dim == hidden else op.Slice(pooled, [0], [dim], [1])
    return cast(ir.Value, op.LpNormalization(x, p=2, axis=-1))


def _declare_output(
    builder: GraphBuilder, value: ir.Value, name: str, features: int, meaning: str
) -> None:
    value.shape = ir.Shape(["batch", features])
    value.type = ir.TensorType(ir.DataType.FLOAT)
    value.doc_string = meaning
    builder.add_output(value, name)


def bind_weights(model: ir.Model, checkpoint: Checkpoint) -> None:
    """Connect every constant of a traced graph to its checkpoint tensor; nothing is read yet."""
    for name, value in model.graph.initializers.items():
        if isinstance(value, Weight):
            value.const_value = BlockTensor(
                _reader(value, checkpoint), ir.DataType.FLOAT, value.sizes, name=name
            )


def _reader(weight: Weight, checkpoint: Checkpoint) -> Blocks:
    return lambda: weight.blocks(checkpoint.tensor)
