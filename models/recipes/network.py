"""Teacher and student in torch: the same post-norm encoder, dense or with some MoE layers.

The teacher is this network without MoE layers and with all rows; the student keeps 8 experts in
some layers (gate weights are not renormalised, experts have no biases, one output bias is added
once). Batches are packed: all tokens of all texts one after another, no padding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from embedge.models.recipes.packing import Int64, Packed
from embedge.models.recipes.teacher_file import HIDDEN, INNER, LAYERS, POSITIONS, TeacherFile
from embedge.models.recipes.word_rows import fake_quantized
from embedge.models.recipes.words import Words

HEADS, EXPERTS, TOP_K = 12, 8, 2
EPSILON = 1e-12
PAD = 1


@dataclass(frozen=True)
class Padding:
    """Texts of a batch that attend together where there is no kernel for packed ones.

    `tokens` (real,) of the batch, `place` (real,) their slots in (texts, longest), `mask` of the
    slots that are filled, (texts, 1, 1, longest) or None where all are.
    """

    tokens: torch.Tensor
    place: torch.Tensor
    texts: int
    longest: int
    mask: torch.Tensor | None


@dataclass(frozen=True)
class Batch:
    """A packed batch on a device.

    `ids`, `positions`, `owner` (tokens,); `starts` (texts + 1,) int32; `longest` in tokens;
    `paddings` hold every token once, in groups of texts of similar length; none on a GPU.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    owner: torch.Tensor
    starts: torch.Tensor
    longest: int
    paddings: tuple[Padding, ...] = ()

    @property
    def texts(self) -> int:
        """Number of texts."""
        return len(self.starts) - 1


def to_batch(packed: Packed, device: torch.device) -> Batch:
    """Move a packed batch to the device."""
    lengths = packed.lengths
    starts = np.concatenate([[0], np.cumsum(lengths)])
    positions = np.arange(len(packed.ids)) - np.repeat(starts[:-1], lengths)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    ids, position, of, start = (
        _moved(torch.from_numpy(array), device)
        for array in (packed.ids, positions, owner, starts.astype(np.int32))
    )
    paddings = () if device.type == "cuda" else _paddings(starts[:-1], lengths)
    return Batch(ids, position, of, start, int(lengths.max(initial=1)), paddings)


def _paddings(starts: Int64, lengths: Int64) -> tuple[Padding, ...]:
    """Groups of texts whose lengths differ by a quarter at most."""
    order = np.argsort(lengths, kind="stable")
    sizes = lengths[order]
    groups, first = [], 0
    while first < len(order):
        last = int(np.searchsorted(sizes, max(sizes[first] * 5 // 4, sizes[first] + 3), "right"))
        some, length = order[first:last], sizes[first:last]
        longest = int(length[-1])
        filled = np.arange(longest) < length[:, None]
        tokens = (starts[some, None] + np.arange(longest))[filled]
        mask = None if filled.all() else torch.from_numpy(filled)[:, None, None, :]
        place = torch.from_numpy(np.flatnonzero(filled))
        groups.append(Padding(torch.from_numpy(tokens), place, len(some), longest, mask))
        first = last
    return tuple(groups)


def _moved(host: torch.Tensor, device: torch.device) -> torch.Tensor:
    return host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host


def batch_of(token_ids: Sequence[Sequence[int]], device: torch.device) -> Batch:
    """A batch of token lists, special tokens included."""
    ids = np.concatenate([np.asarray(i, np.int64) for i in token_ids])
    return to_batch(Packed(ids, np.array([len(i) for i in token_ids], np.int64)), device)


@dataclass(frozen=True)
class Bags:
    """Tokens of a batch in bags: `tokens` (kept,), bag j begins at `starts[j]` (bags,)."""

    tokens: torch.Tensor
    starts: torch.Tensor

    def means(self, states: torch.Tensor) -> torch.Tensor:
        """Mean states of the bags, (tokens, hidden) to (bags, hidden), float32."""
        return F.embedding_bag(self.tokens, states.float(), self.starts, mode="mean")


def to_bags(words: Words, device: torch.device) -> Bags:
    """Move words to the device."""
    tokens, starts = (torch.from_numpy(part) for part in (words.tokens, words.starts))
    return Bags(_moved(tokens, device), _moved(starts, device))


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
        """X (tokens, hidden) to the same shape."""
        with torch.autocast(x.device.type, enabled=False):
            probability = F.softmax(x.float() @ self.router.t(), dim=-1)  # (tokens, experts)
        weight, chosen = probability.topk(TOP_K, dim=-1)  # (tokens, 2)
        order = chosen.flatten().argsort()
        token = order // TOP_K
        counts = torch.bincount(chosen.flatten(), minlength=EXPERTS)
        parts = x[token].split(counts.tolist())
        out = torch.cat(
            [F.gelu(part @ self.w1[i].t()) @ self.w2[i] for i, part in enumerate(parts)]
        )
        weighted = out.float() * weight.flatten()[order, None]
        share = counts / chosen.numel()
        self.load = share.detach()
        self.balance = EXPERTS * (share * probability.mean(0)).sum()
        return torch.zeros_like(x).index_add(0, token, weighted.to(x.dtype)) + self.bias


class Layer(nn.Module):
    """Attention, add and norm, feed-forward, add and norm."""

    def __init__(self, *, moe: bool) -> None:
        super().__init__()
        self.qkv = nn.Linear(HIDDEN, 3 * HIDDEN)
        self.out = nn.Linear(HIDDEN, HIDDEN)
        self.norm1 = nn.LayerNorm(HIDDEN, eps=EPSILON)
        self.norm2 = nn.LayerNorm(HIDDEN, eps=EPSILON)
        self.mlp: Dense | Experts = Experts() if moe else Dense()

    def forward(self, x: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Apply to x (tokens, hidden)."""
        return self.after_attention(x, attention(self.qkv(x), batch))

    def after_attention(self, x: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
        """Everything behind the attention's mixing of the layer's input x."""
        h = self.before_mlp(x, mixed)
        return self.norm2(self.mlp(h) + h)

    def before_mlp(self, x: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
        """The state that the feed-forward part reads."""
        return self.norm1(self.out(mixed) + x)


def attention(qkv: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Softmax attention inside every text, (tokens, 3 * hidden) to (tokens, hidden)."""
    tokens = len(qkv)
    if qkv.device.type == "cuda":
        from torch.nn.attention.varlen import varlen_attn

        q, k, v = qkv.to(torch.bfloat16).view(tokens, 3, HEADS, HIDDEN // HEADS).unbind(1)
        n = batch.longest
        mixed = varlen_attn(q, k, v, batch.starts, batch.starts, n, n)
        assert isinstance(mixed, torch.Tensor)
        return mixed.reshape(tokens, HIDDEN)
    parts = [_padded_attention(qkv, some) for some in batch.paddings]
    order = torch.cat([some.tokens for some in batch.paddings])
    return _Scattered.apply(torch.cat(parts), order, tokens)


def _padded_attention(qkv: torch.Tensor, some: Padding) -> torch.Tensor:
    slots = some.texts * some.longest
    own = _Gathered.apply(qkv, some.tokens)
    padded = own if len(own) == slots else _Scattered.apply(own, some.place, slots)
    shape = (some.texts, some.longest, 3, HEADS, HIDDEN // HEADS)
    q, k, v = padded.view(shape).permute(2, 0, 3, 1, 4).contiguous().unbind(0)
    # Spelled out: the fused kernel's gradient is five times slower in bfloat16 on a CPU.
    scores = (q * (HIDDEN // HEADS) ** -0.5) @ k.transpose(-1, -2)
    if some.mask is not None:
        scores = scores.masked_fill(~some.mask, -1e4)
    mixed = scores.softmax(-1, dtype=scores.dtype) @ v
    flat = mixed.transpose(1, 2).reshape(slots, HIDDEN)
    return flat if len(own) == slots else _Gathered.apply(flat, some.place)


class _Gathered(torch.autograd.Function):
    """Rows by their different places; torch's own gradient adds row by row, many times slower."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(place)
        ctx.rows = len(x)
        return x.index_select(0, place)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (place,) = ctx.saved_tensors
        rows = gradient.new_zeros(ctx.rows, *gradient.shape[1:])
        return rows.index_copy_(0, place, gradient), None


class _Scattered(torch.autograd.Function):
    """Rows put at different places of `rows` zero rows."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, place: torch.Tensor, rows: int) -> torch.Tensor:
        ctx.save_for_backward(place)
        return x.new_zeros(rows, *x.shape[1:]).index_copy_(0, place, x)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (place,) = ctx.saved_tensors
        return gradient.index_select(0, place), None, None


class Encoder(nn.Module):
    """Packed token ids to mean-pooled vectors.

    `rows` are the word rows; where `four_bit`, they are trained through their 4-bit form.
    """

    def __init__(
        self,
        rows: torch.Tensor,
        moe_layers: Sequence[int] = (),
        *,
        layers: int = LAYERS,
        four_bit: bool = False,
    ) -> None:
        super().__init__()
        self.rows = nn.Parameter(rows)
        self.positions = nn.Parameter(torch.zeros(POSITIONS, HIDDEN))
        self.type_row = nn.Parameter(torch.zeros(HIDDEN))
        self.norm = nn.LayerNorm(HIDDEN, eps=EPSILON)
        self.layers = nn.ModuleList(Layer(moe=i in moe_layers) for i in range(layers))
        self._four_bit = four_bit

    def forward(self, batch: Batch) -> torch.Tensor:
        """Means over tokens (texts, hidden), float32, not normalised."""
        return self.pooled_and_states(batch, ())[0]

    def pooled_and_states(
        self, batch: Batch, depths: Sequence[int]
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """What `forward` gives, and the hidden states (tokens, hidden) after some layers."""
        x, kept = self._words(batch), []
        for depth, layer in enumerate(self.layers, 1):
            x = layer(x, batch)
            if depth in depths:
                kept.append(x)
        total = x.new_zeros(batch.texts, HIDDEN, dtype=torch.float32)
        total = total.index_add(0, batch.owner, x.float())
        return total / batch.starts.diff()[:, None], kept

    def states(self, batch: Batch, depth: int) -> torch.Tensor:
        """Hidden states (tokens, hidden) after `depth` layers."""
        x = self._words(batch)
        for layer in self.layers[:depth]:
            x = layer(x, batch)
        return x

    def _words(self, batch: Batch) -> torch.Tensor:
        # A dense gradient of all rows costs a CPU as much as the rest of the update.
        words = F.embedding(batch.ids, self.rows, sparse=self.rows.device.type == "cpu")
        if self._four_bit:
            words = fake_quantized(words)
        return self.norm(words + F.embedding(batch.positions, self.positions) + self.type_row)

    def experts(self) -> list[Experts]:
        """The MoE blocks, lowest first."""
        return [layer.mlp for layer in self.layers if isinstance(layer.mlp, Experts)]

    def compile_layers(self) -> None:
        """Fuse the part behind the attention of every dense layer."""
        for layer in self.layers:
            if isinstance(layer, Layer) and isinstance(layer.mlp, Dense):
                layer.after_attention = torch.compile(layer.after_attention, dynamic=True)  # type: ignore[method-assign]


def go_towards(encoder: Encoder, other: Encoder, share: float) -> None:
    """Move every weight of `encoder` by `share` of its distance to `other`'s."""
    wanted = other.state_dict()
    with torch.no_grad():
        for name, weight in encoder.state_dict().items():
            weight.lerp_(wanted[name], share)


def load_teacher(file: TeacherFile) -> Encoder:
    """The teacher as it is, 250,037 rows, evaluation only."""
    teacher = Encoder(torch.from_numpy(file.tensors["emb.word"]))
    copy_dense_weights(file, teacher)
    return frozen(teacher)


def frozen(encoder: Encoder) -> Encoder:
    """The encoder, for evaluation only."""
    encoder.eval()
    encoder.requires_grad_(False)
    return encoder


def copy_dense_weights(file: TeacherFile, encoder: Encoder) -> None:
    """Copy everything but word rows and the feed-forward part of MoE layers."""
    t = {name: torch.from_numpy(value) for name, value in file.tensors.items()}
    with torch.no_grad():
        encoder.positions.copy_(t["emb.pos"])
        encoder.type_row.copy_(t["emb.type"][0])
        _copy_part(encoder.norm, t, "emb.ln")
        for i, layer in enumerate(encoder.layers):
            p = f"l{i}."
            layer.qkv.weight.copy_(torch.cat([t[f"{p}{c}.w"] for c in "qkv"]))
            layer.qkv.bias.copy_(torch.cat([t[f"{p}{c}.b"] for c in "qkv"]))
            _copy_part(layer.out, t, p + "ao")
            _copy_part(layer.norm1, t, p + "aln")
            _copy_part(layer.norm2, t, p + "oln")
            if isinstance(layer.mlp, Dense):
                _copy_part(layer.mlp.fc1, t, p + "fi")
                _copy_part(layer.mlp.fc2, t, p + "fo")


def _copy_part(module: nn.Module, t: Mapping[str, torch.Tensor], name: str) -> None:
    copy_affine(module, t, f"{name}.w", f"{name}.b")


def copy_affine(
    module: nn.Module, tensors: Mapping[str, torch.Tensor], weight: str, bias: str
) -> None:
    """Copy the weight and the bias of a linear or a norm, by their names."""
    module.weight.copy_(tensors[weight])
    module.bias.copy_(tensors[bias])
