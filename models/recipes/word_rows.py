"""Word rows in 4-bit blocks of 32 (ggml's Q4_0: code - 8 times a half-precision scale).

The teacher's rows have this form, and so do the student's: training goes through the rounding
(straight-through gradient), because rounding finished rows costs 1e-3 in cosine.
"""

import torch

from embedge.models.recipes.teacher_file import BLOCK

_ZERO, _MOST = 8, 15


def quantized(rows: torch.Tensor) -> torch.Tensor:
    """The nearest 4-bit form of rows (n, width) as float32; rows in that form stay as they are.

    The value of the largest magnitude gets code 0, which stands for -8 times the scale.
    """
    blocks = rows.reshape(-1, BLOCK).float()
    place = blocks.abs().argmax(1, keepdim=True)
    scale = (blocks.gather(1, place) / -_ZERO).half().float()
    codes = torch.where(scale == 0, _ZERO, torch.round(blocks / scale.where(scale != 0, 1)) + _ZERO)
    return ((codes.clamp(0, _MOST) - _ZERO) * scale).view(rows.shape)


def fake_quantized(rows: torch.Tensor) -> torch.Tensor:
    """The 4-bit form going forward, the identity going back."""
    with torch.no_grad():
        rounding = quantized(rows) - rows
    return rows + rounding
