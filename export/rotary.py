"""Cosine and sine tables of rotary positions."""

import numpy as np
import onnx_ir as ir
from onnxscript import OpBuilder

from embedge.models.config import EncoderConfig
from embedge.models.tensor_file import Float32


def rotary_angles(base: float, head_size: int, positions: int) -> Float32:
    """Return the angle of every position and frequency in float32, (positions, head_size / 2).

    inv_freq_j = 1 / base^(2j / head_size) and angle = position * inv_freq, each step rounded to
    float32 as the model's own code does: at position 511 that rounding is larger than any later
    one.
    """
    exponent = np.arange(0, head_size, 2, dtype=np.float32) / np.float32(head_size)
    power = np.power(np.float64(base), exponent).astype(np.float32)
    return np.outer(np.arange(positions, dtype=np.float32), np.float32(1) / power)


def rotary_tables(
    op: OpBuilder, config: EncoderConfig, positions: int
) -> tuple[ir.Value, ir.Value]:
    """Add the tables cos and sin, float32 (positions, head_size / 2), to the graph."""
    assert config.rotary_base is not None
    angles = rotary_angles(config.rotary_base, config.head_size, positions)
    cos = op.initializer(ir.tensor(np.cos(angles), name="rotary.cos"))
    sin = op.initializer(ir.tensor(np.sin(angles), name="rotary.sin"))
    return cos, sin
