"""ONNX Runtime's fused operators, opened again into the parts that the quantizer works on.

Files that were optimized before they were published hold a layer in four operators of
`com.microsoft`. Inside them a weight would stay in float and a norm could not be smoothed; opened,
they compute the same, and the runtime joins again what is worth joining.

Definitions: ContribOperators.md of ONNX Runtime. A node whose options go beyond the forms handled
here stays as it is, and the quantizer names its weights.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from embedge.models.graph_edit import CONTRIB, GraphEdit, constant, producer

_MASK = "attention_mask"


@dataclass(frozen=True)
class _Node:
    """A fused node while it is opened: its inputs, options, and the name of its parts."""

    edit: GraphEdit
    node: ir.Node
    name: str

    def input(self, index: int) -> ir.Value | None:
        """Return an input, None where it is left out."""
        return self.node.inputs[index] if index < len(self.node.inputs) else None

    def needed(self, index: int) -> ir.Value:
        """Return an input that the operator cannot do without."""
        value = self.input(index)
        assert value is not None, f"{self.node.op_type} {self.node.name} lacks input {index}"
        return value

    def number(self, name: str, default: float) -> float:
        """Return a float option."""
        attribute = self.node.attributes.get(name)
        return default if attribute is None else attribute.as_float()

    def whole(self, name: str) -> int:
        """Return an integer option, 0 where it is left out."""
        attribute = self.node.attributes.get(name)
        return 0 if attribute is None else attribute.as_int()

    def op(
        self, kind: str, inputs: list[ir.Value | None], part: str, **options: float | int
    ) -> ir.Value:
        """Add a part."""
        return self.edit.op(kind, inputs, f"{self.name}.{part}", domain="", **options)

    def uses(self, index: int) -> bool:
        """Say whether something reads an output."""
        outputs = self.node.outputs
        return index < len(outputs) and bool(outputs[index].uses())

    def put(self, index: int, value: ir.Value) -> None:
        """Let the readers of an output read `value`."""
        old = self.node.outputs[index]
        value.shape, value.type = old.shape, old.type
        self.edit.replace(old, value)


def open_fused(model: ir.Model) -> None:
    """Replace the fused operators of a BERT-like graph, in place; its outputs keep their names."""
    edit = GraphEdit(model.graph)
    nodes = [node for node in model.graph if node.domain == CONTRIB and node.op_type in _OPENERS]
    for node in nodes:
        name = (node.name or str(node.outputs[0].name)).strip("/").replace("/", ".")
        _OPENERS[node.op_type](_Node(edit, node, name))
    if nodes:
        edit.finish()


def _skip_layer_norm(fused: _Node) -> None:
    """LayerNormalization(x + skip [+ bias])."""
    if fused.uses(1) or fused.uses(2):
        return  # mean and deviation, for training
    total = fused.op("Add", [_biased(fused, 4), fused.input(1)], "sum")
    _put_norm(fused, total, 2)
    if fused.uses(3):
        fused.put(3, total)


def _biased(fused: _Node, index: int) -> ir.Value:
    bias = fused.input(index)
    x = fused.needed(0)
    return x if bias is None else fused.op("Add", [x, bias], "biased")


def _put_norm(fused: _Node, total: ir.Value, scale: int) -> None:
    normal = fused.op(
        "LayerNormalization", [total, fused.input(scale), fused.input(scale + 1)], "normalized",
        axis=-1, epsilon=fused.number("epsilon", 1e-12),
    )  # fmt: skip
    fused.put(0, normal)


def _bias_gelu(fused: _Node) -> None:
    """Gelu(x + bias)."""
    inner = fused.op("Add", [fused.input(0), fused.input(1)], "biased")
    gelu = fused.edit.op("Gelu", [inner], f"{fused.name}.gelu", domain=CONTRIB)
    fused.put(0, gelu)


def _attention(fused: _Node) -> None:
    """Three linears and MultiHeadAttention; the packed weight is (inputs, 3 x hidden)."""
    weight, mask = constant(fused.input(1)), fused.input(3)
    options = ("unidirectional", "do_rotary", "past_present_share_buffer")
    more = [fused.input(index) for index in range(4, len(fused.node.inputs))]
    own_sizes = "qkv_hidden_sizes" in fused.node.attributes
    if weight is None or own_sizes or any(more) or any(map(fused.whole, options)):
        return
    if mask is None or not _is_plain_mask(mask):
        return
    bias = constant(fused.input(2))
    parts = []
    for place, letter in enumerate("qkv"):
        # The constants are cut, not the product: each linear gets scales of its own.
        columns = np.split(weight.numpy(), 3, axis=1)[place].copy()
        matrix = fused.edit.constant(f"{fused.name}.{letter}.weight", columns)
        x = fused.op("MatMul", [fused.input(0), matrix], f"{letter}.product")
        if bias is not None:
            row = np.split(bias.numpy(), 3)[place].copy()
            term = fused.edit.constant(f"{fused.name}.{letter}.bias", row)
            x = fused.op("Add", [x, term], letter)
        parts.append(x)
    attended = fused.edit.op(
        "MultiHeadAttention", [*parts, None, mask], f"{fused.name}.attended", domain=CONTRIB,
        num_heads=fused.whole("num_heads"),
        mask_filter_value=fused.number("mask_filter_value", -10000.0),
        **({"scale": fused.number("scale", 0.0)} if "scale" in fused.node.attributes else {}),
    )  # fmt: skip
    fused.put(0, attended)


def _is_plain_mask(mask: ir.Value) -> bool:
    """Say whether a mask is (batch, sequence) with 1 for a token."""
    cast = producer(mask, "Cast")
    return cast is not None and cast.inputs[0] is not None and cast.inputs[0].name == _MASK


def _embed(fused: _Node) -> None:
    """Sum of rows of three tables, and its norm; the mask output becomes the mask itself."""
    if fused.uses(2) or fused.input(8) is not None:
        return
    words = fused.op("Gather", [fused.input(2), fused.input(0)], "words", axis=0)
    total = fused.op("Add", [words, _positions(fused)], "placed")
    if fused.input(1) is not None and fused.input(4) is not None:
        types = fused.op("Gather", [fused.input(4), fused.input(1)], "types", axis=0)
        total = fused.op("Add", [total, types], "typed")
    _put_norm(fused, total, 5)
    mask = fused.input(7)
    if fused.uses(1) and mask is not None:
        for use in list(fused.node.outputs[1].uses()):
            use.node.replace_input_with(use.idx, mask)


def _positions(fused: _Node) -> ir.Value:
    edit = fused.edit
    ends = [edit.constant(f"position.{end}", np.array(end, np.int64)) for end in (0, 1)]
    shape = fused.op("Shape", [fused.input(0)], "shape")
    length = fused.op("Gather", [shape, ends[1]], "length", axis=0)
    places = fused.op("Range", [ends[0], length, ends[1]], "places")
    return fused.op("Gather", [fused.input(3), places], "positions", axis=0)


# Embeddings first: their mask output is what tells the attentions their mask.
_OPENERS: Mapping[str, Callable[[_Node], None]] = {
    "EmbedLayerNormalization": _embed,
    "Attention": _attention,
    "SkipLayerNormalization": _skip_layer_norm,
    "BiasGelu": _bias_gelu,
}
