"""The run behind `embed eval`: every configuration on every task, resumable."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedge.models.errors import InvalidOption
from embedge.runtime.cancel import CancelToken
from embedge.runtime.progress import ProgressCallback
from embedge.runtime.quality.encoding import EncodeChoices, Encoding
from embedge.runtime.quality.retrieval import RetrievalTask
from embedge.runtime.quality.runner import Choice, choose, embed_tasks, opened
from embedge.runtime.quality.task import Encode, Outcome, Role, Task


@dataclass(frozen=True)
class Configuration:
    """One column of the table.

    Attributes:
        label: short, and different for every column.
        space: fingerprint of the vectors; empty for BM25.
    """

    label: str
    model: str
    variant: str
    dim: int | None
    space: str


@dataclass(frozen=True, kw_only=True)
class EvaluationPlan:
    """What to evaluate.

    Attributes:
        models: names or bundle folders.
        variants: numeric forms; each model runs those that it holds. Empty: the one that fits
            this CPU.
        dims: sizes; empty: the model's full size.
        baseline: add a BM25 column for retrieval.
        keep_vectors: keep them in the cache folder for the next run.
    """

    models: Sequence[str]
    variants: Sequence[str] = ()
    dims: Sequence[int] = ()
    baseline: bool = False
    choices: EncodeChoices = field(default_factory=EncodeChoices)
    threads: int | None = None
    cache_dir: Path | None = None
    keep_vectors: bool = True


@dataclass(frozen=True)
class Evaluation:
    """All outcomes: task name -> one outcome per configuration, None where it does not apply."""

    tasks: Sequence[Task]
    configurations: Sequence[Configuration]
    outcomes: dict[str, list[Outcome | None]]
    choices: EncodeChoices


def evaluate(
    tasks: Sequence[Task],
    plan: EvaluationPlan,
    *,
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
) -> Evaluation:
    """Embed what is not cached, and score every task with every configuration.

    Args:
        tasks: from `find_tasks`.
        plan: what to compare.
        progress: one run of events per model and variant; files are tasks, chunks are texts.
        cancel: ends the run; finished blocks of vectors are kept.

    Raises:
        InvalidOption: a variant or size that no model has, or two tasks of one name.
        ModelNotFound: a model is not on this machine.
        InputError: a task's files are broken.
        Cancelled: `cancel` was used.
    """
    outcomes: dict[str, list[Outcome | None]] = {task.name: [] for task in tasks}
    if len(outcomes) < len(tasks):
        raise InvalidOption("two tasks have the same name; evaluate their folders one by one")
    columns: list[Configuration] = []
    for choice in choose(plan.models, plan.variants, plan.cache_dir):
        with opened(
            choice,
            plan.choices,
            threads=plan.threads,
            cache_dir=plan.cache_dir,
            keep=plan.keep_vectors,
        ) as encoding:
            dims = [encoding.checked_dim(dim) for dim in plan.dims] or [encoding.dim]
            columns += [_configuration(encoding, choice, dim) for dim in dims]
            for task in embed_tasks(encoding, tasks, progress=progress, cancel=cancel):
                outcomes[task.name] += [task.evaluate(_encode(encoding, dim)) for dim in dims]
    if plan.baseline:
        columns.append(Configuration("BM25", "", "", None, ""))
        for task in tasks:
            if cancel is not None:
                cancel.raise_if_cancelled()
            bm25 = task.evaluate_bm25() if isinstance(task, RetrievalTask) else None
            outcomes[task.name].append(bm25)
    return Evaluation(tasks, _labelled(columns), outcomes, plan.choices)


def _encode(encoding: Encoding, dim: int) -> Encode:
    def encode(texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        return encoding.vectors(texts, role, dim)

    return encode


def _configuration(encoding: Encoding, choice: Choice, dim: int) -> Configuration:
    space = encoding.space(dim).fingerprint
    return Configuration("", choice.name, encoding.variant, dim, space)


def _labelled(columns: Sequence[Configuration]) -> list[Configuration]:
    """Name columns by variant, by size if there are several, by model if that is not enough."""
    several_dims = len({column.dim for column in columns if column.dim is not None}) > 1
    short = [_label(column, with_dim=several_dims, with_model=False) for column in columns]
    with_model = len(set(short)) < len(short)
    return [
        replace(column, label=_label(column, with_dim=several_dims, with_model=with_model))
        for column in columns
    ]


def _label(column: Configuration, *, with_dim: bool, with_model: bool) -> str:
    if column.dim is None:
        return column.label
    parts = [Path(column.model).name] if with_model else []
    parts += [column.variant] + ([str(column.dim)] if with_dim else [])
    return " ".join(parts)
