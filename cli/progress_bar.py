"""Progress on stderr: a bar for people, JSON lines for programs, nothing in a pipe."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from embedge.cli.options import PROGRESS_FORMS
from embedge.cli.values import one_of

if TYPE_CHECKING:
    from rich.console import Console

    from embedge.models.steps import StepProgress
    from embedge.runtime.progress import ProgressCallback, ProgressEvent


def progress_form(flag: str, *, quiet: bool) -> str:
    """Return `bar`, `json` or `none`; `auto` is a bar on a terminal, else nothing.

    Raises:
        InvalidOption: the flag's value is unknown.
    """
    form = one_of(flag, PROGRESS_FORMS, "--progress")
    if form == "auto":
        return "bar" if sys.stderr.isatty() and not quiet else "none"
    return form


@contextmanager
def show_progress(form: str, *, no_color: bool = False) -> "Iterator[ProgressCallback | None]":
    """Give the callback for a `ProgressMeter`, and clear the bar at the end."""
    if form == "json":
        yield _print_json
    elif form == "bar":
        with _bar(no_color) as callback:
            yield callback
    else:
        yield None


@contextmanager
def show_steps(form: str, *, no_color: bool = False) -> "Iterator[StepProgress]":
    """Give the callback for conversions, which have named steps instead of texts."""
    if form == "json":
        yield _print_step
    elif form == "bar":
        with _step_bar(no_color) as callback:
            yield callback
    else:
        from embedge.models.steps import no_progress

        yield no_progress


def _print_json(event: "ProgressEvent") -> None:
    print(json.dumps(event.as_dict()), file=sys.stderr, flush=True)


def _print_step(step: str, done: int, total: int | None) -> None:
    event = {"event": "step", "step": step, "done": done, "total": total}
    print(json.dumps(event), file=sys.stderr, flush=True)


def _console(no_color: bool) -> "Console":
    from rich.console import Console

    return Console(stderr=True, no_color=no_color or bool(os.environ.get("NO_COLOR")))


@contextmanager
def _bar(no_color: bool) -> "Iterator[ProgressCallback]":
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[what]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[path]}", style="dim"),
    )
    with Progress(*columns, console=_console(no_color), transient=True) as bar:
        task = bar.add_task("embed", total=None, what="loading", path="")

        def show(event: "ProgressEvent") -> None:
            if event.event in ("start", "progress"):
                by_file = event.files_total is not None and event.chunks_total is None
                bar.update(
                    task,
                    total=event.files_total if by_file else event.chunks_total,
                    completed=event.files_done if by_file else event.chunks_done,
                    what=_summary(event),
                    path=event.path or "",
                )

        yield show


def _summary(event: "ProgressEvent") -> str:
    parts = []
    if event.files_total is not None:
        parts.append(f"{event.files_done}/{event.files_total} files")
    parts.append(f"{event.chunks_done} vectors")
    if event.tokens_per_s is not None:
        parts.append(f"{event.tokens_per_s:.0f} tokens/s")
    if event.eta_s is not None:
        minutes, seconds = divmod(round(event.eta_s), 60)
        parts.append(f"{minutes}:{seconds:02d} left")
    return ", ".join(parts)


@contextmanager
def _step_bar(no_color: bool) -> "Iterator[StepProgress]":
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=_console(no_color), transient=False) as bar:
        tasks: dict[str, TaskID] = {}

        def show(step: str, done: int, total: int | None) -> None:
            if step not in tasks:
                tasks[step] = bar.add_task(step, total=total)
            bar.update(tasks[step], completed=done, total=total)

        yield show
