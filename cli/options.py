"""Flags shared by the commands: one name, one meaning, one environment variable each.

A command takes single flags from here (`Model`, `Json`, ...), whole groups with
`embedge.cli.flag_groups.with_flags`, or makes its own with `option`, which derives the variable
from the flag: `--max-memory` is also `EMBED_MAX_MEMORY`. Order: flag, variable, default.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

MODEL, TEXT, INPUT, OUTPUT, RUN = "Model", "Text and vectors", "Input", "Output", "Run"

VARIANT_NAMES = ("auto", "fp32", "int8", "int8-avx2")
TASK_NAMES = ("document", "query", "classification", "clustering", "none")
LONG_TEXT_MODES = ("chunk", "mean", "truncate", "error")
PRECISIONS = ("float32", "float16", "int8", "ubinary")
PROGRESS_FORMS = ("auto", "bar", "json", "none")


def option(
    *names: str,
    help: str,
    panel: str | None = None,
    choices: Sequence[str] = (),
    also: Sequence[str] = (),
    **settings: Any,
) -> Any:
    """Make a Typer option whose environment variable follows from its first long name.

    Args:
        names: flags as Typer takes them, for example `"--dim"`, `"-d"`.
        help: one line for `--help`.
        panel: heading in `--help`.
        choices: allowed values, for completion in the shell; the command checks them with
            `embedge.cli.values.one_of`.
        also: further environment variables that are honoured.
        settings: anything else that `typer.Option` takes.
    """
    if choices:
        settings["autocompletion"] = lambda: list(choices)
    variables = [variable_of(names), *also]
    return typer.Option(
        *names,
        help=help,
        envvar=variables if also else variables[0],
        show_envvar=False,
        rich_help_panel=panel,
        show_default=settings.pop("show_default", False),
        **settings,
    )


def variable_of(names: Sequence[str]) -> str:
    """Return the environment variable of a flag: `EMBED_` and its name in upper snake case."""
    long_name = next(name for name in names if name.startswith("--"))
    bare = long_name.partition("/")[0].strip().removeprefix("--")
    return "EMBED_" + bare.upper().replace("-", "_")


Model = Annotated[
    str | None,
    option(
        "--model", "-m", help="Model name or bundle folder; default: the bundled model.",
        panel=MODEL, metavar="NAME",
    ),
]  # fmt: skip
VariantName = Annotated[
    str,
    option(
        "--variant", help="auto (best for this CPU), fp32, int8 or int8-avx2.",
        panel=MODEL, metavar="NAME", choices=VARIANT_NAMES,
    ),
]  # fmt: skip
CacheDir = Annotated[
    Path | None,
    option(
        "--cache-dir", help="Folder of downloaded models; default: the user's cache.",
        panel=MODEL, metavar="DIR",
    ),
]  # fmt: skip
Threads = Annotated[
    int | None,
    option(
        "--threads", "-t", help="CPU threads; default: the physical cores this process may use.",
        panel=MODEL, metavar="N", min=1,
    ),
]  # fmt: skip
Offline = Annotated[
    bool,
    option("--offline", help="No network call at all.", panel=RUN, also=["HF_HUB_OFFLINE"]),
]
Json = Annotated[bool, option("--json", help="Reports and errors as JSON.", panel=RUN)]
Yes = Annotated[bool, option("--yes", "-y", help="Ask nothing; answer yes.", panel=RUN)]
DryRun = Annotated[bool, option("--dry-run", help="Say what would happen; do nothing.", panel=RUN)]
Quiet = Annotated[bool, option("--quiet", "-q", help="Nothing but errors on stderr.", panel=RUN)]
Verbose = Annotated[
    int,
    option(
        "--verbose", "-v", count=True, help="Say more on stderr; -vv adds tracebacks.", panel=RUN
    ),
]
NoColor = Annotated[
    bool, option("--no-color", help="No colour on stderr (also NO_COLOR).", panel=RUN)
]
Progress = Annotated[
    str,
    option(
        "--progress", help="auto (a bar on a terminal), bar, json or none; on stderr.",
        panel=RUN, metavar="HOW", choices=PROGRESS_FORMS,
    ),
]  # fmt: skip
Overlap = Annotated[
    int | None,
    option(
        "--overlap", help="Tokens shared by neighbours; default: mean 8, chunk 64.",
        panel=TEXT, metavar="N", min=0,
    ),
]  # fmt: skip
MaxTokens = Annotated[
    int | None,
    option(
        "--max-tokens", help="Longest piece in tokens, prefix included; default: the limit.",
        panel=TEXT, metavar="N",
    ),
]  # fmt: skip
Task = Annotated[
    str | None,
    option(
        "--task", help="document (default), query, classification, clustering or none.",
        panel=TEXT, metavar="TASK", choices=TASK_NAMES,
    ),
]  # fmt: skip
Prefix = Annotated[
    str | None,
    option(
        "--prefix", "--prepend", help="Put this text before each input, instead of --task.",
        panel=TEXT, metavar="TEXT",
    ),
]  # fmt: skip
NoPrefix = Annotated[bool, option("--no-prefix", help="Put nothing before the inputs.", panel=TEXT)]
KeepGoing = Annotated[
    bool,
    option(
        "--keep-going/--fail-fast",
        help="Go on after a failed input (default), or stop at the first.",
        panel=RUN,
    ),
]
StoreText = Annotated[
    bool,
    option(
        "--store-text/--no-store-text", help="Put each text into its record, or not.", panel=OUTPUT
    ),
]
Output = Annotated[
    Path | None,
    option(
        "--output", "-o", help="Write FILE, whole or not at all, instead of stdout.",
        panel=OUTPUT, metavar="FILE",
    ),
]  # fmt: skip

Content = Annotated[
    list[str],
    option("--content", "-c", help="A text (repeatable).", panel=INPUT, metavar="TEXT"),
]

InputFile = Annotated[
    str | None,
    option(
        "--input", "-i", help="Read FILE, or stdin with -; it is one text.",
        panel=INPUT, metavar="FILE",
    ),
]  # fmt: skip

Lines = Annotated[bool, option("--lines", help="One text per line of the input.", panel=INPUT)]


@dataclass(frozen=True, kw_only=True)
class ModelFlags:
    """Which model runs, and with what."""

    model: Model = None
    variant: VariantName = "auto"
    dim: Annotated[
        int | None,
        option(
            "--dim", "-d", "--dimensions", "--truncate-dim",
            help="Length of the vectors; default: the model's full size.",
            panel=MODEL, metavar="N", min=1,
        ),
    ] = None  # fmt: skip
    threads: Threads = None
    max_memory: Annotated[
        str | None,
        option(
            "--max-memory", help="Bound on peak memory, as in 800MB or 1GiB.",
            panel=MODEL, metavar="SIZE",
        ),
    ] = None  # fmt: skip
    batch_tokens: Annotated[
        int | None,
        option("--batch-tokens", help="Tokens per batch.", panel=MODEL, metavar="N", min=1),
    ] = None
    batch_size: Annotated[
        int | None,
        option("--batch-size", help="Texts per batch at most.", panel=MODEL, metavar="N", min=1),
    ] = None
    cache_dir: CacheDir = None


@dataclass(frozen=True, kw_only=True)
class TaskFlags:
    """What is put before a text; `given` holds the names of the flags that were typed."""

    task: Task = None
    prefix: Prefix = None
    no_prefix: NoPrefix = False
    given: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class VectorFlags(TaskFlags):
    """What is put before a text, how a long one is treated, and the form of a vector."""

    long_text: Annotated[
        str | None,
        option(
            "--long-text",
            help="Texts over the limit: chunk (default of files), mean (default of text), "
            "truncate or error.",
            panel=TEXT, metavar="HOW", choices=LONG_TEXT_MODES,
        ),
    ] = None  # fmt: skip
    max_tokens: MaxTokens = None
    overlap: Overlap = None
    precision: Annotated[
        str,
        option(
            "--precision", help="float32 (default), float16, int8 or ubinary.",
            panel=TEXT, metavar="TYPE", choices=PRECISIONS,
        ),
    ] = "float32"  # fmt: skip
    no_normalize: Annotated[
        bool, option("--no-normalize", help="Leave the vectors' length as it is.", panel=TEXT)
    ] = False


@dataclass(frozen=True, kw_only=True)
class WalkFlags:
    """Which files of a folder are read, and how."""

    include: Annotated[
        list[str],
        option("--include", help="Only matching files (repeatable).", panel=INPUT, metavar="GLOB"),
    ] = field(default_factory=list)
    exclude: Annotated[
        list[str],
        option("--exclude", help="No matching files (repeatable).", panel=INPUT, metavar="GLOB"),
    ] = field(default_factory=list)
    encoding: Annotated[
        str | None,
        option(
            "--encoding", help="Encoding of the input; default: UTF-8 or its byte-order mark.",
            panel=INPUT, metavar="NAME",
        ),
    ] = None  # fmt: skip
    max_file_size: Annotated[
        str,
        option(
            "--max-file-size", help="Larger files are failed inputs; default: 64MiB.",
            panel=INPUT, metavar="SIZE",
        ),
    ] = "64MiB"  # fmt: skip
    follow_symlinks: Annotated[
        bool, option("--follow-symlinks", help="Follow links inside folders.", panel=INPUT)
    ] = False
    hidden: Annotated[
        bool, option("--hidden", help="Read files whose name starts with a dot.", panel=INPUT)
    ] = False
    gitignore: Annotated[
        bool,
        option(
            "--gitignore/--no-gitignore", help="Honour .gitignore (default), or not.", panel=INPUT
        ),
    ] = True


@dataclass(frozen=True, kw_only=True)
class OutputFlags:
    """Where records go, and in which form."""

    format: Annotated[
        str | None,
        option(
            "--format", "-f",
            help="jsonl, json, csv, npy, npz, hex, base64, blob, openai, parquet or arrow.",
            panel=OUTPUT, metavar="NAME",
        ),
    ] = None  # fmt: skip
    output: Output = None
    resume: Annotated[
        bool, option("--resume", help="Continue FILE.partial (jsonl only).", panel=OUTPUT)
    ] = False
    store_text: StoreText = False


@dataclass(frozen=True, kw_only=True)
class SayFlags:
    """What a command says on stderr."""

    quiet: Quiet = False
    verbose: Verbose = 0
    json: Json = False
    offline: Offline = False


@dataclass(frozen=True, kw_only=True)
class RunFlags(SayFlags):
    """How a run goes on after a failure, and how it shows its progress."""

    keep_going: KeepGoing = True
    progress: Progress = "auto"
    no_color: NoColor = False
