"""`embed doctor`: what this machine offers, which variant runs and why, and a self-test."""

from typing import TYPE_CHECKING, Annotated

import typer

from embedge.cli.options import CacheDir, Json, Model, Threads, VariantName, option

if TYPE_CHECKING:
    from pathlib import Path

    from embedge.models.manifest import Json as JsonValue
    from embedge.runtime.embedder import Embedder

Verify = Annotated[
    bool,
    option("--verify", help="Check files, token ids and vectors; exit 4 if a stage differs."),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(
    verify: Verify = False,
    model: Model = None,
    variant: VariantName = "auto",
    threads: Threads = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Say what this machine offers, which model and variant run, and why.

    With --verify, embed known texts and name the first stage that differs: files, token ids,
    vectors, published facts.
    """
    from embedge.models.errors import EmbedgeError, ModelIntegrityError
    from embedge.runtime.diagnostics import describe_machine, describe_model

    report = describe_machine(cache_dir)
    problem: EmbedgeError | None = None
    stages: list[dict[str, JsonValue]] = []
    try:
        with _open(model, variant, threads, cache_dir) as embedder:
            report["model"] = describe_model(embedder)
            stages = _run_stages(embedder) if verify else []
    except EmbedgeError as error:  # the report is printed first, then the error ends the command
        problem = error
        report["problem"] = str(error)
    if verify:
        report["stages"] = [*stages]
    _print(report, as_json)
    if problem is not None:
        raise problem
    wrong = next((stage for stage in stages if stage["outcome"] == "differs"), None)
    if wrong is not None:
        raise ModelIntegrityError(f"self-test: {wrong['name']} differ: {wrong['detail']}")


def _open(model: str | None, variant: str, threads: int | None, cache: "Path | None") -> "Embedder":
    from embedge.models.store import default_model
    from embedge.runtime.embedder import Embedder

    return Embedder(model or default_model(), variant=variant, threads=threads, cache_dir=cache)


def _run_stages(embedder: "Embedder") -> "list[dict[str, JsonValue]]":
    from embedge.runtime.selftest import verify

    return [
        {"name": stage.name, "outcome": stage.outcome, "detail": stage.detail}
        for stage in verify(embedder)
    ]


def _print(report: "dict[str, JsonValue]", as_json: bool) -> None:
    import json

    if as_json:
        print(json.dumps(report, indent=1, ensure_ascii=False))
        return
    for title, value in report.items():
        if isinstance(value, dict):
            print(title)
            for key, item in value.items():
                print(f"  {key:<15} {_plain(item)}")
        elif title == "stages":
            _print_stages(value)
        else:
            print(f"{title:<17} {value}")


def _print_stages(stages: "JsonValue") -> None:
    print("self-test")
    assert isinstance(stages, list)
    for stage in stages:
        assert isinstance(stage, dict)
        print(f"  {stage['name']:<22} {stage['outcome']:<8} {stage['detail']}")


def _plain(value: "JsonValue") -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {item}" for key, item in value.items())
    return "none" if value is None else str(value)
