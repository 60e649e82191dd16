"""Attention in ONNX Runtime's own operators (flavour `ort`): fused, and bit-stable per row."""

import numpy as np
import onnx_ir as ir
from onnxscript import OpBuilder

from embedge.export.rotary import rotary_tables
from embedge.models.config import EncoderConfig
from embedge.models.encoder import BatchShape

CONTRIB = "com.microsoft"


class ContribAttention:
    """`RotaryEmbedding` and `MultiHeadAttention`, the mask always present.

    Without a mask the second operator would take another code path, whose results differ in the
    last bits; a text would then depend on whether its neighbours are padded.
    """

    def __init__(self, config: EncoderConfig, max_tokens: int) -> None:
        self._config = config
        self._max_tokens = max_tokens
        self._mask: ir.Value | None = None
        self._rotation: tuple[ir.Value, ir.Value, ir.Value] | None = None

    def prepare(self, op: OpBuilder, attention_mask: ir.Value, shape: BatchShape) -> None:
        """Record the mask as int32 and, for rotary positions, the tables and the offset 0."""
        self._mask = op.Cast(attention_mask, to=ir.DataType.INT32)
        if self._config.rotary_base is not None:
            tables = rotary_tables(op, self._config, self._max_tokens)
            offset = op.initializer(ir.tensor(np.zeros(1, np.int64), name="rotary.offset"))
            self._rotation = (offset, *tables)

    def attend(self, op: OpBuilder, q: ir.Value, k: ir.Value, v: ir.Value) -> ir.Value:
        """Rotate where the model does, and attend; all (batch, sequence, hidden)."""
        q, k = self._rotate(op, q), self._rotate(op, k)
        a = op.MultiHeadAttention(
            q, k, v, None, self._mask, num_heads=self._config.heads, _domain=CONTRIB, _version=1
        )
        return _typed_like(a, q)

    def _rotate(self, op: OpBuilder, x: ir.Value) -> ir.Value:
        if self._rotation is None:
            return x
        offset, cos, sin = self._rotation
        rotated = op.RotaryEmbedding(
            x, offset, cos, sin, interleaved=0, _domain=CONTRIB, _version=1
        )
        return _typed_like(rotated, x)


def _typed_like(value: ir.Value, other: ir.Value) -> ir.Value:
    """Give a contrib result the type and shape that the builder cannot infer."""
    value.type, value.shape = other.type, other.shape
    return value
