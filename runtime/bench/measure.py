"""The measurements: points, contestants that take turns, and figures with their spread."""

import itertools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from embedge.runtime.bench.process import ContestantChoice, Json, WorkerProcess

# Tokens of one measurement: 0.1 s for a small model, 10 s for a large one on two cores.
TOKENS_PER_POINT = 4096
_QUERIES_PER_TURN = 10

OnStep = Callable[[str, int, int | None], None]


@dataclass(frozen=True, kw_only=True)
class BenchPlan:
    """What to measure.

    Attributes:
        contestants: one model, or two whose ratio is wanted; the first is the reference.
        lengths: tokens per text, prefix and special tokens included; one point each.
        batch_sizes: texts per batch; none: the runtime fills batches by itself.
        batch_tokens: budgets to try on mixed lengths, besides the default.
        thread_counts: thread counts to try on mixed lengths, in processes of their own.
        rounds: measurements per point, after one that warms up.
        queries: single queries timed for the latency.
        mixed: texts of mixed lengths.
        cold_starts: fresh processes timed until their first vector.
        profile: add time per operator type and per layer.
    """

    contestants: Sequence[ContestantChoice]
    lengths: Sequence[int] = (16, 128, 512)
    batch_sizes: Sequence[int] = ()
    batch_tokens: Sequence[int] = ()
    thread_counts: Sequence[int] = ()
    rounds: int = 5
    queries: int = 100
    mixed: int = 200
    cold_starts: int = 3
    profile: bool = False


@dataclass(frozen=True)
class Point:
    """One thing to embed over and over: texts and how they are batched."""

    name: str
    length: int | None
    count: int
    batch_size: int | None = None
    batch_tokens: int | None = None


@dataclass(frozen=True)
class Throughput:
    """Tokens per second of one point: rounds by contestant, in the order of the contestants."""

    point: Point
    tokens: int
    rates: Sequence[Sequence[float]]


@dataclass
class BenchResult:
    """All figures; seconds, tokens per second and bytes, unrounded.

    Attributes:
        contestants: what each worker said about itself.
        cold_start_s: by contestant, one per process, from its start to the first vector.
        throughput: by point.
        latency_s: by contestant, one per query.
        memory: by contestant, after everything else.
        threads: thread count -> mixed throughput.
        profiles: by contestant.
    """

    contestants: list[Json] = field(default_factory=list)
    cold_start_s: list[list[float]] = field(default_factory=list)
    throughput: list[Throughput] = field(default_factory=list)
    latency_s: list[list[float]] = field(default_factory=list)
    memory: list[Json] = field(default_factory=list)
    threads: dict[int, Throughput] = field(default_factory=dict)
    profiles: list[Json] = field(default_factory=list)


def points(plan: BenchPlan) -> list[Point]:
    """Return the points of throughput: lengths by batch sizes, then mixed lengths by budgets."""
    found = []
    for length, size in itertools.product(plan.lengths, plan.batch_sizes or (None,)):
        in_batch = size or 1
        count = in_batch * max(1, round(TOKENS_PER_POINT / (length * in_batch)))
        name = f"{length} tokens" + (f", {size} texts per batch" if size else "")
        # A budget below the batch would split it again.
        found.append(Point(name, length, count, size, length * size if size else None))
    found.append(Point("mixed lengths", None, plan.mixed))
    found += [
        Point(f"mixed lengths, {budget} tokens per batch", None, plan.mixed, None, budget)
        for budget in plan.batch_tokens
    ]
    return found


def measure(plan: BenchPlan, on_step: OnStep) -> BenchResult:
    """Run the plan.

    Args:
        plan: what to measure.
        on_step: called with the step's name, rounds done and rounds in all.

    Raises:
        EmbedgeError: a model cannot be opened, a length is beyond its limit, a process died.
    """
    result = BenchResult(cold_start_s=_cold_starts(plan, on_step))
    with _Turns(plan.contestants) as turns:
        result.contestants = [worker.description for worker in turns.workers]
        for point in points(plan):
            result.throughput.append(turns.throughput(point, plan.rounds, on_step))
        result.latency_s = turns.latency(min(plan.lengths), plan.queries, on_step)
        result.memory = [worker.ask("memory") for worker in turns.workers]
        if plan.profile:
            result.profiles = turns.profiles(plan.rounds)
    mixed = Point("mixed lengths", None, plan.mixed)
    for count in plan.thread_counts:
        threaded = [replace(choice, threads=count) for choice in plan.contestants]
        with _Turns(threaded) as turns:
            named = replace(mixed, name=f"mixed lengths, threads: {count}")
            result.threads[count] = turns.throughput(named, plan.rounds, on_step)
    return result


def _cold_starts(plan: BenchPlan, on_step: OnStep) -> list[list[float]]:
    found: list[list[float]] = [[] for _ in plan.contestants]
    for done in range(plan.cold_starts):
        for seconds, choice in zip(found, plan.contestants, strict=True):
            with WorkerProcess(choice) as worker:
                seconds.append(worker.start_s)
        on_step("cold start", done + 1, plan.cold_starts)
    return found


class _Turns:
    """Workers that measure the same thing one after the other, round by round."""

    def __init__(self, choices: Sequence[ContestantChoice]) -> None:
        self.workers: list[WorkerProcess] = []
        try:
            for choice in choices:
                self.workers.append(WorkerProcess(choice))
        except BaseException:
            self._close(at_once=True)
            raise

    def __enter__(self) -> "_Turns":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._close(at_once=kind is not None)

    def _close(self, *, at_once: bool) -> None:
        for worker in self.workers:
            worker.close(at_once=at_once)

    def throughput(self, point: Point, rounds: int, on_step: OnStep) -> Throughput:
        texts, tokens = self._texts(point.length, point.count, "document")
        rates: list[list[float]] = [[] for _ in self.workers]
        for number in range(rounds + 1):
            for i in self._order(number):
                answer = self.workers[i].ask(
                    "throughput",
                    texts=texts,
                    batch_size=point.batch_size,
                    batch_tokens=point.batch_tokens,
                )
                if number > 0:  # the first round warms up
                    rates[i].append(tokens / cast(float, answer["seconds"]))
            on_step(point.name, number, rounds)
        return Throughput(point, tokens, rates)

    def latency(self, length: int, queries: int, on_step: OnStep) -> list[list[float]]:
        texts, _ = self._texts(length, queries, "query")
        found: list[list[float]] = [[] for _ in self.workers]
        for worker in self.workers:
            worker.ask("latency", texts=texts[:_QUERIES_PER_TURN])  # warms up
        for number, begin in enumerate(range(0, len(texts), _QUERIES_PER_TURN)):
            turn = texts[begin : begin + _QUERIES_PER_TURN]
            for i in self._order(number):
                found[i] += cast(list[float], self.workers[i].ask("latency", texts=turn)["seconds"])
            on_step(f"single queries of {length} tokens", begin + len(turn), len(texts))
        return found

    def profiles(self, rounds: int) -> list[Json]:
        texts, _ = self._texts(128, 16, "document")
        return [worker.ask("profile", texts=texts, rounds=rounds) for worker in self.workers]

    def _texts(self, length: int | None, count: int, task: str) -> tuple[list[str], int]:
        """Let the first worker make texts for all, so that they measure the same."""
        made = self.workers[0].ask("texts", length=length, count=count, task=task)
        return cast(list[str], made["texts"]), cast(int, made["tokens"])

    def _order(self, number: int) -> list[int]:
        """Begin with another contestant each time, so that going first favours none."""
        n = len(self.workers)
        return [(number + i) % n for i in range(n)]


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that `percent` of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


def ratios(rates: Sequence[Sequence[float]]) -> list[float]:
    """Return second by first contestant, round by round."""
    reference, other = rates
    return [mine / theirs for mine, theirs in zip(other, reference, strict=True)]


def median_and_range(values: Sequence[float]) -> tuple[float, float, float]:
    """Return median, smallest and largest."""
    return statistics.median(values), min(values), max(values)
