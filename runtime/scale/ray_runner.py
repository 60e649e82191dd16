"""Hand shards to workers with Ray Data."""

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from types import ModuleType
from typing import Any

from embedge.models import errors
from embedge.models.errors import BackendError, EmbedgeError, InputError
from embedge.runtime.scale.job import Counts, ScaleJob
from embedge.runtime.scale.shards import Shard
from embedge.runtime.scale.worker import ShardEmbedder, ShardResult

USAGE_SWITCH = "RAY_USAGE_STATS_ENABLED"

# Blocks are what Ray hands out; beyond this number their bookkeeping would cost more than it helps.
_MAX_BLOCKS = 10_000
# Only descriptions of shards and counts pass through the object store.
_STORE_BYTES = 128 << 20


class ShardWorker:
    """The stateful class that Ray Data makes once per worker process; opens the model once.

    Errors of ours travel as data, so that they arrive as what they were: Ray would try the start
    again and again, and hand on a text.
    """

    def __init__(self, job: ScaleJob) -> None:
        """Open the model; an error is kept for the first call."""
        self._worker: ShardEmbedder | None = None
        self._error: dict[str, str] | None = None
        try:
            self._worker = ShardEmbedder(job)
        except EmbedgeError as error:
            self._error = _as_data(error)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[str]]:
        """Embed the shards in `batch["shard"]`, JSON texts; `result` holds one JSON text each."""
        return {"result": [json.dumps(self._one(str(text))) for text in batch["shard"]]}

    def _one(self, text: str) -> dict[str, object]:
        if self._worker is None:
            return {"error": self._error}
        shard = Shard.from_json(text)
        try:
            # Ray does a block of shards again when its worker died; the parts are there.
            result = self._worker.finished(shard.number) or self._worker.embed(shard)
        except EmbedgeError as error:
            return {"error": _as_data(error)}
        return {"number": result.number, "counts": asdict(result.counts)}


def _as_data(error: EmbedgeError) -> dict[str, str]:
    return {"class": type(error).__name__, "code": error.code, "message": str(error)}


def _as_error(data: Mapping[str, str]) -> EmbedgeError:
    kind = getattr(errors, data["class"], BackendError)
    made: EmbedgeError = (
        InputError(data["message"], data["code"]) if kind is InputError else kind(data["message"])
    )
    return made


def load_ray() -> ModuleType:
    """Import Ray with its usage statistics off, whatever the environment says."""
    os.environ[USAGE_SWITCH] = "0"
    import ray
    import ray.data

    module: ModuleType = ray
    return module


def run_on_ray(
    job: ScaleJob, shards: Sequence[Shard], *, workers: int | None = None
) -> Iterator[ShardResult]:
    """Embed shards on the cluster of `RAY_ADDRESS`, or on a new one of this machine.

    Args:
        job: what every worker needs; its folder, its input and its model must be seen by all.
        shards: the ones that are left.
        workers: number of worker processes; None fills the cluster's cores, each worker taking
            `job.options.threads` of them.

    Yields:
        Results in the order in which shards finish.

    Raises:
        EmbedgeError: a worker raised it; the parts that are finished stay.
        BackendError: Ray itself failed.
    """
    if not shards:
        return
    ray = load_ray()
    mine = not ray.is_initialized()
    if mine:
        _start(ray, job, workers)
    try:
        yield from _results(ray, job, shards, workers)
    except ray.exceptions.RayError as error:
        last = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise BackendError(
            f"a worker on Ray failed: {last}. Finished parts stay; use --resume"
        ) from error
    finally:
        if mine:
            ray.shutdown()


def _start(ray: ModuleType, job: ScaleJob, workers: int | None) -> None:
    options: dict[str, object] = {"include_dashboard": False, "log_to_driver": False}
    if not os.environ.get("RAY_ADDRESS"):
        options["object_store_memory"] = _STORE_BYTES
        if workers is not None:
            options["num_cpus"] = workers * job.options.threads
    ray.init(configure_logging=False, **options)
    for name in ("ray", "ray.data"):  # what matters is raised; the rest is chatter on stderr
        logging.getLogger(name).setLevel(logging.ERROR)


def _results(
    ray: ModuleType, job: ScaleJob, shards: Sequence[Shard], workers: int | None
) -> Iterator[ShardResult]:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    threads = job.options.threads
    count = workers or max(1, int(ray.cluster_resources().get("CPU", 1)) // threads)
    items = [{"shard": shard.to_json()} for shard in shards]
    blocks = min(len(items), _MAX_BLOCKS)
    dataset = ray.data.from_items(items, override_num_blocks=blocks).map_batches(
        ShardWorker,
        fn_constructor_args=(job,),
        batch_size=1,
        batch_format="numpy",
        num_cpus=threads,
        compute=ray.data.ActorPoolStrategy(size=min(count, blocks)),
    )
    for row in dataset.iter_rows():
        result = json.loads(row["result"])
        if "error" in result:
            raise _as_error(result["error"])
        yield ShardResult(result["number"], Counts.of(result["counts"]))
