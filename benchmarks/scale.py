"""Scaling of `embed files --runner ray` on this machine: one worker, two workers, one process.

    python benchmarks/scale.py PATH... [--workers 1] [--runner ray|here] [--repeat 3] [--model B]

Embeds the documents with one thread per worker and prints one JSON line: tokens; seconds from the
first shard's start to the last one's end (start-up of Ray and workers left out), the rate in that
time and in its second half; seconds of the whole call; seconds that the workers were busy in all.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from embedge.runtime.scale import ScaleJob, ScaleOptions, embed_corpus, run_here, run_on_ray, shards
from embedge.runtime.scale.shards import Shard
from embedge.runtime.scale.worker import ShardResult
from embedge.runtime.walk import walk


class Clock:
    """Runs shards and notes when the first one began and the last one ended."""

    def __init__(self, runner: str, workers: int) -> None:
        self._runner, self._workers = runner, workers
        self.begun = float("inf")
        self.ended = 0.0
        self.done: list[tuple[float, int]] = []

    def __call__(self, job: ScaleJob, left: Sequence[Shard]) -> Iterator[ShardResult]:
        """Yield the results of the runner."""
        results = (
            run_here(job, left)
            if self._runner == "here"
            else run_on_ray(job, left, workers=self._workers)
        )
        for result in results:
            self.ended = time.monotonic()
            self.begun = min(self.begun, self.ended - result.counts.seconds)
            self.done.append((self.ended, result.counts.tokens))
            yield result

    def second_half(self) -> float:
        """Return tokens per second behind the middle, where start-up no longer takes part."""
        middle = (self.begun + self.ended) / 2
        late = [(at, tokens) for at, tokens in self.done if at > middle]
        before = max((at for at, _ in self.done if at <= middle), default=self.begun)
        return sum(tokens for _, tokens in late) / (self.ended - before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+")
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runner", choices=("ray", "here"), default="ray")
    parser.add_argument("--repeat", type=int, default=1, help="copies of the corpus")
    parser.add_argument("--shard-bytes", type=int, default=32_000, help="small, as the corpus is")
    chosen = parser.parse_args()
    shards.SHARD_BYTES = chosen.shard_bytes
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder, "corpus")
        for number in range(chosen.repeat):
            for position, path in enumerate(chosen.paths):
                target = corpus / str(number) / f"{position}-{Path(path).name}"
                target.parent.mkdir(parents=True, exist_ok=True)
                copy = shutil.copytree if Path(path).is_dir() else shutil.copyfile
                copy(path, target)
        clock = Clock(chosen.runner, chosen.workers)
        begun = time.monotonic()
        report = embed_corpus(
            walk([str(corpus)]),
            Path(folder, "out"),
            ScaleOptions(model=chosen.model, threads=chosen.threads),
            run=clock,
        )
        whole = time.monotonic() - begun
    seconds = clock.ended - clock.begun
    row = {
        "runner": chosen.runner,
        "workers": chosen.workers,
        "threads": chosen.threads,
        "shards": report.shards,
        "tokens": report.counts.tokens,
        "seconds": round(seconds, 2),
        "tokens_per_s": round(report.counts.tokens / seconds),
        "tokens_per_s_second_half": round(clock.second_half()),
        "whole_seconds": round(whole, 2),
        "busy_seconds": round(report.counts.seconds, 2),
    }
    print(json.dumps(row))


if __name__ == "__main__":
    main()
