"""Peers in processes of their own that take turns on the same work.

A process each: a peer's memory is its own, and one library's idle threads or failed import cannot
touch another's. Every round runs every peer once, another one first each time, so that a slow
moment of the machine hits all; ratios are formed round by round.
"""

import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from peer_contract import Peer, Rows, Setup

Say = Callable[[str], None]


@dataclass(frozen=True)
class Work:
    """One row of the table.

    Attributes:
        name: such as `16x128`.
        rounds: the rows of each round; the same ones several times, or other ones each time.
        warm_up: what every peer does before.
        one_by_one: rows are queries, each timed alone, instead of one call.
        sizes: tokens of a round (of one query), where rows are not lists of tokens.
    """

    name: str
    rounds: Sequence[Rows]
    warm_up: Rows
    one_by_one: bool = False
    sizes: int | None = None


class PeerProcess:
    """A running peer."""

    def __init__(self, name: str, peer: Peer, setup: Setup) -> None:
        """Start it and wait until it is open; `refusal` says why where it is not."""
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, name, peer, setup), daemon=True
        )
        self._process.start()
        theirs.close()
        answer = self._receive()
        self.refusal: str | None = answer.get("refused")
        self.open_s: float = answer.get("seconds", 0.0)

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        self._pipe.send((do, request))
        answer = self._receive()
        if "refused" in answer:
            raise RuntimeError(answer["refused"])
        return answer

    def close(self) -> None:
        self._pipe.close()
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()

    def _receive(self) -> dict[str, Any]:
        try:
            return dict(self._pipe.recv())
        except EOFError:
            self._process.join()
            return {"refused": f"its process ended with code {self._process.exitcode}"}


def make_files(name: str, peer: Peer, setup: Setup) -> str | None:
    """Let a process of its own make the files, so that the memory of that is nobody's."""
    if peer.make is None:
        return None
    process = PeerProcess(name, Peer(_Maker(peer.make)), setup)
    process.close()
    return process.refusal


@dataclass(frozen=True)
class _Maker:
    """Looks like `Peer.open`, and only makes the files."""

    make: Callable[[Setup], object]

    def __call__(self, setup: Setup) -> Any:
        self.make(setup)


def _serve(pipe: Connection, name: str, peer: Peer, setup: Setup) -> None:
    start = time.perf_counter()
    try:
        run = peer.open(setup)
        pipe.send({"seconds": time.perf_counter() - start})
    except Exception as error:  # the parent prints it and goes on without this peer
        pipe.send({"refused": f"{type(error).__name__}: {str(error).strip()[:300]}"})
        return
    while True:
        try:
            do, request = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(_answer(run, do, **request))
        except Exception as error:
            pipe.send({"refused": f"{type(error).__name__}: {str(error).strip()[:300]}"})


def _answer(run: Any, do: str, rows: Rows = (), one_by_one: bool = False) -> dict[str, Any]:
    if do == "vectors":
        return {"vectors": run(rows)}
    if do == "time":
        seconds = []
        for part in [[row] for row in rows] if one_by_one else [rows]:
            start = time.perf_counter()
            run(part)
            seconds.append(time.perf_counter() - start)
        return {"seconds": seconds}
    # Linux counts in KiB; mapped weights that were touched are in it.
    return {"peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def take_turns(
    processes: Mapping[str, PeerProcess], work: Work, limit_s: float, whole: Sequence[str], say: Say
) -> dict[str, list[float]]:
    """Return seconds per round; of `one_by_one` the median query of the round.

    A peer that has spent `limit_s` on this work sits out the rounds that are left, unless it is
    named in `whole`; two rounds are always run.
    """
    for process in processes.values():
        process.ask("time", rows=work.warm_up, one_by_one=work.one_by_one)
    seconds: dict[str, list[float]] = {name: [] for name in processes}
    spent = dict.fromkeys(processes, 0.0)
    names = list(processes)
    for number, rows in enumerate(work.rounds):
        for i in range(len(names)):
            name = names[(number + i) % len(names)]
            if number >= 2 and spent[name] > limit_s and name not in whole:
                continue
            took = processes[name].ask("time", rows=rows, one_by_one=work.one_by_one)["seconds"]
            spent[name] += sum(took)
            seconds[name].append(statistics.median(took))
        say(f"{work.name}: round {number + 1} of {len(work.rounds)}")
    return seconds


def table_rows(
    work: Work, seconds: Mapping[str, Sequence[float]], first: str
) -> list[dict[str, Any]]:
    """Median speed, and the ratio to `first` round by round with its range."""
    rows: list[dict[str, Any]] = []
    sizes = [work.sizes or _tokens(work, round_rows) for round_rows in work.rounds]
    for name, times in seconds.items():
        ratio = [theirs / ours for theirs, ours in zip(times, seconds[first], strict=False)]
        rates = [size / took for size, took in zip(sizes, times, strict=False)]
        rows.append(
            {
                "shape": work.name,
                "name": name,
                "tokens_per_s": round(statistics.median(rates), 1),
                "ms": round(1000 * statistics.median(times), 2),
                "times_slower": round(statistics.median(ratio), 3),
                "min": round(min(ratio), 3),
                "max": round(max(ratio), 3),
                "rounds": len(times),
                "texts": sum(map(len, work.rounds[: len(times)])),
            }
        )
    return rows


def _tokens(work: Work, rows: Rows) -> int:
    """Tokens that a round's time stands for; of `one_by_one` that is one query."""
    return len(rows[0]) if work.one_by_one else sum(len(row) for row in rows)


def random_rows(texts: int, tokens: int, vocabulary: int) -> Rows:
    """Random ids of one length."""
    random = np.random.default_rng(texts * tokens)
    return list(random.integers(4, vocabulary, (texts, tokens), dtype=np.int64))
