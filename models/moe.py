"""The mixture-of-experts block: each token is computed by its k best experts and by no other.

Shapes: `tokens` counts every position of the flattened batch, padding included; a slot is one
(token, rank) pair, `slot = k * token + rank`; `n_e` slots chose expert `e`, possibly none.
"""

from typing import cast

import onnx_ir as ir
from onnx_ir import Value
from onnxscript import OpBuilder, nn

from embedge.models.config import EncoderConfig
from embedge.models.weight import Pieces, Weight


class MoE(nn.Module):
    """Router and experts of one layer: (tokens, hidden) -> (tokens, hidden)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.router = Router(config)
        self.experts = Experts(config)

    def forward(self, op: OpBuilder, h: Value) -> Value:
        gate_weight, expert = self.router(op, h)
        return cast(Value, self.experts(op, h, gate_weight, expert))


class Router(nn.Module):
    """Pick the k best experts per token; their weights are not renormalised.

    Softmax over all experts first, then top-k (config `moe_normalize_expert_weights: false`), so
    the weights of a token sum to less than 1. Both outputs are (tokens, k), best expert first.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.layer = RouterScores(config)
        self._k = config.experts_per_token

    def forward(self, op: OpBuilder, h: Value) -> tuple[Value, Value]:
        logits = self.layer(op, h)  # (tokens, experts)
        probability = op.Softmax(logits, axis=-1)
        gate_weight, expert = op.TopK(
            probability, [self._k], axis=-1, largest=1, sorted=1, _outputs=2
        )
        # Plain names, so that tools can add them as extra outputs.
        path = self.layer.weight.tensor_name.removesuffix(".layer.weight")
        gate_weight.name, expert.name = f"{path}.gate_weight", f"{path}.expert"
        return gate_weight, expert


class RouterScores(nn.Module):
    """Linear map without bias: (tokens, hidden) -> (tokens, experts)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.weight = Weight((config.hidden, config.experts), transposed=True)

    def forward(self, op: OpBuilder, h: Value) -> Value:
        return cast(Value, op.MatMul(h, self.weight))


class Experts(nn.Module):
    """Weighted sum of each token's experts, plus one bias for all of them.

    The bias is added once, after the sum and unweighted.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.mlp = ExpertWeights(config)
        self.bias = Weight((config.hidden,))
        self._config = config

    def forward(self, op: OpBuilder, h: Value, gate_weight: Value, expert: Value) -> Value:
        slot_weight = op.Reshape(gate_weight, [-1])  # (k * tokens,)
        slot_expert = op.Reshape(expert, [-1])
        slots, outputs = self.mlp(op, h, slot_weight, slot_expert)
        in_token_order = op.Gather(outputs, _inverse(op, slots), axis=0)
        by_token = op.Reshape(
            in_token_order, [-1, self._config.experts_per_token, self._config.hidden]
        )
        # Rank 0 plus rank 1, whatever else is in the batch.
        mixed = op.ReduceSum(by_token, [1], keepdims=0)
        return cast(Value, op.Add(mixed, self.bias))


class ExpertWeights(nn.Module):
    """All experts, each on its own tokens: E_e(h) = gelu(h @ w1[e].T) @ w2[e].

    Both tensors hold expert e in rows e*inner..(e+1)*inner; w1 is used transposed, w2 as stored.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        experts = [str(e) for e in range(config.experts)]
        self.w1 = Pieces(experts, (config.hidden, config.inner), transposed=True)
        self.w2 = Pieces(experts, (config.inner, config.hidden))
        self._k = config.experts_per_token

    def forward(
        self, op: OpBuilder, h: Value, slot_weight: Value, slot_expert: Value
    ) -> tuple[Value, Value]:
        """Return the slots in expert order (k * tokens,) and their weighted outputs."""
        slots, outputs = [], []
        for e, (w1, w2) in enumerate(zip(self.w1(op), self.w2(op), strict=True)):
            slot = op.Reshape(op.NonZero(op.Equal(slot_expert, e)), [-1])  # (n_e,), ascending
            token = op.Div(slot, self._k)
            x = op.Gather(h, token, axis=0)  # (n_e, hidden)
            x = op.MatMul(x, w1)  # (n_e, inner)
            x = op.Gelu(x, approximate="none")
            x = op.MatMul(x, w2)  # (n_e, hidden)
            weight = op.Unsqueeze(op.Gather(slot_weight, slot, axis=0), [1])
            slots.append(slot)
            outputs.append(op.Mul(x, weight))
        return op.Concat(*slots, axis=0), op.Concat(*outputs, axis=0)


def _inverse(op: OpBuilder, permutation: Value) -> Value:
    """Invert a permutation of 0..n-1, int64 (n,)."""
    n = op.Shape(permutation)
    positions = op.Range(0, op.Squeeze(n, [0]), 1)
    zeros = op.ConstantOfShape(n, value=ir.tensor([0]))
    return cast(Value, op.ScatterElements(zeros, permutation, positions, axis=0))
