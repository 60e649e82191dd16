"""Averages, differences and their two forms."""

import json
from dataclasses import dataclass

import numpy as np
import pytest

from embedge.runtime.quality.bootstrap import RESAMPLES
from embedge.runtime.quality.encoding import EncodeChoices
from embedge.runtime.quality.evaluate import Configuration, Evaluation
from embedge.runtime.quality.report import as_json, as_markdown, group_rows, kind_rows
from embedge.runtime.quality.task import Outcome


@dataclass(frozen=True)
class Named:
    name: str
    group: str
    kind: str
    languages: tuple[str, ...] = ()


def outcome(value: float, *, shift: float = 0.0, name: str = "nDCG@10") -> Outcome:
    """Samples that spread evenly by 0.1 around the value; `shift` moves them all."""
    spread = np.linspace(-0.05, 0.05, RESAMPLES)
    others = {"recall@10": value / 2} if name == "nDCG@10" else {}
    return Outcome(10, {name: value + shift, **others}, value + shift + spread)


@pytest.fixture
def evaluation() -> Evaluation:
    """Two languages of one set, one other set, one STS task; int8 loses 0.01, BM25 is partial."""
    tasks = [
        Named("r/many/de", "r/many", "retrieval"), Named("r/many/en", "r/many", "retrieval"),
        Named("r/one", "r/one", "retrieval"), Named("s/en.test", "s.test", "sts"),
    ]  # fmt: skip
    values = {"r/many/de": 0.5, "r/many/en": 0.7, "r/one": 0.2}
    outcomes = {
        name: [outcome(value), outcome(value, shift=-0.01), outcome(0.3)]
        for name, value in values.items()
    }
    sts = [outcome(0.8, name="Spearman"), outcome(0.8, shift=-0.01, name="Spearman"), None]
    columns = [
        Configuration("fp32", "m", "fp32", 32, "m-11111111"),
        Configuration("int8", "m", "int8", 32, "m-22222222"),
        Configuration("BM25", "BM25", "", None, ""),
    ]
    return Evaluation(tasks, columns, outcomes | {"s/en.test": sts}, EncodeChoices())


def main_values(row) -> list[float | None]:
    return [o and pytest.approx(next(iter(o.measures.values()))) for o in row.outcomes]


def test_groups_average_their_tasks(evaluation):
    rows = {row.name: row for row in group_rows(evaluation)}
    assert main_values(rows["r/many"]) == [0.6, 0.59, 0.3]
    assert rows["r/many"].n_tasks == 2
    assert rows["s.test"].outcomes[2] is None


def test_a_kind_averages_its_groups_so_that_languages_do_not_outvote_a_data_set(evaluation):
    (row,) = kind_rows(group_rows(evaluation))
    assert (row.name, row.n_tasks) == ("all retrieval", 2)
    assert main_values(row) == [pytest.approx((0.6 + 0.2) / 2), pytest.approx(0.39), 0.3]


def test_markdown_gives_points_with_difference_and_interval(evaluation):
    text = as_markdown(evaluation)
    averages, measures, tasks = text.split("\n## ")
    assert averages.startswith("## Averages")
    assert "| 59.00 (-1.00: -1.00 to -1.00) |" in row_of(averages, "r/many ")
    assert "| recall@10 |" in row_of(measures, "r/many ")
    assert row_of(tasks, "s/en.test").endswith("| 79.00 (-1.00: -1.00 to -1.00) | |")
    assert "difference to fp32" in text
    assert "int8: m, space m-22222222" in text


def row_of(table: str, name: str) -> str:
    (line,) = (line for line in table.splitlines() if line.startswith(f"| {name}"))
    return " ".join(line.split())


def test_json_holds_the_same_figures_unrounded(evaluation):
    report = json.loads(json.dumps(as_json(evaluation, {"machine": {"cpu": "x"}})))
    assert report["machine"] == {"cpu": "x"}
    assert [c["label"] for c in report["configurations"]] == ["fp32", "int8", "BM25"]
    by_name = {row["name"]: row for row in report["averages"]}
    assert list(by_name) == ["all retrieval", "r/many", "r/one", "s.test"]
    first, second, third = by_name["r/many"]["scores"]
    assert "difference" not in first
    assert second["difference"]["value"] == pytest.approx(-0.01)
    assert second["difference"]["interval"] == pytest.approx([-0.01, -0.01])
    assert third["measures"]["nDCG@10"] == pytest.approx(0.3)
    (sts,) = (row for row in report["tasks"] if row["kind"] == "sts")
    assert sts["scores"][2] is None
    assert first["interval"] == pytest.approx([0.6 - 0.0475, 0.6 + 0.0475], abs=1e-3)
