"""Prometheus metrics. Labels hold routes and numbers only: no text, path or key."""

from collections.abc import Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from embedge.runtime.results import TextInfo

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_TOKENS = (16, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)


class Metrics:
    """One registry per server, so that several can live in one process."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "embedge_requests", "Answered requests.", ["route", "status"], registry=registry
        )
        self.seconds = Histogram(
            "embedge_request_seconds", "Time to the answer.", buckets=_SECONDS, registry=registry
        )
        self.batch_tokens = Histogram(
            "embedge_batch_tokens", "Tokens of a batch.", buckets=_TOKENS, registry=registry
        )
        self.tokens = Counter("embedge_tokens", "Tokens that the model saw.", registry=registry)
        self.queue_tokens = Gauge("embedge_queue_tokens", "Tokens that wait.", registry=registry)
        self.missing_prefix = Counter(
            "embedge_missing_prefix", "Texts that came with neither task nor prefix.",
            registry=registry,
        )  # fmt: skip
        self.truncated = Counter("embedge_truncated", "Texts that were cut.", registry=registry)
        self.split = Counter("embedge_split", "Texts averaged over windows.", registry=registry)
        self.ready = Gauge("embedge_model_ready", "1 once the model answers.", registry=registry)

    def count_batch(self, sequences: int, tokens: int) -> None:
        """Count one run of the graph."""
        self.batch_tokens.observe(tokens)
        self.tokens.inc(tokens)

    def count_texts(self, info: Sequence[TextInfo]) -> tuple[int, int]:
        """Count and return how many texts were cut, and how many split into windows."""
        truncated = sum(each.truncated for each in info)
        split = sum(each.n_windows > 1 for each in info)
        self.truncated.inc(truncated)
        self.split.inc(split)
        return truncated, split

    def page(self) -> bytes:
        """Return everything in Prometheus's text format."""
        return generate_latest(self._registry)
