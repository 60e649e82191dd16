"""Plans, turns and figures. What a run takes is never looked at."""

import json
import sys

import pytest

from embedge import BackendError, InvalidOption, ModelNotFound
from embedge.runtime.bench.measure import (
    BenchPlan,
    Throughput,
    measure,
    median_and_range,
    percentile,
    points,
    ratios,
)
from embedge.runtime.bench.process import ContestantChoice, WorkerProcess
from embedge.runtime.bench.report import as_json, as_text

MACHINE = {
    "cpu": {"model": "a CPU", "features": ["avx2"]}, "system": "Linux x86_64",
    "versions": {"onnxruntime": "1.32.0"}, "threads": {"threads": 2},
}  # fmt: skip


@pytest.fixture
def choice(tiny_bundle) -> ContestantChoice:
    return ContestantChoice(model=str(tiny_bundle), threads=1)


def test_percentiles_are_measured_values_by_nearest_rank():
    values = [float(i) for i in range(100, 0, -1)]
    assert [percentile(values, p) for p in (50, 95, 99, 100)] == [50, 95, 99, 100]
    assert percentile([3.0], 99) == 3
    assert percentile([1.0, 2.0], 50) == 1


def test_ratios_pair_the_rounds_of_two_contestants():
    assert ratios([[100.0, 200], [150.0, 200]]) == [1.5, 1.0]
    assert median_and_range([3.0, 1, 2]) == (2, 1, 3)


def test_points_cover_lengths_by_batch_sizes_and_budgets(choice):
    plan = BenchPlan(
        contestants=[choice], lengths=[16, 512], batch_sizes=[1, 32], batch_tokens=[1024]
    )
    found = [(p.length, p.batch_size, p.batch_tokens, p.count) for p in points(plan)]
    assert found == [
        (16, 1, 16, 256), (16, 32, 512, 256), (512, 1, 512, 8), (512, 32, 16384, 32),
        (None, None, None, 200), (None, None, 1024, 200),
    ]  # fmt: skip
    assert len({point.name for point in points(plan)}) == 6


def test_a_worker_says_what_it_opened_and_makes_texts(choice):
    with WorkerProcess(choice) as worker:
        said = worker.description
        assert (said["variant"], said["dim"], said["threads"]) == ("fp32", 32, 1)
        assert 0 < said["resident_bytes"] <= said["peak_bytes"]
        assert set(said["start"]) == {"import_s", "open_s", "first_vector_s"}
        made = worker.ask("texts", length=16, count=3, task="query")
        assert len(made["texts"]) == 3
        assert 3 * 13 <= made["tokens"] <= 3 * 17
        timed = worker.ask("latency", texts=made["texts"])
        assert len(timed["seconds"]) == 3


def test_a_model_that_is_not_here_fails_as_it_would_without_a_worker():
    with pytest.raises(ModelNotFound, match="no-such-model"):
        WorkerProcess(ContestantChoice(model="no-such-model"))


def test_an_error_in_a_request_keeps_its_class(choice):
    with WorkerProcess(choice) as worker, pytest.raises(InvalidOption, match="batch_size 0"):
        worker.ask("throughput", texts=["a"], batch_size=0, batch_tokens=None)


def test_a_process_that_dies_is_reported(choice):
    broken = ContestantChoice(model="x", python=sys.executable + "-missing")
    with pytest.raises(BackendError, match="cannot be started"):
        WorkerProcess(broken)
    with WorkerProcess(choice) as worker:
        worker._process.kill()
        worker._process.wait()
        with pytest.raises(BackendError, match="worker process ended"):
            worker.ask("memory")


@pytest.mark.slow
def test_two_contestants_take_turns_at_every_point(choice, monkeypatch):
    asked: list[tuple[int, str]] = []
    original = WorkerProcess.ask

    def noting(self, do, **request):
        asked.append((self._process.pid, do))
        return original(self, do, **request)

    monkeypatch.setattr(WorkerProcess, "ask", noting)
    monkeypatch.setattr("embedge.runtime.bench.measure.TOKENS_PER_POINT", 64)
    plan = BenchPlan(
        contestants=[choice, choice], lengths=[16], rounds=3, queries=20, mixed=3, cold_starts=1,
        thread_counts=[1], profile=True,
    )  # fmt: skip
    steps: list[str] = []
    result = measure(plan, lambda step, done, total: steps.append(step))

    first = [pid for pid, do in asked if do == "throughput"][:8]
    a, b = first[0], first[1]
    assert a != b
    assert first == [a, b, b, a, a, b, b, a]
    assert [len(rates) for one in result.throughput for rates in one.rates] == [3, 3, 3, 3]
    assert [len(seconds) for seconds in result.latency_s] == [20, 20]
    assert [len(seconds) for seconds in result.cold_start_s] == [1, 1]
    assert list(result.threads) == [1]
    assert "single queries of 16 tokens" in steps
    check_reports(result)


def check_reports(result) -> None:
    report = json.loads(json.dumps(as_json(result, MACHINE)))
    assert report["machine"]["cpu"]["model"] == "a CPU"
    assert report["throughput"][0]["ratio"].keys() == {"median", "min", "max"}
    assert report["latency"][0].keys() == {"queries", "p50_s", "p95_s", "p99_s"}
    assert report["memory"][1]["peak_bytes"] >= report["memory"][1]["resident_bytes"]
    text = as_text(result, MACHINE)
    assert "| second / first" in text
    assert "single query, p99" in text
    assert "Profile of 2: tiny fp32" in text


def test_one_contestant_has_no_ratio():
    one = Throughput(points(BenchPlan(contestants=[]))[0], 100, [[1.0, 2.0]])
    from embedge.runtime.bench.report import _point

    assert "ratio" not in _point(one)
