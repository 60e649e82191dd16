"""`embed models`: what is installed, what it is worth, and how to get more."""

import json
from pathlib import Path
from typing import Annotated

import typer

from embedge.cli.models_bundle import bundle_command
from embedge.cli.options import (
    MODEL,
    CacheDir,
    DryRun,
    Json,
    NoColor,
    Offline,
    Progress,
    Quiet,
    option,
)
from embedge.cli.plain_help import PlainCommand, PlainGroup
from embedge.cli.values import one_of

Name = Annotated[str, typer.Argument(metavar="NAME", help="A name, or NAME@int8, NAME@fp32.")]


def register(app: typer.Typer) -> None:
    """Add `embed models` with its sub-commands."""
    models = typer.Typer(
        cls=PlainGroup, help="List, get, check and remove models.", no_args_is_help=True
    )
    for name, command in (
        ("list", list_command),
        ("show", show_command),
        ("pull", pull_command),
        ("verify", verify_command),
        ("rm", rm_command),
        ("path", path_command),
        ("bundle", bundle_command),
        ("use", use_command),
    ):
        models.command(name, cls=PlainCommand)(command)
    app.add_typer(models, name="models")


def list_command(
    available: Annotated[
        bool, option("--available", help="Also name the models that `pull` knows.")
    ] = False,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """List the models on this machine; `*` marks the default."""
    from embedge.cli.model_report import available_rows, installed_rows, table
    from embedge.models.hub import KNOWN_MODELS
    from embedge.models.store import default_model, installed_models

    rows = installed_rows(installed_models(cache_dir), default_model(), cache_dir)
    if available:
        rows += available_rows(KNOWN_MODELS, {row["name"] for row in rows})
    print(json.dumps(rows, indent=1, ensure_ascii=False) if as_json else table(rows))


def show_command(name: Name, cache_dir: CacheDir = None, as_json: Json = False) -> None:
    """Show sizes, fingerprints, measured quality, licence and sources of a model.

    With --json, the whole manifest.
    """
    from embedge.cli.model_report import described, description
    from embedge.models.manifest import read_manifest
    from embedge.models.store import find_model

    path = find_model(name, cache_dir=cache_dir)
    report = described(path, read_manifest(path))
    print(json.dumps(report, indent=1, ensure_ascii=False) if as_json else description(report))


def pull_command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|HUB_ID|COPY",
            help="nomic-embed-text-v2-moe, maker/model, or what `models bundle` wrote.",
        ),
    ],
    revision: Annotated[
        str | None,
        option(
            "--revision",
            help="Commit, tag or branch; default: the pinned one of a known model, else main.",
            panel=MODEL,
            metavar="REV",
        ),
    ] = None,
    variant: Annotated[
        str,
        option(
            "--variant",
            help="int8 (default) or fp32.",
            panel=MODEL,
            metavar="NAME",
            choices=("int8", "fp32"),
        ),
    ] = "int8",
    dim: Annotated[
        list[int] | None,
        option(
            "--dim",
            "-d",
            help="Size with a graph of its own (repeatable); default: all trained sizes.",
            panel=MODEL,
            metavar="N",
            min=1,
        ),
    ] = None,
    keep_parent: Annotated[
        bool, option("--keep-parent", help="Also keep the fp32 bundle.", panel=MODEL)
    ] = False,
    keep_download: Annotated[
        bool, option("--keep-download", help="Keep the downloaded checkpoint.", panel=MODEL)
    ] = False,
    measure: Annotated[
        bool,
        option("--measure/--no-measure", help="Measure int8 against fp32 (default).", panel=MODEL),
    ] = True,
    cache_dir: CacheDir = None,
    offline: Offline = False,
    progress: Progress = "auto",
    quiet: Quiet = False,
    no_color: NoColor = False,
    as_json: Json = False,
) -> None:
    """Download a model, export and quantize it, and keep it in the store.

    An interrupted download goes on with the next call. Needs the extra [export]. A folder or zip of
    `embed models bundle` is installed from there, without network and extra.
    """
    from embedge.cli.model_report import described, description
    from embedge.cli.models_bundle import install_copy
    from embedge.cli.progress_bar import progress_form, show_steps
    from embedge.cli.pull import PullOptions, pull
    from embedge.models.manifest import read_manifest

    options = PullOptions(
        precision="fp32" if _precision(variant) == "fp32" else "int8",
        revision=revision,
        dims=tuple(dim or ()),
        keep_parent=keep_parent,
        keep_download=keep_download,
        measure=measure,
        offline=offline,
        cache_dir=cache_dir,
    )
    with show_steps(progress_form(progress, quiet=quiet), no_color=no_color) as steps:
        pulled = install_copy(name, cache_dir) or pull(name, options, progress=steps)
    report = described(pulled.path, read_manifest(pulled.path)) | {"is_new": pulled.is_new}
    print(json.dumps(report, indent=1, ensure_ascii=False) if as_json else description(report))


def verify_command(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One model; default: all of them.")
    ] = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Hash every file of one or all models and compare with the manifests; exit 4 on a difference.

    Leftovers of conversions that were killed are removed.
    """
    from embedge.cli.model_report import check_bundles
    from embedge.models.errors import ModelIntegrityError
    from embedge.models.store import clean_store, find_model, installed_models

    removed = clean_store(cache_dir)
    paths = (
        [find_model(name, cache_dir=cache_dir)]
        if name
        else [model.path for model in installed_models(cache_dir)]
    )
    results = check_bundles(paths, cache_dir)
    if as_json:
        report = {"models": results, "removed": [str(path) for path in removed]}
        print(json.dumps(report, indent=1, ensure_ascii=False))
    else:
        for result in results:
            print(f"{'ok ' if result['problem'] is None else 'BAD'}  {result['path']}")
        for path in removed:
            print(f"removed  {path} (left by a killed conversion)")
    problems = [str(result["problem"]) for result in results if result["problem"] is not None]
    if problems:
        raise ModelIntegrityError(" ".join(problems))


def rm_command(
    name: Name, cache_dir: CacheDir = None, dry_run: DryRun = False, as_json: Json = False
) -> None:
    """Remove a model from the store: every precision of NAME, or the one of NAME@int8."""
    from embedge.models.store import remove_model, stored_paths

    paths = (
        stored_paths(name, cache_dir=cache_dir)
        if dry_run
        else remove_model(name, cache_dir=cache_dir)
    )
    if as_json:
        print(json.dumps({"removed": [str(path) for path in paths], "dry_run": dry_run}))
        return
    for path in paths:
        print(f"{'would remove' if dry_run else 'removed'} {path}")


def path_command(name: Name, cache_dir: CacheDir = None, as_json: Json = False) -> None:
    """Print the folder of a model."""
    from embedge.models.store import find_model

    path: Path = find_model(name, cache_dir=cache_dir).absolute()
    print(json.dumps({"path": str(path)}, ensure_ascii=False) if as_json else path)


def use_command(name: Name, cache_dir: CacheDir = None, as_json: Json = False) -> None:
    """Make NAME the default model; `bundled` restores the built-in one."""
    from embedge.models.store import default_model, use_model

    use_model(name, cache_dir=cache_dir)
    chosen = default_model()
    print(json.dumps({"model": chosen}) if as_json else f"default model: {chosen}")


def _precision(variant: str) -> str:
    # EMBED_VARIANT may name what runs on this machine; both int8 variants are one bundle.
    if variant in ("auto", "int8-avx2", "int8-vnni", "int8-arm64"):
        return "int8"
    return one_of(variant, ("int8", "fp32"), "--variant")
