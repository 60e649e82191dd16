"""Attention in standard ONNX operators only (flavour `standard`), for other runtimes."""

from math import sqrt
from typing import cast

import numpy as np
import onnx_ir as ir
from onnxscript import OpBuilder

from embedge.export.rotary import rotary_tables
from embedge.models.config import EncoderConfig
from embedge.models.encoder import BatchShape

# Added to the scores of padding keys: exp(-1e9) is 0 in float32, and no engine makes it NaN.
_MASKED = np.float32(-1e9)


class StandardAttention:
    """MatMul, Softmax, MatMul over (batch, heads, sequence, head) with an additive mask."""

    def __init__(self, config: EncoderConfig, max_tokens: int) -> None:
        self._config = config
        self._max_tokens = max_tokens
        self._bias: ir.Value | None = None
        self._split: ir.Value | None = None
        self._rotation: tuple[ir.Value, ir.Value] | None = None

    def prepare(self, op: OpBuilder, attention_mask: ir.Value, shape: BatchShape) -> None:
        """Record the mask as (batch, 1, 1, sequence) and the tables cut to the sequence."""
        padding = op.Sub(1.0, op.Cast(attention_mask, to=ir.DataType.FLOAT))
        self._bias = op.Mul(op.Unsqueeze(padding, [1, 2]), float(_MASKED))
        self._split = op.Concat(shape.ids, [self._config.heads, self._config.head_size], axis=0)
        if self._config.rotary_base is not None:
            stop = op.Unsqueeze(shape.sequence, [0])
            cos, sin = rotary_tables(op, self._config, self._max_tokens)
            self._rotation = (op.Slice(cos, [0], stop, [0]), op.Slice(sin, [0], stop, [0]))

    def attend(self, op: OpBuilder, q: ir.Value, k: ir.Value, v: ir.Value) -> ir.Value:
        """Rotate where the model does, and attend; all (batch, sequence, hidden)."""
        q, k, v = (self._heads(op, x) for x in (q, k, v))  # (batch, heads, sequence, head)
        q, k = self._rotate(op, q), self._rotate(op, k)
        scores = op.MatMul(q, op.Transpose(k, perm=[0, 1, 3, 2]))
        scores = op.Mul(scores, 1.0 / sqrt(self._config.head_size))
        weights = op.Softmax(op.Add(scores, self._bias), axis=-1)
        a = op.MatMul(weights, v)
        return cast(ir.Value, op.Transpose(a, perm=[0, 2, 1, 3]))

    def _heads(self, op: OpBuilder, x: ir.Value) -> ir.Value:
        return cast(ir.Value, op.Transpose(op.Reshape(x, self._split), perm=[0, 2, 1, 3]))

    def _rotate(self, op: OpBuilder, x: ir.Value) -> ir.Value:
        """Rotate the first half of each head against its second half (NeoX halves)."""
        if self._rotation is None:
            return x
        cos, sin = self._rotation  # (sequence, head / 2)
        first, second = op.Split(x, axis=-1, num_outputs=2, _outputs=2)
        rotated = op.Concat(
            op.Sub(op.Mul(first, cos), op.Mul(second, sin)),
            op.Add(op.Mul(second, cos), op.Mul(first, sin)),
            axis=-1,
        )
        return cast(ir.Value, rotated)
