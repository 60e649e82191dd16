"""`embed bench`: throughput, latency, start-up and memory on this machine."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from embedge.cli.flag_groups import with_flags
from embedge.cli.options import MODEL, OUTPUT, Model, Threads, VariantName, option
from embedge.cli.plain_help import PlainCommand
from embedge.cli.progress_bar import progress_form, show_steps
from embedge.cli.report_flags import ReportFlags
from embedge.models.errors import InvalidOption

if TYPE_CHECKING:
    from embedge.runtime.bench.measure import BenchResult
    from embedge.runtime.bench.process import ContestantChoice

WHAT = "What is measured"

Dim = Annotated[
    int | None,
    option("--dim", "-d", help="Length of the vectors; default: the full size.", panel=MODEL,
           metavar="N", min=1),
]  # fmt: skip
Lengths = Annotated[
    str,
    option("--lengths", help="Tokens per text; default: 16,128,512.", panel=WHAT, metavar="LIST"),
]
BatchSizes = Annotated[
    str | None,
    option("--batch-sizes", help="Texts per batch, for each length; default: as usual.",
           panel=WHAT, metavar="LIST"),
]  # fmt: skip
BatchTokens = Annotated[
    str | None,
    option("--batch-tokens", help="Token budgets per batch to try on mixed lengths.", panel=WHAT,
           metavar="LIST"),
]  # fmt: skip
ThreadCounts = Annotated[
    str | None,
    option("--thread-counts", help="Thread counts to try on mixed lengths, such as 1,2,4.",
           panel=WHAT, metavar="LIST"),
]  # fmt: skip
Rounds = Annotated[
    int,
    option("--rounds", help="Measurements per figure; default: 5.", panel=WHAT, metavar="N", min=1),
]
Queries = Annotated[
    int,
    option("--queries", help="Single queries timed; default: 100.", panel=WHAT, metavar="N", min=1),
]
Mixed = Annotated[
    int,
    option("--mixed", help="Texts of mixed lengths; default: 200.", panel=WHAT, metavar="N",
           min=1),
]  # fmt: skip
ColdStarts = Annotated[
    int,
    option("--cold-starts", help="Fresh processes timed; default: 3.", panel=WHAT, metavar="N",
           min=0),
]  # fmt: skip
Compare = Annotated[
    str | None,
    option("--compare", help="A second model, measured in turns with the first.", panel=MODEL,
           metavar="NAME"),
]  # fmt: skip
CompareVariant = Annotated[
    str | None,
    option("--compare-variant", help="Variant of the second; default: as the first.",
           panel=MODEL, metavar="NAME"),
]  # fmt: skip
ComparePython = Annotated[
    str | None,
    option("--compare-python", panel=MODEL, metavar="FILE",
           help="Interpreter of the second: another environment with another build of embedge."),
]  # fmt: skip
Profile = Annotated[
    bool, option("--profile", help="Add time per operator type and per layer.", panel=OUTPUT)
]


def bench_command(
    model: Model = None,
    variant: VariantName = "auto",
    dim: Dim = None,
    threads: Threads = None,
    lengths: Lengths = "16,128,512",
    batch_sizes: BatchSizes = None,
    batch_tokens: BatchTokens = None,
    thread_counts: ThreadCounts = None,
    rounds: Rounds = 5,
    queries: Queries = 100,
    mixed: Mixed = 200,
    cold_starts: ColdStarts = 3,
    compare: Compare = None,
    compare_variant: CompareVariant = None,
    compare_python: ComparePython = None,
    profile: Profile = False,
    *,
    run: ReportFlags,
) -> None:
    """Measure throughput, latency, start-up and memory on this machine.

    With --compare, two models or two builds take turns, and their ratio is printed with its
    spread. Leave the machine alone meanwhile.
    """
    from embedge.runtime.bench.measure import BenchPlan, measure
    from embedge.runtime.bench.process import ContestantChoice

    first = ContestantChoice(
        model=model or _default_model(), variant=variant, dim=dim, threads=threads
    )
    plan = BenchPlan(
        contestants=[first, *_second(first, compare, compare_variant, compare_python)],
        lengths=_numbers(lengths, "--lengths"),
        batch_sizes=_numbers(batch_sizes, "--batch-sizes"),
        batch_tokens=_numbers(batch_tokens, "--batch-tokens"),
        thread_counts=_numbers(thread_counts, "--thread-counts"),
        rounds=rounds,
        queries=queries,
        mixed=mixed,
        cold_starts=cold_starts,
        profile=profile,
    )
    form = progress_form(run.progress, quiet=run.quiet)
    with show_steps(form, no_color=run.no_color) as on_step:
        result = measure(plan, on_step)
    _print(result, as_json=run.json)


def register(app: typer.Typer) -> None:
    """Add `embed bench`."""
    app.command("bench", cls=PlainCommand)(with_flags(bench_command))


def _second(
    first: "ContestantChoice", model: str | None, variant: str | None, python: str | None
) -> "list[ContestantChoice]":
    """Return what the first is compared with: what is not said stays as it is there."""
    from dataclasses import replace

    if model is None and variant is None and python is None:
        return []
    return [
        replace(
            first,
            model=model or first.model,
            variant=variant or first.variant,
            python=python or first.python,
        )
    ]


def _print(result: "BenchResult", *, as_json: bool) -> None:
    from embedge.runtime.bench.report import as_json as json_report
    from embedge.runtime.bench.report import as_text
    from embedge.runtime.diagnostics import describe_machine

    full = describe_machine()
    machine = {name: full[name] for name in ("versions", "system", "cpu", "threads")}
    if as_json:
        print(json.dumps(json_report(result, machine), ensure_ascii=False, indent=1))
    else:
        print(as_text(result, machine), end="")


def _default_model() -> str:
    from embedge.models.store import default_model

    return default_model()


def _numbers(value: str | None, flag: str) -> Sequence[int]:
    """Read `16,128,512`.

    Raises:
        InvalidOption: an item is no whole number above zero.
    """
    items = [item.strip() for item in (value or "").split(",") if item.strip()]
    wrong = [item for item in items if not item.isdecimal() or int(item) < 1]
    if wrong or (value is not None and not items):
        raise InvalidOption(f"{flag} {value!r} is no list of numbers; write it like 16,128,512")
    return [int(item) for item in items]
