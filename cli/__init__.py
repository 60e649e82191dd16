"""The `embed` command. The one place where errors become exit codes."""

import os
import sys
from collections.abc import Collection, Sequence

# Top-level import name -> extra that installs it.
EXTRA_OF = {
    "ir_measures": "eval",
    "bm25s": "eval",
    "scipy": "eval",
    "onnx": "export",
    "onnx_ir": "export",
    "onnxscript": "export",
    "safetensors": "export",
    "ml_dtypes": "export",
    "pyarrow": "arrow",
    "cyclonedx": "sbom",
    "mcp": "mcp",
    "mcp_types": "mcp",
    "anyio": "mcp",
    "jsonschema": "mcp",
    "ray": "ray",
    "h11": "server",
    "prometheus_client": "server",
    "starlette": "server",
    "uvicorn": "server",
    "pypdfium2": "docs",
    "charset_normalizer": "docs",
    "watchfiles": "watch",
}

FAILURE, USAGE, SOME_FAILED, INTERRUPTED, TERMINATED = 1, 2, 3, 130, 143


def main() -> None:
    """Run the `embed` command with the arguments of the process, and exit."""
    from embedge.cli.interrupt import handle_signals
    from embedge.runtime.frozen import work_if_asked

    # numpy starts a thread per core when it loads; no command multiplies matrices with it.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    work_if_asked(sys.argv[1:])
    handle_signals()
    raise SystemExit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code (docs/cli.md); prints errors on stderr."""
    from embedge.cli.failure import exit_code_of

    try:
        code = _dispatch(list(arguments))
        sys.stdout.flush()
    except BaseException as error:  # every way out of a command ends in one exit code
        code = exit_code_of(error, arguments)
    return _without_pending_output(code)


def with_default_command(arguments: Sequence[str], commands: Collection[str]) -> list[str]:
    """Insert `files` before a first argument that is `-` or an existing path, and no command.

    `help COMMAND` is `COMMAND --help`.
    """
    first = arguments[0] if arguments else ""
    is_path = first == "-" or (not first.startswith("-") and os.path.lexists(first))
    if is_path and first not in commands:
        return ["files", *arguments]
    if first == "help":
        return [*arguments[1:], "--help"]
    return list(arguments)


def _dispatch(arguments: list[str]) -> int:
    import typer

    from embedge.cli.app import ALIASES, COMMANDS, build_app, build_group

    _use_utf8()
    if "_EMBED_COMPLETE" in os.environ:  # asked by the shell: names to complete
        build_app()(prog_name="embed")
    words = [ALIASES.get(word, word) for word in arguments[:1]] + arguments[1:]
    words = with_default_command(words, COMMANDS)
    group = build_group(only=words[0] if words and words[0] in COMMANDS else None)
    try:
        with group.make_context("embed", words) as ctx:
            group.invoke(ctx)
    except typer.Exit as leave:
        return leave.exit_code
    return 0


def _use_utf8() -> None:
    r"""Write UTF-8 and `\n` on every platform, whatever the code page."""
    if sys.stdout is None:  # closed by whoever started us
        sys.stdout = open(os.devnull, "w")
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # absent when a test replaced it
        if reconfigure is not None:
            reconfigure(encoding="utf-8", errors="surrogateescape", newline="\n")


def _without_pending_output(code: int) -> int:
    """Drop what a closed pipe or a full disk refused; the interpreter would try it once more."""
    try:
        sys.stdout.flush()
    except OSError:  # has been reported, or is a closed pipe
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    return code
