"""`embed index watch`: keep the index up to date until Ctrl-C."""

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer

from embedge.cli.flag_groups import with_flags
from embedge.cli.index_flags import INDEX, CollectionFlags, IndexFlags, IndexModelFlags, index_run
from embedge.cli.messages import say
from embedge.cli.options import option
from embedge.cli.plain_help import PlainCommand
from embedge.cli.values import seconds

if TYPE_CHECKING:
    from embedge.runtime.index import UpdateReport


def register(index: typer.Typer) -> None:
    """Add the command."""
    index.command("watch", cls=PlainCommand)(with_flags(watch_command))


def watch_command(
    interval: Annotated[
        str,
        option(
            "--interval", help="Look at everything at least so often; default: 15m.",
            panel=INDEX, metavar="TIME",
        ),
    ] = "15m",
    debounce: Annotated[
        str,
        option(
            "--debounce", help="Begin when nothing has changed for so long; default: 2s.",
            panel=INDEX, metavar="TIME",
        ),
    ] = "2s",
    *,
    which: CollectionFlags,
    model: IndexModelFlags,
    index: IndexFlags,
) -> None:  # fmt: skip
    """Update the index whenever files change, until Ctrl-C.

    With the extra [watch] the system tells about changes; without it, and on network drives,
    folders are looked at every minute. Runs at low priority, with half the threads on a battery.
    """
    from embedge.runtime.index.watching import watch
    from embedge.runtime.power import lower_priority

    interval_s, debounce_s = (seconds(interval, "--interval"), seconds(debounce, "--debounce"))
    lower_priority()
    with index_run(index, _gently(model)) as (opened, callback, cancel):
        watch(
            opened,
            collections=which.collection or None,
            interval_s=interval_s,
            debounce_s=debounce_s,
            cancel=cancel,
            on_run=_Teller(index),
            on_problem=lambda error: say(f"warning: {error}; the watch goes on"),
            progress=callback,
        )


class _Teller:
    """Prints runs that changed something, and the first one."""

    def __init__(self, index: IndexFlags) -> None:
        self._index = index
        self._warned: tuple[str, ...] = ()
        self._is_first = True

    def __call__(self, report: "UpdateReport") -> None:
        from embedge.cli.index_tables import report_line

        did = report.files_new + report.files_changed + report.files_moved + report.files_missing
        if did or report.chunks_embedded or self._is_first:
            line = json.dumps(asdict(report), ensure_ascii=False)
            print(line if self._index.json else report_line(report), flush=True)
        if report.warnings != self._warned and not self._index.quiet:
            for warning in report.warnings:
                say(f"warning: {warning}")
        self._warned = report.warnings
        self._is_first = False


def _gently(model: IndexModelFlags) -> IndexModelFlags:
    """Take half the threads on a battery, unless the user has named a number."""
    from embedge.runtime.cpu import plan_threads
    from embedge.runtime.power import is_on_battery

    if model.threads is not None or not is_on_battery():
        return model
    return replace(model, threads=max(1, plan_threads().threads // 2))
