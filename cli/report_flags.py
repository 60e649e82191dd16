"""Flags of commands that print one report: how it is shown and what is said meanwhile."""

from dataclasses import dataclass

from embedge.cli.options import Json, NoColor, Progress, Quiet, Verbose


@dataclass(frozen=True, kw_only=True)
class ReportFlags:
    """How a report is printed."""

    progress: Progress = "auto"
    quiet: Quiet = False
    verbose: Verbose = 0
    json: Json = False
    no_color: NoColor = False
