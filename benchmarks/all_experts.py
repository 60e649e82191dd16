"""The graph that computes every expert for every token, as an export without a gather does.

    python benchmarks/all_experts.py CHECKPOINT OUT

Writes an fp32 bundle whose vectors equal those of `embed export`, at four times the work in its
MoE layers (8 experts instead of 2). For comparison only.
"""

import argparse
from pathlib import Path
from typing import cast
from unittest import mock

from onnx_ir import Value
from onnxscript import OpBuilder

from embedge.export import export_checkpoint
from embedge.models import moe
from embedge.models.config import EncoderConfig


class EveryExpertWeights(moe.ExpertWeights):
    """All experts on all tokens, times gate weights that are zero for those not chosen."""

    def forward(self, op: OpBuilder, h: Value, gate: Value) -> Value:  # type: ignore[override]  # gates, not slots
        """H (tokens, hidden), gate (tokens, experts) -> (tokens, hidden)."""
        total: Value | None = None
        for e, (w1, w2) in enumerate(zip(self.w1(op), self.w2(op), strict=True)):
            x = op.MatMul(op.Gelu(op.MatMul(h, w1), approximate="none"), w2)
            x = op.Mul(x, op.Slice(gate, [e], [e + 1], [1]))
            total = x if total is None else op.Add(total, x)
        return cast(Value, total)


class EveryExpert(moe.Experts):
    """Stands in for the sparse block."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        self._experts = config.experts

    def forward(self, op: OpBuilder, h: Value, gate_weight: Value, expert: Value) -> Value:
        tokens = op.Shape(h, start=0, end=1)
        zeros = op.Expand(op.Constant(value_float=0.0), op.Concat(tokens, [self._experts], axis=0))
        gate = op.ScatterElements(zeros, expert, gate_weight, axis=1)
        return cast(Value, op.Add(self.mlp(op, h, gate), self.bias))


def export_all_experts(checkpoint: Path, out: Path) -> Path:
    """Write the bundle and return its folder."""
    with mock.patch.multiple(moe, Experts=EveryExpert, ExpertWeights=EveryExpertWeights):
        return export_checkpoint(checkpoint, out, checks=False, measure=False).path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    print(export_all_experts(options.checkpoint, options.out))


if __name__ == "__main__":
    main()
