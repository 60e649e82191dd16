"""`embed export`: a checkpoint folder or hub id to a bundle."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embedge.cli.options import MODEL, CacheDir, Json, NoColor, Offline, Progress, Quiet, option
from embedge.cli.plain_help import PlainCommand
from embedge.cli.values import json_object, one_of
from embedge.models.errors import InvalidOption

if TYPE_CHECKING:
    from embedge.cli.pipeline import Converted, ExportEngine
    from embedge.models.source import SourceOverrides
    from embedge.models.steps import StepProgress

SOURCE = "What the checkpoint does not say"


Source = Annotated[
    str, typer.Argument(metavar="SRC", help="Checkpoint folder, or a hub id maker/model.")
]
Out = Annotated[Path, typer.Argument(metavar="OUT", help="Bundle folder to make.")]
Precision = Annotated[
    str,
    option(
        "--variant", help="fp32 (default), or int8: export and quantize in one go.",
        panel=MODEL, metavar="NAME", choices=("fp32", "int8"),
    ),
]  # fmt: skip
Sizes = Annotated[
    list[int] | None,
    option(
        "--dim", "-d", help="With int8: size with a graph of its own (repeatable).",
        panel=MODEL, metavar="N", min=1,
    ),
]  # fmt: skip
Revision = Annotated[
    str | None,
    option(
        "--revision", help="Commit, tag or branch; default: pinned for a known model, or main.",
        panel=MODEL, metavar="REV",
    ),
]  # fmt: skip
EngineName = Annotated[
    str,
    option(
        "--engine", panel=MODEL, metavar="NAME", choices=("native", "optimum", "onnx"),
        help="native (default): Nomic's architecture; optimum: dense Hugging Face encoders "
        "[optimum]; onnx: the model.onnx in SRC.",
    ),
]  # fmt: skip
FlavorName = Annotated[
    str,
    option(
        "--flavor", help="ort (default), or standard: no operator of ONNX Runtime's own.",
        panel=MODEL, metavar="NAME", choices=("ort", "standard"),
    ),
]  # fmt: skip
Opset = Annotated[
    int | None,
    option(
        "--opset", help="Version of the standard operators (native 21, optimum 18).",
        panel=MODEL, metavar="N",
    ),
]  # fmt: skip
KeepParent = Annotated[
    bool,
    option("--keep-parent", help="With int8: also keep the fp32 bundle, as OUT-fp32.", panel=MODEL),
]
Measure = Annotated[
    bool,
    option(
        "--measure/--no-measure", help="Measure ranges, and int8 against fp32 (default).",
        panel=MODEL,
    ),
]  # fmt: skip
Name = Annotated[
    str | None, option("--name", help="Name of the model.", panel=SOURCE, metavar="NAME")
]
ShortName = Annotated[
    str | None,
    option(
        "--short-name", help="Few letters before the fingerprint.", panel=SOURCE, metavar="NAME"
    ),
]
License = Annotated[
    str | None,
    option("--license", help="Licence, as an SPDX expression.", panel=SOURCE, metavar="SPDX"),
]
Matryoshka = Annotated[
    str | None,
    option(
        "--matryoshka", help="Trained sizes, such as 384,256,128.", panel=SOURCE, metavar="SIZES"
    ),
]
Prompts = Annotated[
    Path | None,
    option(
        "--prompts", help="JSON file: prefixes of query, document, classification, clustering.",
        panel=SOURCE, metavar="FILE",
    ),
]  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add `embed export`."""
    app.command("export", cls=PlainCommand)(export_command)


def export_command(
    source: Source,
    out: Out,
    variant: Precision = "fp32",
    dim: Sizes = None,
    revision: Revision = None,
    engine: EngineName = "native",
    flavor: FlavorName = "ort",
    opset: Opset = None,
    keep_parent: KeepParent = False,
    measure: Measure = True,
    name: Name = None,
    short_name: ShortName = None,
    license_name: License = None,
    matryoshka: Matryoshka = None,
    prompts: Prompts = None,
    cache_dir: CacheDir = None,
    offline: Offline = False,
    progress: Progress = "auto",
    quiet: Quiet = False,
    no_color: NoColor = False,
    as_json: Json = False,
) -> None:
    """Trace the checkpoint SRC to an ONNX bundle OUT.

    Only a hub id uses the network; an interrupted download goes on with the next call.
    Needs the extra [export]; --engine optimum needs [optimum], best in an environment of its own.
    """
    from embedge.cli.progress_bar import progress_form, show_steps
    from embedge.models.source import SourceOverrides

    request = ExportRequest(
        source=source,
        out=out,
        precision=one_of(variant, ("fp32", "int8"), "--variant"),
        engine=one_of(engine, ("native", "optimum", "onnx"), "--engine"),
        flavor=one_of(flavor, ("ort", "standard"), "--flavor"),
        opset=opset,
        dims=tuple(dim or ()),
        keep_parent=keep_parent,
        measure=measure,
        offline=offline,
        cache_dir=cache_dir,
        overrides=SourceOverrides(
            name=name,
            short_name=short_name,
            revision=revision,
            license=license_name,
            matryoshka=None if matryoshka is None else sizes_of(matryoshka),
            prompts=None if prompts is None else prompts_of(prompts),
        ),
    )
    with show_steps(progress_form(progress, quiet=quiet), no_color=no_color) as steps:
        converted = export(request, steps)
    print_report(converted, as_json=as_json)


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """The checked arguments of one call."""

    source: str
    out: Path
    precision: str
    engine: str
    flavor: str
    opset: int | None
    dims: tuple[int, ...]
    keep_parent: bool
    measure: bool
    offline: bool
    cache_dir: Path | None
    overrides: "SourceOverrides"


def export(request: ExportRequest, progress: "StepProgress") -> "Converted":
    """Fetch the checkpoint where it is remote, and convert it.

    Raises:
        InvalidOption: options that contradict each other.
        EmbedgeError: as the download and the conversions.
    """
    from embedge.cli.pipeline import convert_checkpoint

    if request.precision == "fp32" and (request.dims or request.keep_parent):
        raise InvalidOption(
            "--dim and --keep-parent belong to --variant int8; an fp32 bundle always holds every "
            "trained size"
        )
    if request.out.exists():
        raise InvalidOption(f"{request.out} exists already; choose another name or remove it first")
    _check_engine(request)
    parent = request.out.with_name(f"{request.out.name}-fp32") if request.keep_parent else None
    checkpoint, overrides, is_download = _checkpoint(request, progress)
    converted = convert_checkpoint(
        checkpoint,
        request.out,
        precision="int8" if request.precision == "int8" else "fp32",
        engine=engine_of(request.engine),
        dims=request.dims,
        source=overrides,
        flavor="standard" if request.flavor == "standard" else "ort",
        opset=request.opset,
        measure=request.measure,
        parent_out=parent,
        progress=progress,
    )
    if is_download:
        shutil.rmtree(checkpoint)
    return converted


def engine_of(name: str) -> "ExportEngine":
    """Return the engine of that name; `one_of` has checked it."""
    return "optimum" if name == "optimum" else "onnx" if name == "onnx" else "native"


def _check_engine(request: ExportRequest) -> None:
    """Find out before a download what would stop the conversion after it."""
    if request.engine == "optimum":
        from embedge.export.optimum_engine import require_optimum

        require_optimum()
    if request.engine == "onnx" and not Path(request.source).is_dir():
        raise InvalidOption(
            f"--engine onnx takes a folder with model.onnx, and {request.source} is none. Download "
            f"the graph, config.json and tokenizer.json into one folder, or use --engine optimum."
        )


def _checkpoint(
    request: ExportRequest, progress: "StepProgress"
) -> tuple[Path, "SourceOverrides", bool]:
    """Return the folder, what is known about it, and whether this call downloaded it."""
    folder = Path(request.source)
    if folder.exists():
        return folder, request.overrides, False
    from embedge.models.download import left_to_fetch
    from embedge.models.hub import fetch_checkpoint, find_checkpoint, resolve_name
    from embedge.models.store import models_dir

    repo, revision = resolve_name(request.source, request.overrides.revision)
    remote = find_checkpoint(repo, revision, offline=request.offline)
    organisation, _, repo_name = repo.partition("/")
    root = models_dir(request.cache_dir).parent
    download = root / "downloads" / organisation / remote.revision / repo_name
    # A complete download was kept on purpose by an earlier call.
    is_new = left_to_fetch(remote.files, download) > 0
    fetch_checkpoint(remote, download, progress=progress)
    return download, replace(request.overrides, revision=remote.revision), is_new


def sizes_of(value: str) -> tuple[int, ...]:
    """Read `384,256,128`.

    Raises:
        InvalidOption: it is no list of whole numbers.
    """
    try:
        return tuple(int(part) for part in value.split(","))
    except ValueError:
        raise InvalidOption(
            f"--matryoshka {value!r} is no list of sizes; write it like 384,256,128"
        ) from None


def prompts_of(path: Path) -> dict[str, str]:
    """Read the prompt table from a JSON file.

    Raises:
        InvalidOption: the file cannot be read, or holds something else than texts.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InvalidOption(f"--prompts {path} cannot be read: {error}") from error
    table = json_object(text, f"--prompts {path}")
    if not all(isinstance(prefix, str) for prefix in table.values()):
        raise InvalidOption(f"--prompts {path} holds {table!r}, expected texts")
    return {key: str(prefix) for key, prefix in table.items()}


def print_report(converted: "Converted", *, as_json: bool) -> None:
    """Print what was made and, for int8, what it cost."""
    from embedge.cli.model_report import described, description

    bundle, report = converted.bundle, converted.report
    facts = described(bundle.path, bundle.manifest)
    if as_json:
        facts |= {} if report is None else {"quantization": report.to_json()}
        print(json.dumps(facts, indent=1, ensure_ascii=False))
        return
    print(description(facts))
    if report is not None:
        print(report)
