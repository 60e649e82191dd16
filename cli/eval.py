"""`embed eval`: quality of models, variants and sizes on retrieval, bitext and similarity tasks."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embedge.cli.flag_groups import with_flags
from embedge.cli.interrupt import cancelling
from embedge.cli.options import (
    INPUT,
    MODEL,
    OUTPUT,
    TASK_NAMES,
    TEXT,
    CacheDir,
    MaxTokens,
    Threads,
    option,
)
from embedge.cli.plain_help import PlainCommand
from embedge.cli.progress_bar import progress_form, show_progress
from embedge.cli.report_flags import ReportFlags
from embedge.cli.values import one_of
from embedge.models.errors import InvalidOption

if TYPE_CHECKING:
    from embedge.runtime.quality.evaluate import Evaluation, EvaluationPlan
    from embedge.runtime.quality.task import Task

LONG_TEXT_MODES = ("truncate", "mean")
BASELINES = ("bm25",)

Places = Annotated[
    list[Path],
    typer.Argument(metavar="TASK_DIR", help="Task folders, trees of them, or TSV files."),
]
Models = Annotated[
    list[Path] | None,
    option(
        "--model", "-m", "--models", panel=MODEL, metavar="NAME",
        help="Model name or bundle folder (repeatable); default: the bundled model.",
    ),
]  # fmt: skip
Variants = Annotated[
    str | None,
    option(
        "--variants", panel=MODEL, metavar="LIST",
        help="Such as fp32,int8,int8-avx2; each model runs those it holds. "
        "Default: the one for this CPU.",
    ),
]  # fmt: skip
Dims = Annotated[
    str | None,
    option(
        "--dims", panel=MODEL, metavar="LIST",
        help="Sizes such as 768,256, cut from one run; default: the full size.",
    ),
]  # fmt: skip
BatchTokens = Annotated[
    int | None, option("--batch-tokens", help="Tokens per batch.", panel=MODEL, metavar="N", min=1)
]
Only = Annotated[
    list[str] | None,
    option(
        "--tasks", panel=INPUT, metavar="GLOB",
        help="Only tasks whose name matches, such as '*/xquad/*' (repeatable).",
    ),
]  # fmt: skip
CrossLingual = Annotated[
    str | None,
    option(
        "--cross-lingual", panel=INPUT, metavar="LANG",
        help="Add tasks across parallel languages: with LANG on one side, or `all` pairs.",
    ),
]  # fmt: skip
StsTask = Annotated[
    str,
    option(
        "--sts-task", panel=TEXT, metavar="TASK", choices=TASK_NAMES,
        help="Prefix of similarity sentences; default: classification.",
    ),
]  # fmt: skip
BitextTask = Annotated[
    str,
    option(
        "--bitext-task", panel=TEXT, metavar="TASK", choices=TASK_NAMES,
        help="Prefix of translations; default: document.",
    ),
]  # fmt: skip
LongText = Annotated[
    str,
    option(
        "--long-text", panel=TEXT, metavar="HOW", choices=LONG_TEXT_MODES,
        help="Texts over the limit: truncate (default, as published scores do) or mean.",
    ),
]  # fmt: skip
Baseline = Annotated[
    str | None,
    option(
        "--baseline", panel=MODEL, metavar="NAME", choices=BASELINES,
        help="bm25: add a column of plain word search for retrieval.",
    ),
]  # fmt: skip
Markdown = Annotated[
    Path | None,
    option("--markdown", help="Write the report to FILE as well.", panel=OUTPUT, metavar="FILE"),
]
Record = Annotated[
    Path | None,
    option(
        "--record", panel=OUTPUT, metavar="OUT",
        help="Write a copy of the model to OUT whose manifest and card carry these scores.",
    ),
]  # fmt: skip
NoCache = Annotated[
    bool, option("--no-cache", help="Keep no vectors for the next run.", panel=OUTPUT)
]


def eval_command(
    places: Places,
    models: Models = None,
    variants: Variants = None,
    dims: Dims = None,
    baseline: Baseline = None,
    tasks: Only = None,
    cross_lingual: CrossLingual = None,
    sts_task: StsTask = "classification",
    bitext_task: BitextTask = "document",
    long_text: LongText = "truncate",
    max_tokens: MaxTokens = None,
    batch_tokens: BatchTokens = None,
    threads: Threads = None,
    markdown: Markdown = None,
    record: Record = None,
    no_cache: NoCache = False,
    cache_dir: CacheDir = None,
    *,
    run: ReportFlags,
) -> None:
    """Score models on TASK_DIRs in BEIR, MIRACL, bitext or STS layout, in one table.

    Differences are to the first column, with confidence intervals. Vectors are kept in the cache
    folder: an interrupted run goes on where it stopped.
    """
    from embedge.runtime.quality.discover import find_tasks
    from embedge.runtime.quality.encoding import EncodeChoices
    from embedge.runtime.quality.evaluate import EvaluationPlan

    if baseline is not None:
        one_of(baseline, BASELINES, "--baseline")
    choices = EncodeChoices(
        sts_task=one_of(sts_task, TASK_NAMES, "--sts-task"),
        bitext_task=one_of(bitext_task, TASK_NAMES, "--bitext-task"),
        long_text="mean" if one_of(long_text, LONG_TEXT_MODES, "--long-text") == "mean"
        else "truncate",
        max_tokens=max_tokens,
        batch_tokens=batch_tokens,
    )  # fmt: skip
    plan = EvaluationPlan(
        models=[str(model) for model in models] if models else [_default_model()],
        variants=_names(variants),
        dims=_sizes(dims),
        baseline=baseline is not None,
        choices=choices,
        threads=threads,
        cache_dir=cache_dir,
        keep_vectors=not no_cache,
    )
    if record is not None:
        _check_record(record, plan.models)
    found = find_tasks(places, only=tasks or (), cross_lingual=cross_lingual)
    if not run.quiet:
        for path in found.ignored:
            print(f"embed: {path} is neither bitext nor STS, ignored", file=sys.stderr)
    result = _evaluate(found.tasks, plan, run)
    _print(result, markdown, as_json=run.json)
    if record is not None:
        _write_record(result, plan.models[0], record, cache_dir)


def register(app: typer.Typer) -> None:
    """Add `embed eval`."""
    app.command("eval", cls=PlainCommand)(with_flags(eval_command))


def _evaluate(tasks: "list[Task]", plan: "EvaluationPlan", run: ReportFlags) -> "Evaluation":
    from embedge.runtime.cancel import CancelToken
    from embedge.runtime.quality.evaluate import evaluate

    cancel = CancelToken()
    form = progress_form(run.progress, quiet=run.quiet)
    with show_progress(form, no_color=run.no_color) as progress, cancelling(cancel):
        return evaluate(tasks, plan, progress=progress, cancel=cancel)


def _print(result: "Evaluation", markdown: Path | None, *, as_json: bool) -> None:
    from embedge.models.durable import write_atomically
    from embedge.runtime.diagnostics import describe_machine
    from embedge.runtime.quality.report import as_json as json_report
    from embedge.runtime.quality.report import as_markdown

    table = as_markdown(result)
    if markdown is not None:
        write_atomically(markdown, table.encode("utf-8"))
    if as_json:
        machine = describe_machine()
        report = json_report(
            result, {"machine": {n: machine[n] for n in ("versions", "system", "cpu", "threads")}}
        )
        print(json.dumps(report, ensure_ascii=False, indent=1))
    else:
        print(table, end="")


def _check_record(out: Path, models: Sequence[str]) -> None:
    """Say before the long work what could not be written after it."""
    if len(models) > 1:
        raise InvalidOption(
            f"--record {out} keeps the scores of one model, and {len(models)} are given; "
            f"run them one by one"
        )
    if out.exists() or out.is_symlink():
        raise InvalidOption(f"--record {out} exists already; remove it or choose another folder")


def _write_record(result: "Evaluation", model: str, out: Path, cache_dir: Path | None) -> None:
    from embedge.models.bundle import open_bundle
    from embedge.models.quality_record import copy_with_scores
    from embedge.models.store import find_model
    from embedge.runtime.quality.report import recorded_scores

    copy_with_scores(
        open_bundle(find_model(model, cache_dir=cache_dir)), out, recorded_scores(result)
    )


def _default_model() -> str:
    from embedge.models.store import default_model

    return default_model()


def _names(value: str | None) -> list[str]:
    return [name.strip() for name in (value or "").split(",") if name.strip()]


def _sizes(value: str | None) -> list[int]:
    sizes = _names(value)
    wrong = [size for size in sizes if not size.isdecimal() or int(size) < 1]
    if wrong:
        raise InvalidOption(f"--dims {value!r}: {wrong[0]!r} is no size; write it like 768,256")
    return [int(size) for size in sizes]
