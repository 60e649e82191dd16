"""Teacher and student in torch: the same post-norm encoder, dense or with some MoE layers.

The teacher is this network without MoE layers and with all rows; the student keeps 8 experts in
some layers (shared/model contract: gate weights are not renormalised, experts have no biases,
one output bias is added once).
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from embedge.models.recipes.teacher_file import HIDDEN, INNER, LAYERS, POSITIONS, TeacherFile

HEADS, EXPERTS, TOP_K = 12, 8, 2
EPSILON = 1e-12
PAD = 1


def padded(token_ids: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded ids (texts, longest) int64 and mask of the same shape, float32."""
    longest = max(map(len, token_ids))
    ids = np.full((len(token_ids), longest), PAD, np.int64)
    mask = np.zeros((len(token_ids), longest), np.float32)
    for row, tokens in enumerate(token_ids):
        ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    return torch.from_numpy(ids), torch.from_numpy(mask)


class Dense(nn.Module):
    """fc2(gelu(fc1(x))), both with bias."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(HIDDEN, INNER)
        self.fc2 = nn.Linear(INNER, HIDDEN)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Experts(nn.Module):
    """Top-2 of 8 experts, not renormalised; keeps load and balance loss of the last call."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Parameter(torch.zeros(EXPERTS, HIDDEN))
        self.w1 = nn.Parameter(torch.zeros(EXPERTS, INNER, HIDDEN))
        self.w2 = nn.Parameter(torch.zeros(EXPERTS, INNER, HIDDEN))
        self.bias = nn.Parameter(torch.zeros(HIDDEN))
        self.load = torch.zeros(EXPERTS)
        self.balance = torch.zeros(())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Real tokens only, (tokens, hidden) to the same shape."""
        probability = F.softmax(x @ self.router.t(), dim=-1)  # (tokens, experts)
        weight, chosen = probability.topk(TOP_K, dim=-1)  # (tokens, 2)
        out = torch.zeros_like(x)
        for expert in range(EXPERTS):
            token, slot = torch.where(chosen == expert)
            if token.numel():
                h = F.gelu(x[token] @ self.w1[expert].t()) @ self.w2[expert]
                out = out.index_add(0, token, h * weight[token, slot, None])
        share = F.one_hot(chosen, EXPERTS).float().sum((0, 1)) / chosen.numel()
        self.load = share.detach()
        self.balance = EXPERTS * (share * probability.mean(0)).sum()
        return out + self.bias


class Layer(nn.Module):
    """Attention, add and norm, feed-forward, add and norm."""

    def __init__(self, *, moe: bool) -> None:
        super().__init__()
        self.qkv = nn.Linear(HIDDEN, 3 * HIDDEN)
        self.out = nn.Linear(HIDDEN, HIDDEN)
        self.norm1 = nn.LayerNorm(HIDDEN, eps=EPSILON)
        self.norm2 = nn.LayerNorm(HIDDEN, eps=EPSILON)
        self.mlp: Dense | Experts = Experts() if moe else Dense()

    def forward(
        self, x: torch.Tensor, key_mask: torch.Tensor | None, real: torch.Tensor
    ) -> torch.Tensor:
        """Apply to x (texts, tokens, hidden); `real`: flat positions that are not padding."""
        h = self.attended(x, key_mask)
        if isinstance(self.mlp, Dense):
            return self.norm2(self.mlp(h) + h)
        flat = h.reshape(-1, HIDDEN)
        m = torch.zeros_like(flat).index_copy(0, real, self.mlp(flat[real]))
        return self.norm2(m.view_as(h) + h)

    def attended(self, x: torch.Tensor, key_mask: torch.Tensor | None) -> torch.Tensor:
        """The state that the feed-forward part reads."""
        texts, tokens, _ = x.shape
        qkv = self.qkv(x).view(texts, tokens, 3, HEADS, HIDDEN // HEADS).permute(2, 0, 3, 1, 4)
        a = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], attn_mask=key_mask)
        return self.norm1(self.out(a.transpose(1, 2).reshape(texts, tokens, HIDDEN)) + x)


class Encoder(nn.Module):
    """Token ids to mean-pooled vectors; the word rows are a buffer, so they are never trained."""

    rows: torch.Tensor

    def __init__(self, rows: torch.Tensor, moe_layers: Sequence[int] = ()) -> None:
        super().__init__()
        self.register_buffer("rows", rows, persistent=False)
        self.positions = nn.Parameter(torch.zeros(POSITIONS, HIDDEN))
        self.type_row = nn.Parameter(torch.zeros(HIDDEN))
        self.norm = nn.LayerNorm(HIDDEN, eps=EPSILON)
        self.layers = nn.ModuleList(Layer(moe=i in moe_layers) for i in range(LAYERS))

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Means over real tokens (texts, hidden), not normalised."""
        x = self.states(ids, mask, len(self.layers))
        return (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)

    def states(self, ids: torch.Tensor, mask: torch.Tensor, depth: int) -> torch.Tensor:
        """Hidden states after `depth` layers."""
        x = self.norm(F.embedding(ids, self.rows) + self.positions[: ids.shape[1]] + self.type_row)
        real = mask.reshape(-1).nonzero()[:, 0]
        key_mask = None if bool(mask.all()) else mask[:, None, None, :].bool()
        for layer in self.layers[:depth]:
            x = layer(x, key_mask, real)
        return x

    def experts(self) -> list[Experts]:
        """The MoE blocks, lowest first."""
        return [layer.mlp for layer in self.layers if isinstance(layer.mlp, Experts)]


def load_teacher(file: TeacherFile) -> Encoder:
    """The teacher as it is, 250,037 rows, evaluation only."""
    teacher = Encoder(torch.from_numpy(file.tensors["emb.word"]))
    copy_dense_weights(file, teacher)
    teacher.eval()
    teacher.requires_grad_(False)
    return teacher


def copy_dense_weights(file: TeacherFile, encoder: Encoder) -> None:
    """Copy everything but word rows and the feed-forward part of MoE layers."""
    t = {name: torch.from_numpy(value) for name, value in file.tensors.items()}
    with torch.no_grad():
        encoder.positions.copy_(t["emb.pos"])
        encoder.type_row.copy_(t["emb.type"][0])
        _copy(encoder.norm, t, "emb.ln")
        for i, layer in enumerate(encoder.layers):
            p = f"l{i}."
            layer.qkv.weight.copy_(torch.cat([t[f"{p}{c}.w"] for c in "qkv"]))
            layer.qkv.bias.copy_(torch.cat([t[f"{p}{c}.b"] for c in "qkv"]))
            _copy(layer.out, t, p + "ao")
            _copy(layer.norm1, t, p + "aln")
            _copy(layer.norm2, t, p + "oln")
            if isinstance(layer.mlp, Dense):
                _copy(layer.mlp.fc1, t, p + "fi")
                _copy(layer.mlp.fc2, t, p + "fo")


def _copy(module: nn.Module, tensors: dict[str, torch.Tensor], name: str) -> None:
    module.weight.copy_(tensors[name + ".w"])
    module.bias.copy_(tensors[name + ".b"])
