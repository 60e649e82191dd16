"""The table of an evaluation: averages with differences, then every task; Markdown and JSON."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from embedge.models.manifest import Json
from embedge.runtime.markdown_table import markdown_table
from embedge.runtime.quality.bootstrap import CONFIDENCE, RESAMPLES, interval
from embedge.runtime.quality.evaluate import Evaluation
from embedge.runtime.quality.task import KINDS, MAIN_MEASURE, Kind, Outcome, Task


@dataclass(frozen=True)
class Row:
    """One line of a table: a task or an average, with one outcome per configuration or None."""

    name: str
    kind: Kind
    outcomes: Sequence[Outcome | None]
    n_tasks: int = 1


def group_rows(evaluation: Evaluation) -> list[Row]:
    """Average the tasks of each group: one data set in several languages."""
    groups: dict[tuple[Kind, str], list[Task]] = {}
    for task in evaluation.tasks:
        groups.setdefault((task.kind, task.group), []).append(task)
    return [
        _average(name, kind, [evaluation.outcomes[task.name] for task in tasks])
        for (kind, name), tasks in groups.items()
    ]


def kind_rows(groups: Sequence[Row]) -> list[Row]:
    """Average the groups of each kind, so that a data set counts once, not once per language."""
    rows = []
    for kind in KINDS:
        of_kind = [row for row in groups if row.kind == kind]
        if len(of_kind) > 1:
            average = _average(f"all {kind}", kind, [row.outcomes for row in of_kind])
            rows.append(Row(average.name, kind, average.outcomes, len(of_kind)))
    return rows


def _average(name: str, kind: Kind, rows: Sequence[Sequence[Outcome | None]]) -> Row:
    columns = [
        None if any(outcome is None for outcome in column) else _mean([o for o in column if o])
        for column in zip(*rows, strict=True)
    ]
    return Row(name, kind, columns, len(rows))


def _mean(outcomes: Sequence[Outcome]) -> Outcome:
    names = outcomes[0].measures
    return Outcome(
        n_items=sum(outcome.n_items for outcome in outcomes),
        measures={n: float(np.mean([o.measures[n] for o in outcomes])) for n in names},
        samples=np.mean([outcome.samples for outcome in outcomes], axis=0),
    )


def difference(outcome: Outcome, reference: Outcome) -> tuple[float, float, float]:
    """Return outcome minus reference in the main measure, and its interval (value, low, high)."""
    main = next(iter(outcome.measures))
    low, high = interval(outcome.samples - reference.samples)
    return outcome.measures[main] - reference.measures[main], low, high


def recorded_scores(evaluation: Evaluation) -> dict[str, Json]:
    """Return averages per group in the form that a bundle's manifest keeps, in points."""
    return {
        row.name: {
            "kind": row.kind,
            "measure": MAIN_MEASURE[row.kind],
            "tasks": row.n_tasks,
            "points": _points(evaluation, row),
        }
        for row in group_rows(evaluation)
    }


def _points(evaluation: Evaluation, row: Row) -> dict[str, Json]:
    points: dict[str, dict[str, Json]] = {}
    for column, outcome in zip(evaluation.configurations, row.outcomes, strict=True):
        if outcome is not None:
            value = round(100 * next(iter(outcome.measures.values())), 2)
            points.setdefault(column.variant or "bm25", {})[str(column.dim or "")] = value
    return dict(points)


def as_markdown(evaluation: Evaluation) -> str:
    """Return the report in points (values x 100), averages first."""
    labels = [configuration.label for configuration in evaluation.configurations]
    groups = group_rows(evaluation)
    tasks = [Row(t.name, t.kind, evaluation.outcomes[t.name]) for t in evaluation.tasks]
    parts = ["## Averages", _main_table([*kind_rows(groups), *groups], labels)]
    retrieval = [row for row in groups if row.kind == "retrieval"]
    if retrieval:
        parts += ["## Retrieval, other measures", _measure_table(retrieval, labels)]
    parts += ["## Tasks", _main_table(tasks, labels), _legend(evaluation)]
    return "\n\n".join(parts) + "\n"


def _main_table(rows: Sequence[Row], labels: Sequence[str]) -> str:
    header = ["task", "measure", "tasks" if any(r.n_tasks > 1 for r in rows) else "items", *labels]
    counted = header[2] == "tasks"
    lines = []
    for row in rows:
        items = max((outcome.n_items for outcome in row.outcomes if outcome), default=0)
        cells = [_cell(outcome, row.outcomes[0], i) for i, outcome in enumerate(row.outcomes)]
        count = row.n_tasks if counted else items
        lines.append([row.name, MAIN_MEASURE[row.kind], str(count), *cells])
    return markdown_table(header, lines)


def _cell(outcome: Outcome | None, reference: Outcome | None, column: int) -> str:
    if outcome is None:
        return ""
    value = f"{100 * next(iter(outcome.measures.values())):.2f}"
    if column == 0 or reference is None:
        return value
    delta, low, high = difference(outcome, reference)
    return f"{value} ({100 * delta:+.2f}: {100 * low:+.2f} to {100 * high:+.2f})"


def _measure_table(rows: Sequence[Row], labels: Sequence[str]) -> str:
    lines = []
    for row in rows:
        first = next(outcome for outcome in row.outcomes if outcome)
        for measure in list(first.measures)[1:]:
            values = [f"{100 * o.measures[measure]:.2f}" if o else "" for o in row.outcomes]
            lines.append([row.name, measure, *values])
    return markdown_table(["task", "measure", *labels], lines)


def _legend(evaluation: Evaluation) -> str:
    choices = evaluation.choices
    first = evaluation.configurations[0].label
    lines = [
        f"Values in points. In brackets: difference to {first}, with its "
        f"{CONFIDENCE:.0%} confidence interval (paired bootstrap, {RESAMPLES} resamples).",
        f"Prefixes: query and document; STS {choices.sts_task}; bitext {choices.bitext_task}. "
        f"Long texts: {choices.long_text}.",
        *(f"{c.label}: {c.model}, space {c.space}." for c in evaluation.configurations if c.space),
    ]
    return "\n".join(f"* {line}" for line in lines)


def as_json(evaluation: Evaluation, context: Mapping[str, object]) -> dict[str, object]:
    """Return the report as JSON values: measures from 0 to 1, nothing rounded.

    Args:
        evaluation: what `evaluate` returned.
        context: versions and machine, kept under their own names.
    """
    groups = group_rows(evaluation)
    return {
        "format": 1,
        **context,
        "choices": asdict(evaluation.choices),
        "bootstrap": {"resamples": RESAMPLES, "confidence": CONFIDENCE},
        "configurations": [asdict(c) for c in evaluation.configurations],
        "averages": [{**_row(row), "tasks": row.n_tasks} for row in [*kind_rows(groups), *groups]],
        "tasks": [
            {
                **_row(Row(task.name, task.kind, evaluation.outcomes[task.name])),
                "group": task.group,
                "languages": list(task.languages),
            }
            for task in evaluation.tasks
        ],
    }


def _row(row: Row) -> dict[str, object]:
    return {"name": row.name, "kind": row.kind, "scores": list(_scores(row.outcomes))}


def _scores(outcomes: Sequence[Outcome | None]) -> Iterator[dict[str, object] | None]:
    reference = outcomes[0]
    for i, outcome in enumerate(outcomes):
        if outcome is None:
            yield None
            continue
        low, high = interval(outcome.samples)
        score: dict[str, object] = {
            "items": outcome.n_items,
            "measures": dict(outcome.measures),
            "interval": [low, high],
        }
        if i > 0 and reference is not None:
            delta, low, high = difference(outcome, reference)
            score["difference"] = {"value": delta, "interval": [low, high]}
        yield score
