"""Peers in ONNX Runtime: our own graphs, every expert computed, `quantize_dynamic`, MoE, QMoE.

`com.microsoft.MoE` and `QMoE` stand in for our gather of tokens by expert; the rest of the graph
is our fp32 one. Both use the tanh form of GELU, the model the erf form, so they agree closely, not
exactly. QMoE gets logits for the choice and the softmax over all experts for the mix (input 14),
else it would renormalise the chosen two.
"""

from functools import partial
from pathlib import Path
from typing import Any, cast
from unittest import mock

import numpy as np
import onnx_ir as ir
from onnx_ir import Value
from onnxscript import OpBuilder, nn
from peer_contract import Peer, Run, Setup, padded

from embedge.models import encoder
from embedge.models.bundle import open_bundle
from embedge.models.config import EncoderConfig
from embedge.models.moe import RouterScores
from embedge.models.weight import Weight
from embedge.runtime.engine import Engine, open_session
from embedge.runtime.memory import default_batch_tokens

CONTRIB = "com.microsoft"
# Of QMoE: one scale per so many inputs; 32 is the block of llama.cpp's formats.
BLOCK = 32


def bundle_runner(bundle_path: Path, variant: str, threads: int) -> Run:
    """Run a bundle's graph in batches of the runtime's own size."""
    bundle = open_bundle(bundle_path)
    engine = Engine(bundle, cast(Any, variant), bundle.manifest.full_dim, threads)
    return padded(lambda ids, mask: engine.run(ids, mask)[0], default_batch_tokens(threads))


def graph_runner(path: Path, threads: int) -> Run:
    """Run a graph that is no variant of a bundle."""
    session = open_session(path, threads=threads)
    return padded(
        lambda ids, mask: session.run(["embedding"], {"input_ids": ids, "attention_mask": mask})[0]
    )


def open_ours(variant: str, setup: Setup) -> Run:
    return bundle_runner(setup.fp32 if variant == "fp32" else setup.int8, variant, setup.threads)


def open_in(folder: str, setup: Setup) -> Run:
    """Open the graph that was made in a folder below `work`."""
    return graph_runner(setup.work / folder / "model.onnx", setup.threads)


def _exported(setup: Setup, name: str, **options: Any) -> Path:
    """Export the checkpoint once more, unless it was; returns the bundle's folder."""
    from embedge.export import export_checkpoint

    assert setup.checkpoint is not None
    out = setup.work / name
    if not out.exists():
        export_checkpoint(setup.checkpoint, out, checks=False, measure=False, **options)
    return out


def make_all_experts(setup: Setup) -> None:
    from all_experts import export_all_experts

    assert setup.checkpoint is not None
    if not (setup.work / "all-experts").exists():
        export_all_experts(setup.checkpoint, setup.work / "all-experts")


def make_dynamic(setup: Setup) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = setup.work / "dynamic" / "model.onnx"
    if not model.exists():
        model.parent.mkdir(parents=True, exist_ok=True)
        quantize_dynamic(
            setup.fp32 / "model.onnx", model,
            weight_type=QuantType.QInt8, use_external_data_format=True,
        )  # fmt: skip


class StackedWeight(Weight):
    """All experts of one tensor as (experts, outputs, inputs), the layout of the MoE operators."""

    def __init__(self, config: EncoderConfig, *, turned: bool) -> None:
        """Declare it; `turned` where the checkpoint stores (inputs, outputs) per expert."""
        sides = (config.hidden, config.inner) if turned else (config.inner, config.hidden)
        super().__init__((config.experts, *sides))
        self._stored = (config.inner, config.hidden)
        self._turned = turned

    def blocks(self, read_rows: Any) -> Any:
        """Yield one expert at a time."""
        rows = self._stored[0]
        for expert in range(self.sizes[0]):
            values = read_rows(self.tensor_name, expert * rows, (expert + 1) * rows)
            yield np.ascontiguousarray(values.T if self._turned else values)[None]


class StackedMlp(nn.Module):
    """The two tensors of all experts."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.w1 = StackedWeight(config, turned=False)
        self.w2 = StackedWeight(config, turned=True)

    def forward(self, op: OpBuilder) -> tuple[Value, Value]:
        del op  # being called makes them constants of the graph
        return self.w1, self.w2


class FusedExperts(nn.Module):
    """One operator instead of a gather per expert."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.mlp = StackedMlp(config)
        self.bias = Weight((config.hidden,))
        self._k = config.experts_per_token

    def forward(self, op: OpBuilder, h: Value, logits: Value) -> Value:
        w1, w2 = self.mlp(op)
        mixed = op.MoE(
            h, logits, w1, None, w2,
            k=self._k, activation_type="gelu", normalize_routing_weights=0,
            _domain=CONTRIB, _version=1,
        )  # fmt: skip
        mixed.type, mixed.shape = h.type, h.shape
        return cast(Value, op.Add(mixed, self.bias))


class Logits(nn.Module):
    """The router without its choice, which the operator makes."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.layer = RouterScores(config)

    def forward(self, op: OpBuilder, h: Value) -> Value:
        return cast(Value, self.layer(op, h))


class FusedMoE(nn.Module):
    """Stands in for `moe.MoE`, with the same names of its weights."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.router = Logits(config)
        self.experts = FusedExperts(config)

    def forward(self, op: OpBuilder, h: Value) -> Value:
        """(tokens, hidden) -> (tokens, hidden)."""
        return cast(Value, self.experts(op, h, self.router(op, h)))


def make_moe(setup: Setup) -> Path:
    """Write the graph with `com.microsoft.MoE`."""
    with mock.patch.object(encoder, "MoE", FusedMoE):
        return _exported(setup, "moe") / "model.onnx"


def make_qmoe(bits: int, block: int, setup: Setup) -> Path:
    """Write the graph with `com.microsoft.QMoE`; `block` 0 is one scale per output."""
    out = setup.work / f"qmoe{bits}-{block}" / "model.onnx"
    if out.exists():
        return out
    model = ir.load(make_moe(setup))
    for node in list(model.graph):
        if node.op_type == "MoE":
            _quantize_experts(model.graph, node, bits, block)
    out.parent.mkdir(parents=True, exist_ok=True)
    ir.save(model, out, external_data="weights.bin")
    return out


def _quantize_experts(graph: ir.Graph, node: ir.Node, bits: int, block: int) -> None:
    """Replace a MoE node by QMoE, its weights by codes and scales."""
    h, logits, w1, _, w2 = node.inputs[:5]
    assert h is not None
    assert logits is not None
    inputs: list[Value | None] = [h, logits]
    for weight in (w1, w2):
        assert weight is not None
        assert weight.const_value is not None
        codes, scales = quantize_blocks(weight.const_value.numpy(), bits, block)
        for kind, values in (("codes", codes), ("scales", scales)):
            value = ir.Value(name=f"{weight.name}.{kind}", const_value=ir.tensor(values))
            value.shape, value.dtype = ir.Shape(values.shape), ir.tensor(values).dtype
            graph.register_initializer(value)
            inputs.append(value)
        inputs.append(None)  # no bias inside the operator
        graph.initializers.pop(cast(str, weight.name))
    softmax = ir.node("Softmax", [logits], {"axis": -1})
    inputs += [None] * (14 - len(inputs)) + [softmax.outputs[0]]
    attributes = {
        "k": node.attributes["k"].as_int(), "activation_type": "gelu",
        "normalize_routing_weights": 0, "expert_weight_bits": bits,
        "block_size": block, "accuracy_level": 4,
    }  # fmt: skip
    if not block:
        del attributes["block_size"], attributes["accuracy_level"]
    output = ir.Value(name=node.outputs[0].name, type=node.outputs[0].type)
    new = ir.node("QMoE", inputs, attributes, domain=CONTRIB, outputs=[output])
    graph.insert_before(node, [softmax, new])
    ir.convenience.replace_all_uses_with(node.outputs, new.outputs)
    graph.remove(node, safe=True)


def quantize_blocks(weight: np.ndarray, bits: int, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Round symmetrically, (experts, outputs, inputs) float32.

    Returns:
        uint8 codes around 2**(bits - 1), two of four bits in a byte, the first in its lower half,
        and float32 scales (experts, outputs, blocks), or (experts, outputs) for block 0.
    """
    experts, outputs, inputs = weight.shape
    groups = weight.reshape(experts, outputs, -1, block or inputs)
    half = 1 << (bits - 1)
    scales = np.maximum(np.abs(groups).max(-1), 1e-12) / (half - 1)
    codes = (np.rint(groups / scales[..., None]) + half).astype(np.uint8).reshape(weight.shape)
    if bits == 4:
        codes = codes[..., 0::2] | (codes[..., 1::2] << 4)
    return codes, (scales if block else scales[..., 0]).astype(np.float32)


def open_all_experts(setup: Setup) -> Run:
    return bundle_runner(setup.work / "all-experts", "fp32", setup.threads)


def _qmoe(bits: int, block: int) -> Peer:
    return Peer(partial(open_in, f"qmoe{bits}-{block}"), partial(make_qmoe, bits, block))


PEERS = {
    "int8": Peer(partial(open_ours, "int8")),
    "fp32": Peer(partial(open_ours, "fp32")),
    "all experts": Peer(open_all_experts, make_all_experts),
    "dynamic int8": Peer(partial(open_in, "dynamic"), make_dynamic),
    "MoE": Peer(partial(open_in, "moe"), make_moe),
    "QMoE 8-bit": _qmoe(8, BLOCK),
    "QMoE 8-bit, row": _qmoe(8, 0),
    "QMoE 4-bit": _qmoe(4, BLOCK),
}
