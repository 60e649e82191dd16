"""Flags shared by the commands: one name, one meaning, one environment variable each.

Every command takes its flags from here, or makes its own with `option`, which derives the
variable from the flag: `--max-memory` is also `EMBED_MAX_MEMORY`. Order: flag, variable, default.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

MODEL, TEXT, INPUT, OUTPUT, RUN = "Model", "Text and vectors", "Input", "Output", "Run"


def option(*names: str, help: str, panel: str | None = None, **settings: Any) -> Any:
    """Make a Typer option whose environment variable follows from its first long name.

    Args:
        names: flags as Typer takes them, for example `"--dim"`, `"-d"`.
        help: one line for `--help`.
        panel: heading in `--help`.
        settings: anything else that `typer.Option` takes.
    """
    long_name = next(name for name in names if name.startswith("--"))
    variable = "EMBED_" + long_name.partition("/")[0].strip().removeprefix("--").upper()
    return typer.Option(
        *names,
        help=help,
        envvar=variable.replace("-", "_"),
        rich_help_panel=panel,
        **settings,
    )


Model = Annotated[
    str | None,
    option("--model", "-m", help="Model name or bundle folder.", panel=MODEL, metavar="NAME"),
]
CacheDir = Annotated[
    Path | None,
    option("--cache-dir", help="Folder of models.", panel=MODEL, metavar="DIR"),
]
Offline = Annotated[bool, option("--offline", help="Make no network call at all.", panel=RUN)]
Json = Annotated[bool, option("--json", help="Report and errors as JSON.", panel=RUN)]
Yes = Annotated[bool, option("--yes", "-y", help="Ask nothing; answer yes.", panel=RUN)]
DryRun = Annotated[bool, option("--dry-run", help="Say what would happen; do nothing.", panel=RUN)]
Quiet = Annotated[bool, option("--quiet", "-q", help="Errors only on stderr.", panel=RUN)]
Verbose = Annotated[
    int,
    option(
        "--verbose", "-v", count=True, help="Say more on stderr; -vv adds tracebacks.", panel=RUN
    ),
]
NoColor = Annotated[bool, option("--no-color", help="No colour (also NO_COLOR).", panel=RUN)]
Progress = Annotated[
    str,
    option(
        "--progress",
        help="auto (a bar on a terminal), bar, json or none; always on stderr.",
        panel=RUN,
        metavar="HOW",
    ),
]
