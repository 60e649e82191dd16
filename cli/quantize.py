"""`embed quantize`: an fp32 bundle to a smaller int8 bundle."""

import json
from pathlib import Path
from typing import Annotated

import typer

from embedge.cli.options import MODEL, Json, NoColor, Progress, Quiet, option
from embedge.cli.plain_help import PlainCommand
from embedge.cli.values import one_of

Parent = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder of an fp32 bundle.")]
Out = Annotated[Path, typer.Argument(metavar="OUT", help="Bundle folder to make.")]
Precision = Annotated[
    str,
    option(
        "--variant", help="int8, the only precision; its bundle holds int8-avx2 too.",
        panel=MODEL, metavar="NAME", choices=("int8",),
    ),
]  # fmt: skip
Sizes = Annotated[
    list[int] | None,
    option(
        "--dim", "-d", help="Size with a graph of its own (repeatable); default: all trained ones.",
        panel=MODEL, metavar="N", min=1,
    ),
]  # fmt: skip
Calibrate = Annotated[
    list[Path] | None,
    option(
        "--calibrate", help="File with one text per line, instead of the packaged texts.",
        panel=MODEL, metavar="FILE",
    ),
]  # fmt: skip
Measure = Annotated[
    bool, option("--measure/--no-measure", help="Compare with fp32 (default).", panel=MODEL)
]


def register(app: typer.Typer) -> None:
    """Add `embed quantize`."""
    app.command("quantize", cls=PlainCommand)(quantize_command)


def quantize_command(
    bundle: Parent,
    out: Out,
    variant: Precision = "int8",
    dim: Sizes = None,
    calibrate: Calibrate = None,
    measure: Measure = True,
    progress: Progress = "auto",
    quiet: Quiet = False,
    no_color: NoColor = False,
    as_json: Json = False,
) -> None:
    """Write BUNDLE as the smaller int8 bundle OUT, and say what was chosen and what it cost.

    Needs the extra [export].
    """
    from embedge.cli.progress_bar import progress_form, show_steps
    from embedge.quantize import quantize_bundle

    one_of(variant, ("int8",), "--variant")
    with show_steps(progress_form(progress, quiet=quiet), no_color=no_color) as steps:
        report = quantize_bundle(
            bundle, out, dims=dim or None, calibrate=calibrate or (), measure=measure,
            progress=steps,
        )  # fmt: skip
    print(json.dumps(report.to_json(), indent=1) if as_json else report)
