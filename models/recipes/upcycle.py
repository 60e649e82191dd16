"""Sparse up-cycling that keeps the teacher's function.

Every expert starts as the teacher's feed-forward part with small noise. Experts have no biases,
so the input bias is folded into w1 by a direction u with u.x = 1 on real activations
((w1 + b1 u) x = w1 x + b1), and w2 is divided by the mean sum of the two gate weights, because
these are not renormalised. The router starts balanced: its rows are blind to the mean and to the
strongest directions of its input, and its logits have a small deviation.
"""

from dataclasses import dataclass

import torch

from embedge.models.recipes.network import (
    EXPERTS,
    TOP_K,
    Batch,
    Encoder,
    Experts,
    Layer,
    attention,
    copy_dense_weights,
)
from embedge.models.recipes.teacher_file import HIDDEN, INNER, TeacherFile

RIDGE = 1e-3
"""With it, u.x has deviation 0.02 around 1 on 3,940 activations of layer 1."""
STRONGEST, LOGIT_DEVIATION = 12, 0.1


@dataclass(frozen=True)
class Routing:
    """`fold` is u (hidden,); `router` (experts, hidden); `gate_sum` the mean of the top-2 sum."""

    fold: torch.Tensor
    router: torch.Tensor
    gate_sum: float


def routing_for(x: torch.Tensor, generator: torch.Generator) -> Routing:
    """Fold direction and balanced router for inputs x (tokens, hidden)."""
    x = x.double()
    mean = x.mean(0)
    u = torch.linalg.solve(x.T @ x / len(x) + RIDGE * torch.eye(HIDDEN).double(), mean)
    u /= (x @ u).mean()
    centred = x - mean
    directions = torch.linalg.eigh(centred.T @ centred / len(x))[1]  # ascending
    weak = directions[:, :-STRONGEST]
    rows = torch.randn(EXPERTS, HIDDEN, generator=generator, dtype=torch.float64) @ weak @ weak.T
    rows -= torch.outer(rows @ mean, mean) / (mean @ mean)
    rows *= LOGIT_DEVIATION / (x @ rows.T).std(0, keepdim=True).T
    gates = (x @ rows.T).softmax(-1).topk(TOP_K, -1).values.sum(1)
    return Routing(u.float(), rows.float(), float(gates.mean()))


def up_cycle(
    file: TeacherFile,
    rows: torch.Tensor,
    routings: dict[int, Routing],
    *,
    noise: float,
    generator: torch.Generator,
) -> Encoder:
    """The untrained student.

    Args:
        file: the teacher.
        rows: (pieces, hidden) word rows of the kept pieces.
        routings: one for each layer that becomes MoE.
        noise: deviation of the experts' noise, in deviations of the weight itself.
        generator: source of the noise.
    """
    student = Encoder(rows, tuple(routings), four_bit=True)
    copy_dense_weights(file, student)
    t = {name: torch.from_numpy(value) for name, value in file.tensors.items()}
    with torch.no_grad():
        for i, routing in routings.items():
            experts = student.layers[i].mlp
            assert isinstance(experts, Experts)
            w1 = t[f"l{i}.fi.w"] + torch.outer(t[f"l{i}.fi.b"], routing.fold)
            w2 = t[f"l{i}.fo.w"].t() / routing.gate_sum  # (inner, hidden)
            shape = (EXPERTS, INNER, HIDDEN)
            experts.router.copy_(routing.router)
            experts.w1.copy_(w1 + noise * w1.std() * torch.randn(shape, generator=generator))
            experts.w2.copy_(w2 + noise * w2.std() * torch.randn(shape, generator=generator))
            experts.bias.copy_(t[f"l{i}.fo.b"])
    return student


def moe_inputs(teacher: Encoder, batch: Batch, layer: int) -> torch.Tensor:
    """What the feed-forward part of `layer` reads, (tokens, hidden)."""
    block = teacher.layers[layer]
    assert isinstance(block, Layer)
    with torch.no_grad():
        x = teacher.states(batch, layer)
        return block.before_mlp(x, attention(block.qkv(x), batch))


def centre(student: Encoder, mean: torch.Tensor) -> None:
    """Take the vectors' common part out of the last LayerNorm's bias."""
    with torch.no_grad():
        student.layers[-1].norm2.bias -= mean
