"""A bulk run from its input to its manifest, on whatever runs shards."""

import json
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

from embedge.models import strict_json
from embedge.models.bundle import open_bundle, write_atomically
from embedge.models.errors import InvalidOption
from embedge.models.space import Identity, Space
from embedge.models.store import cache_dir as default_cache_dir
from embedge.models.store import find_model
from embedge.runtime.cpu import choose_variant
from embedge.runtime.loading import check_variant
from embedge.runtime.progress import ProgressCallback, ProgressMeter
from embedge.runtime.scale.job import Counts, Report, RowSource, ScaleJob, ScaleOptions
from embedge.runtime.scale.shards import Shard, fingerprint, shards_of_files, shards_of_rows
from embedge.runtime.scale.worker import ShardResult, counts_of
from embedge.runtime.walk import Item

PLAN_NAME = "plan.json"
MANIFEST_NAME = "manifest.json"
FORMAT = 1

Runner = Callable[[ScaleJob, Sequence[Shard]], Iterator[ShardResult]]


def embed_corpus(
    items: Iterable[Item],
    out: Path,
    options: ScaleOptions,
    *,
    run: Runner,
    rows: RowSource | None = None,
    resume: bool = False,
    progress: ProgressCallback | None = None,
) -> Report:
    """Embed files, or the rows of files, into a folder of Parquet files.

    Args:
        items: what `embedge.runtime.walk.walk` found.
        out: the folder; its parts in the order of their names are the rows in the order of the
            input, exactly as one process would write them.
        options: how texts become vectors.
        run: embeds shards: `run_here`, or `run_on_ray` with its workers.
        rows: take rows of JSON Lines and Parquet as texts; None cuts documents.
        resume: go on with a run that was stopped; its finished parts are kept.
        progress: called with ProgressEvents on this thread, after every shard.

    Raises:
        InvalidOption: `out` exists and is no stopped run of the same input and options, or a value
            that cannot work.
        SpaceMismatch: `resume` with a model that makes other vectors.
        EmbedgeError: a worker failed; finished parts stay.
    """
    options, space = _resolved(options)
    cut = shards_of_files if rows is None else shards_of_rows
    shards = list(cut(items))
    plan = _plan(options, rows, space, shards)
    job = ScaleJob(out.absolute(), options, rows, space, json.dumps(plan))
    done = _prepare(job, plan, shards, resume=resume)
    left = [shard for shard in shards if shard.number not in done]
    start = time.time()
    counts = sum(done.values(), Counts())
    n_files = None if rows is not None else sum(len(shard.files) for shard in shards)
    meter = ProgressMeter(progress, space=space.fingerprint, files_total=n_files)
    with meter.running():
        _advance(meter, counts, reused=True)
        for result in run(job, left):
            counts += result.counts
            _advance(meter, result.counts)
    _write_manifest(job, plan, counts, shards, start)
    return Report(out, counts, len(shards), len(left))


def _advance(meter: ProgressMeter, counts: Counts, *, reused: bool = False) -> None:
    is_rows = meter.files_total is None
    meter.advance(
        files=0 if is_rows else counts.inputs,
        chunks=counts.vectors,
        reused=counts.vectors if reused else 0,
        tokens=0 if reused else counts.tokens,
    )


def _resolved(options: ScaleOptions) -> tuple[ScaleOptions, Space]:
    """Choose the variant here, once for all workers, and say which space they make."""
    if options.long_text == "error":
        raise InvalidOption(
            'long_text "error" is not for bulk runs; use chunk, mean or truncate (rows say what '
            "was cut)"
        )
    cache = None if options.cache_dir is None else Path(options.cache_dir)
    wanted = None if options.variant == "auto" else check_variant(options.variant)
    path = find_model(options.model, cache_dir=cache, variant=wanted)
    bundle = open_bundle(path, cache_dir=cache or default_cache_dir())
    variant = wanted or choose_variant(bundle)[0]
    dim = options.dim or max(g.dim for g in bundle.manifest.graphs if g.variant == variant)
    bundle.manifest.graph(variant, dim)
    space = bundle.manifest.space(variant, dim, normalized=options.normalize)
    return replace(options, variant=variant, dim=dim, model=_as_workers_see(options.model)), space


def _as_workers_see(model: str) -> str:
    """Workers have another current folder; a name of the store stays one."""
    path = Path(model).expanduser()
    return str(path.absolute()) if path.is_dir() else model


def _plan(
    options: ScaleOptions, rows: RowSource | None, space: Space, shards: Sequence[Shard]
) -> dict[str, object]:
    return {
        "format": FORMAT,
        "space": {
            "short_name": space.short_name,
            "fingerprint": space.fingerprint,
            "identity": asdict(space.identity),
        },
        "options": options.deciding() | {"rows": None if rows is None else asdict(rows)},
        "shards": len(shards),
        "input_sha256": fingerprint(shards),
    }


def _prepare(
    job: ScaleJob, plan: dict[str, object], shards: Sequence[Shard], *, resume: bool
) -> dict[int, Counts]:
    """Make the folder, or find which shards of a stopped run are done."""
    path = job.out / PLAN_NAME
    if not path.exists():
        if job.out.exists() and any(job.out.iterdir()):
            raise InvalidOption(f"{job.out} is not empty; choose a new folder")
        job.out.mkdir(parents=True, exist_ok=True)
        write_atomically(path, (json.dumps(plan, indent=1) + "\n").encode())
        return {}
    if not resume:
        raise InvalidOption(
            f"{job.out} holds a run already; go on with --resume, or choose a new folder"
        )
    _require_same(job, plan, strict_json.load(path))
    for torn in job.out.glob(".part-*"):
        torn.unlink()
    existing = [shard.number for shard in shards if job.part(shard.number).exists()]
    return {number: counts_of(job.part(number)) for number in existing}


def _require_same(job: ScaleJob, plan: dict[str, object], there: object) -> None:
    if not isinstance(there, dict) or there.get("format") != FORMAT:
        raise InvalidOption(
            f"{job.out / PLAN_NAME} is no plan of this version; choose a new folder"
        )
    way_out = "Choose a new folder for the new run"
    space = there["space"]
    before = Space(Identity(**space["identity"]), space["short_name"])
    job.space.require_equal(before, f"{way_out}.")
    for key in ("options", "input_sha256"):
        if there[key] != json.loads(json.dumps(plan[key])):
            what = "other options" if key == "options" else "other files, or files of another date"
            raise InvalidOption(f"{job.out} was begun with {what}. {way_out}")


def _write_manifest(
    job: ScaleJob, plan: dict[str, object], counts: Counts, shards: Sequence[Shard], start: float
) -> None:
    parts = [job.part(shard.number) for shard in shards]
    manifest = plan | {
        "tool": {
            "embedge": version("embedge"),
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "onnxruntime", "tokenizers", "pyarrow")},
        },
        "variant": job.options.variant,
        "counts": asdict(counts),
        "seconds": round(time.time() - start, 3),
        "parts": [{"file": part.name, "size": part.stat().st_size} for part in parts],
    }
    text = json.dumps(manifest, indent=1, ensure_ascii=True)
    write_atomically(job.out / MANIFEST_NAME, f"{text}\n".encode())
