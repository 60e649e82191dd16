"""What the student is trained towards; every loss works on vectors that are not yet normalised."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F

TEMPERATURE = 0.05

SIZES: Mapping[int, float] = {384: 1.0, 256: 0.5, 128: 0.5}
"""Trained sizes and the weight of each."""


def unit(x: torch.Tensor) -> torch.Tensor:
    """Rows of length one."""
    return F.normalize(x, dim=-1)


def divergence(
    student: torch.Tensor, teacher: torch.Tensor, drop: torch.Tensor | None = None
) -> torch.Tensor:
    """KL of the row-wise similarity distributions; `drop` marks entries that do not count."""
    s, t = student / TEMPERATURE, teacher / TEMPERATURE
    if drop is not None:
        s, t = s.masked_fill(drop, -1e4), t.masked_fill(drop, -1e4)
    return F.kl_div(
        F.log_softmax(s, -1), F.log_softmax(t, -1), log_target=True, reduction="batchmean"
    )


def contrast(similarity: torch.Tensor, same: torch.Tensor) -> torch.Tensor:
    """InfoNCE with row i matching column i; `same` marks further pairs that are no negatives."""
    logits = (similarity / TEMPERATURE).masked_fill(same, -1e4)
    return F.cross_entropy(logits, torch.arange(len(logits)))


def translation_loss(
    text: torch.Tensor, english: torch.Tensor, target: torch.Tensor, weight: float
) -> torch.Tensor:
    """Both sides towards the mean of the two teacher vectors.

    Args:
        text: student vectors (pairs, 384).
        english: student vectors of the translations.
        target: unit vectors (pairs, 384).
        weight: of the contrastive part.
    """
    n = len(target)
    own = torch.eye(n, dtype=torch.bool)
    wanted = target @ target.t()
    same = (wanted > 0.95) & ~own
    loss = 2 * (1 - ((unit(text) + unit(english)) * target).sum(1).mean() / 2)
    for size, share in SIZES.items():
        a, e = unit(text[:, :size]), unit(english[:, :size])
        across = a @ e.t()
        loss = loss + share * (
            0.25 * divergence(across, wanted)
            + 0.25 * divergence(across.t(), wanted)
            + 0.25 * divergence(a @ a.t(), wanted, own)
            + 0.25 * divergence(e @ e.t(), wanted, own)
            + weight * contrast(across, same)
        )
    return loss


def retrieval_loss(
    query: torch.Tensor,
    passage: torch.Tensor,
    targets: tuple[torch.Tensor, torch.Tensor],
    weight: float,
) -> torch.Tensor:
    """Queries and passages towards the teacher's vectors and its ranking.

    Args:
        query: student vectors (pairs, 384).
        passage: student vectors of the passages.
        targets: the teacher's unit vectors of both.
        weight: of the contrastive part.
    """
    wanted_q, wanted_p = targets
    own = torch.eye(len(query), dtype=torch.bool)
    ranking, likeness = wanted_q @ wanted_p.t(), wanted_p @ wanted_p.t()
    same = ((likeness > 0.95) | (wanted_q @ wanted_q.t() > 0.95)) & ~own
    fit = (unit(query) * wanted_q).sum(1).mean() + (unit(passage) * wanted_p).sum(1).mean()
    loss = 2 * (1 - fit / 2)
    for size, share in SIZES.items():
        q, p = unit(query[:, :size]), unit(passage[:, :size])
        loss = loss + share * (
            0.5 * divergence(q @ p.t(), ranking)
            + 0.25 * divergence(p @ q.t(), ranking.t())
            + 0.25 * divergence(p @ p.t(), likeness, own)
            + weight * contrast(q @ p.t(), same)
        )
    return loss
