"""What the student is trained towards; every loss works on vectors that are not yet normalised."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

TEMPERATURE = 0.05

SIZES: Mapping[int, float] = {384: 1.0, 256: 1.0, 128: 0.4}
"""Trained sizes and the weight of each."""

NEAR = 0.95
"""Texts with targets this alike are no negatives of each other."""


@dataclass(frozen=True)
class Weights:
    """Of the teacher's vectors, of its similarities, of their level, of the contrastive parts."""

    vectors: float
    similarities: float
    level: float
    contrast: float
    passage_contrast: float


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


def level_error(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Squared difference of mean similarities.

    The divergence does not see a constant added to all similarities; with this, those of unrelated
    texts stay near the teacher's, 0 on average.
    """
    return (student.mean() - teacher.mean()).square()


def contrast(similarity: torch.Tensor, same: torch.Tensor) -> torch.Tensor:
    """InfoNCE with row i matching column i; `same` marks further pairs that are no negatives."""
    logits = (similarity / TEMPERATURE).masked_fill(same, -1e4)
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


def distance(vectors: torch.Tensor, target: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """1 - cosine to the turned target.

    `turn` (384, 384) is a rotation that slowly follows the student: all similarities of the
    teacher stay, and the student may choose the directions that it keeps in its first 256 and 128
    dimensions.
    """
    return 1 - (unit(vectors) * (target @ turn)).sum(1).mean()


def word_error(student: Sequence[torch.Tensor], teacher: Sequence[torch.Tensor]) -> torch.Tensor:
    """Squared distance of states (words, 384), in variances of the teacher's, mean over layers.

    Nothing where there are no two words.
    """
    if len(teacher[0]) < 2:
        return teacher[0].new_zeros(())
    errors = [
        (own - wanted).square().mean() / wanted.var(0).mean()
        for own, wanted in zip(student, teacher, strict=True)
    ]
    return torch.stack(errors).mean()


def final_word_error(
    student: torch.Tensor, teacher: torch.Tensor, turn: torch.Tensor
) -> torch.Tensor:
    """The same for last states, whose common part the student leaves out and which are turned."""
    turned = (teacher - teacher.mean(0)) @ turn
    return word_error([student - student.mean(0)], [turned])


def translation_loss(
    text: torch.Tensor,
    english: torch.Tensor,
    target: torch.Tensor,
    wanted: torch.Tensor,
    turn: torch.Tensor,
    weights: Weights,
) -> torch.Tensor:
    """Both sides towards one target.

    Args:
        text: student vectors (pairs, 384).
        english: student vectors of the translations.
        target: unit vectors (pairs, 384).
        wanted: similarities (pairs, pairs) that the student's should be like.
        turn: rotation of the target.
        weights: of the parts.
    """
    own = torch.eye(len(target), dtype=torch.bool, device=target.device)
    same = (target @ target.t() > NEAR) & ~own
    loss = weights.vectors * (distance(text, target, turn) + distance(english, target, turn))
    for size, share in SIZES.items():
        a, e = unit(text[:, :size]), unit(english[:, :size])
        across = a @ e.t()
        alike = (
            divergence(across, wanted)
            + divergence(across.t(), wanted)
            + divergence(a @ a.t(), wanted, own)
            + divergence(e @ e.t(), wanted, own)
        ) / 4
        apart = (contrast(across, same) + contrast(across.t(), same)) / 2
        offset = level_error(across, wanted)
        loss = loss + share * (
            weights.similarities * alike + weights.contrast * apart + weights.level * offset
        )
    return loss


def retrieval_loss(
    query: torch.Tensor,
    passage: torch.Tensor,
    targets: tuple[torch.Tensor, torch.Tensor],
    turn: torch.Tensor,
    weights: Weights,
) -> torch.Tensor:
    """Queries and passages towards the teacher's vectors and its ranking.

    Args:
        query: student vectors (pairs, 384).
        passage: student vectors of the passages.
        targets: the teacher's unit vectors of both.
        turn: rotation of the targets.
        weights: of the parts.
    """
    wanted_q, wanted_p = targets
    own = torch.eye(len(query), dtype=torch.bool, device=query.device)
    ranking, likeness = wanted_q @ wanted_p.t(), wanted_p @ wanted_p.t()
    same = ((likeness > NEAR) | (wanted_q @ wanted_q.t() > NEAR)) & ~own
    loss = weights.vectors * (distance(query, wanted_q, turn) + distance(passage, wanted_p, turn))
    for size, share in SIZES.items():
        q, p = unit(query[:, :size]), unit(passage[:, :size])
        ranked = (
            2 * divergence(q @ p.t(), ranking)
            + divergence(p @ q.t(), ranking.t())
            + divergence(p @ p.t(), likeness, own)
        ) / 4
        apart = contrast(q @ p.t(), same)
        offset = level_error(q @ p.t(), ranking)
        loss = loss + share * (
            weights.similarities * ranked
            + weights.passage_contrast * apart
            + weights.level * offset
        )
    return loss
