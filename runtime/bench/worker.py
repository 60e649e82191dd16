"""One contestant: a process that opens one bundle and measures what it is told to.

    PYTHON -m embedge.runtime.bench.worker '{"model": ..., "variant": ..., ...}'

Requests and answers are JSON lines on stdin and stdout. Another build of embedge answers as well,
from its own environment: comparing two builds needs nothing else.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TextIO, TypeVar

_STARTED = time.perf_counter()

Json = dict[str, object]
T = TypeVar("T")


class Contestant:
    """An open model, and one method per request."""

    def __init__(self, model: str, variant: str, dim: int | None, threads: int | None) -> None:
        from embedge.runtime.embedder import Embedder

        imported = time.perf_counter()
        self._embedder = Embedder(model, variant=variant, dim=dim, threads=threads)
        opened = time.perf_counter()
        self._embedder.encode("hello", task="query")
        self._start = {
            "import_s": imported - _STARTED,
            "open_s": opened - imported,
            "first_vector_s": time.perf_counter() - opened,
        }

    def describe(self) -> Json:
        """Say what runs, how long opening took, and the memory it left."""
        loaded = self._embedder.loaded
        return {
            "model": loaded.bundle.manifest.name,
            "variant": loaded.variant,
            "dim": self._embedder.dim,
            "threads": loaded.engine.threads,
            "space": self._embedder.space.fingerprint,
            "bundle_bytes": loaded.bundle.size_bytes,
            "start": self._start,
            **self.memory(),
        }

    def texts(self, length: int | None, count: int, task: str) -> Json:
        """Make texts: of about `length` tokens, or mixed ones."""
        from embedge.runtime.bench.texts import TextMaker

        loaded = self._embedder.loaded
        prefix = loaded.prompts.choose(task, None).prefix
        maker = TextMaker(loaded.tokens, loaded.tokens.count(prefix))
        made = maker.mixed(count) if length is None else maker.of_length(length, count)
        counts = self._embedder.count_tokens(made, task=task)
        return {"texts": made, "tokens": sum(min(n, self._embedder.max_tokens) for n in counts)}

    def throughput(
        self, texts: list[str], batch_size: int | None, batch_tokens: int | None
    ) -> Json:
        """Embed the texts once, as documents; seconds from text to vectors."""
        begun = time.perf_counter()
        self._embedder.encode(
            texts,
            task="document",
            own_prefix=False,
            long_text="truncate",
            batch_size=batch_size,
            batch_tokens=batch_tokens,
        )
        return {"seconds": time.perf_counter() - begun}

    def latency(self, texts: list[str]) -> Json:
        """Embed the texts as queries, one by one."""
        seconds = []
        for text in texts:
            begun = time.perf_counter()
            self._embedder.encode(text, task="query", own_prefix=False)
            seconds.append(time.perf_counter() - begun)
        return {"seconds": seconds}

    def memory(self) -> Json:
        """Return peak and present resident set in bytes, mapped files included."""
        from embedge.runtime.memory import peak_rss, resident_rss

        return {"peak_bytes": peak_rss(), "resident_bytes": resident_rss()}

    def profile(self, texts: list[str], rounds: int) -> Json:
        """Return time per operator type and per layer, in microseconds per batch."""
        from embedge.runtime.bench.profile import profile_graph

        return profile_graph(self._embedder.loaded, texts, rounds)


def main() -> None:
    """Answer requests until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us
    answers = _own_stdout()
    options = json.loads(sys.argv[1])
    contestant = _answering(answers, partial(Contestant, **options))
    if contestant is None:
        return
    _write(answers, contestant.describe())
    methods: dict[str, Callable[..., Json]] = {
        name: getattr(contestant, name)
        for name in ("texts", "throughput", "latency", "memory", "profile")
    }
    for line in sys.stdin:
        request = json.loads(line)
        method = methods[request.pop("do")]
        answer = _answering(answers, partial(method, **request))
        if answer is None:
            return
        _write(answers, answer)


def _own_stdout() -> TextIO:
    """Keep stdout for answers: whatever else prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _answering(answers: TextIO, work: Callable[[], T]) -> T | None:
    from embedge.models.errors import EmbedgeError

    try:
        return work()
    except EmbedgeError as error:
        _write(answers, {"error": str(error), "class": type(error).__name__})
        return None


def _write(answers: TextIO, answer: Json) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
