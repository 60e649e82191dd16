"""Where a graph spends its time: ONNX Runtime's profiler, summed by operator and by layer."""

import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol, cast

from embedge.runtime.batching import pad_batch
from embedge.runtime.engine import open_session
from embedge.runtime.loading import LoadedModel, session_config

# The exporter names nodes and values by their place: encoder/layers.3/mlp/..., and by weight.
_LAYER = re.compile(r"layers[./](\d+)[./](attn|mlp|norm1|norm2)?")
_OUTSIDE = (("embeddings", "embeddings"), ("emb_ln", "embeddings"), ("pool", "pooling"))
_KERNEL = "_kernel_time"


class _ProfiledSession(Protocol):
    def run(self, output_names: object, input_feed: Mapping[str, object]) -> object: ...

    def end_profiling(self) -> str: ...


def profile_graph(loaded: LoadedModel, texts: list[str], rounds: int) -> dict[str, object]:
    """Run one batch `rounds` times and return what its nodes took.

    Args:
        loaded: an open model; the graph is opened a second time with the profiler on.
        texts: one batch; documents.
        rounds: after one that warms up and does not count.

    Returns:
        `by_operator` and `by_layer`: name -> microseconds per batch, largest first, and
        `batch`: texts and padded tokens. The profiler's own cost is in the figures, most in small
        nodes: they show proportions, not speed.
    """
    prefix = loaded.prompts.choose("document", None).prefix
    room = loaded.tokens.max_tokens - loaded.tokens.n_special
    ids, mask = pad_batch(
        [loaded.tokens.ids(prefix + text)[:room] for text in texts], loaded.tokens
    )
    with tempfile.TemporaryDirectory(prefix="embedge-profile-") as folder:
        session = cast(
            _ProfiledSession,
            open_session(
                loaded.engine.path,
                threads=loaded.engine.threads,
                config=session_config(loaded.variant),
                profile=Path(folder) / "trace",
            ),
        )
        for _ in range(rounds + 1):
            session.run(None, {"input_ids": ids, "attention_mask": mask})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    by_operator, by_layer = sum_events(events, rounds)
    return {
        "batch": {"texts": len(texts), "tokens": int(ids.size)},
        "by_operator": by_operator,
        "by_layer": by_layer,
    }


def sum_events(
    events: Iterable[Mapping[str, object]], rounds: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Sum the kernel times of a trace; its first run warms up and is left out.

    Returns:
        Microseconds per run by operator type, and by layer and part, both largest first.
    """
    by_operator: dict[str, float] = defaultdict(float)
    by_layer: dict[str, float] = defaultdict(float)
    events = list(events)
    warm_at = min(_end(event) for event in events if event.get("name") == "model_run")
    for event in events:
        name = str(event.get("name", ""))
        if not name.endswith(_KERNEL) or _end(event) <= warm_at:
            continue
        arguments = cast(Mapping[str, object], event.get("args", {}))
        microseconds = float(cast(float, event["dur"])) / rounds
        by_operator[str(arguments.get("op_name", "unknown"))] += microseconds
        by_layer[layer_of(name.removesuffix(_KERNEL))] += microseconds
    return _largest_first(by_operator), _largest_first(by_layer)


def _end(event: Mapping[str, object]) -> float:
    return float(cast(float, event["ts"])) + float(cast(float, event["dur"]))


def layer_of(node: str) -> str:
    """Return `layer 3 mlp`, `embeddings`, `pooling` or `other` for a node's name."""
    found = _LAYER.search(node)
    if found:
        part = "norm" if (found[2] or "").startswith("norm") else found[2]
        return f"layer {found[1]} {part}" if part else f"layer {found[1]} residual"
    return next((place for key, place in _OUTSIDE if key in node.lower()), "other")


def _largest_first(times: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(times.items(), key=lambda pair: -pair[1]))
