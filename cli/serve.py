"""`embed serve`: the model as a local service, over HTTP or over stdin and stdout."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, cast

import typer

from embedge.cli.embed_options import open_embedder
from embedge.cli.flag_groups import with_flags
from embedge.cli.interrupt import cancelling
from embedge.cli.options import RUN, TASK_NAMES, ModelFlags, SayFlags, option
from embedge.cli.plain_help import PlainCommand
from embedge.cli.values import size_in_bytes
from embedge.models.errors import InvalidOption

if TYPE_CHECKING:
    from embedge.runtime.long_text import LongText
    from embedge.runtime.serve.options import ServeOptions

SERVER, REQUESTS, INDEX = "Server", "Requests", "Index"

_LONG_TEXT = ("mean", "truncate", "error")
_LOG_LEVELS = ("debug", "info", "warning", "error")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0}


@dataclass(frozen=True, kw_only=True)
class ServerFlags:
    """Where clients connect, and who may."""

    host: Annotated[
        str,
        option(
            "--host", "--hostname", help="Address to listen on; default: 127.0.0.1.",
            panel=SERVER, metavar="ADDRESS",
        ),
    ] = "127.0.0.1"  # fmt: skip
    port: Annotated[
        int,
        option("--port", help="Port; default: 8017; 0: any free one.", panel=SERVER, metavar="N"),
    ] = 8017
    uds: Annotated[
        Path | None,
        option(
            "--uds", "--uds-path", help="Listen on a Unix socket of this user only.",
            panel=SERVER, metavar="PATH",
        ),
    ] = None  # fmt: skip
    api_key: Annotated[
        str | None,
        option(
            "--api-key", help="Bearer token that clients must send; better set EMBED_API_KEY.",
            panel=SERVER, metavar="KEY",
        ),
    ] = None  # fmt: skip
    allowed_host: Annotated[
        list[str],
        option(
            "--allowed-host", help="Further name in the Host header (repeatable); *: any.",
            panel=SERVER, metavar="NAME",
        ),
    ] = field(default_factory=list)  # fmt: skip
    cors_allow_origin: Annotated[
        list[str],
        option(
            "--cors-allow-origin", help="Browser origin that may call (repeatable); *: any.",
            panel=SERVER, metavar="ORIGIN",
        ),
    ] = field(default_factory=list)  # fmt: skip
    log_level: Annotated[
        str,
        option(
            "--log-level", help="debug, info (default), warning or error.",
            panel=RUN, metavar="LEVEL", choices=_LOG_LEVELS,
        ),
    ] = "info"  # fmt: skip
    stdio: Annotated[
        bool,
        option("--stdio", help="JSON lines on stdin and stdout instead of HTTP.", panel=SERVER),
    ] = False


@dataclass(frozen=True, kw_only=True)
class RequestFlags:
    """What requests may ask, and what they get if they do not say."""

    served_model_name: Annotated[
        list[str],
        option(
            "--served-model-name", help="What clients may call the model (repeatable).",
            panel=REQUESTS, metavar="NAME",
        ),
    ] = field(default_factory=list)  # fmt: skip
    default_task: Annotated[
        str,
        option(
            "--default-task", help="Task of requests that name none; default: none.",
            panel=REQUESTS, metavar="TASK", choices=TASK_NAMES,
        ),
    ] = "none"  # fmt: skip
    long_text: Annotated[
        str,
        option(
            "--long-text", help="OpenAI requests over the limit: mean (default), truncate, error.",
            panel=REQUESTS, metavar="HOW", choices=_LONG_TEXT,
        ),
    ] = "mean"  # fmt: skip
    auto_truncate: Annotated[
        bool,
        option(
            "--auto-truncate/--no-auto-truncate",
            help="Cut long texts of TEI requests (default), or refuse them.",
            panel=REQUESTS,
        ),
    ] = True
    accept_token_ids: Annotated[
        bool,
        option(
            "--accept-token-ids", help="Take ids of this model's tokenizer as input.",
            panel=REQUESTS,
        ),
    ] = False  # fmt: skip
    payload_limit: Annotated[
        str,
        option(
            "--payload-limit", help="Largest body; default: 2MB.", panel=REQUESTS, metavar="SIZE"
        ),
    ] = "2MB"
    max_concurrent_requests: Annotated[
        int,
        option(
            "--max-concurrent-requests", help="More than these get 429; default: 512.",
            panel=REQUESTS, metavar="N",
        ),
    ] = 512  # fmt: skip
    max_batch_tokens: Annotated[
        int | None,
        option(
            "--max-batch-tokens", help="Tokens per batch of all requests.",
            panel=REQUESTS, metavar="N", min=1,
        ),
    ] = None  # fmt: skip
    request_timeout: Annotated[
        str,
        option(
            "--request-timeout", help="Waiting longer gets 503; default: 60s.",
            panel=REQUESTS, metavar="TIME",
        ),
    ] = "60s"  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class IndexFlags:
    """The folder index beside the model."""

    index: Annotated[bool, option("--index", help="Search the folder index, too.", panel=INDEX)] = (
        False
    )
    db: Annotated[
        Path | None,
        option("--db", help="Index file; default: the user's index.", panel=INDEX, metavar="FILE"),
    ] = None
    browse: Annotated[
        bool, option("--browse", help="Serve the search page, with --index.", panel=INDEX)
    ] = False


def serve_command(
    *,
    server: ServerFlags,
    requests: RequestFlags,
    index: IndexFlags,
    model: ModelFlags,
    run: SayFlags,
) -> None:
    """Answer the requests of OpenAI, Ollama and TEI clients on this machine.

    Listens on http://127.0.0.1:8017 until Ctrl-C or SIGTERM. With --stdio it speaks JSON lines
    with the program that started it, and ends with that program.
    """
    if server.stdio:
        _serve_stdio(index, model, run)
        return
    import starlette  # noqa: F401  # absent: named with its extra, before anything starts
    import uvicorn  # noqa: F401  # as above

    from embedge.runtime.cancel import CancelToken
    from embedge.runtime.serve.logs import logs_on_stderr
    from embedge.runtime.serve.server import serve

    options = _options(server, requests, index, model)
    stop = CancelToken()
    level = "error" if run.quiet else server.log_level
    with logs_on_stderr(level), cancelling(stop):
        serve(options, lambda: open_embedder(model, run), stop=stop)


def register(app: typer.Typer) -> None:
    """Add `embed serve`."""
    app.command("serve", cls=PlainCommand)(with_flags(serve_command))


def _options(
    server: ServerFlags, requests: RequestFlags, index: IndexFlags, model: ModelFlags
) -> "ServeOptions":
    from embedge.runtime.serve.options import ServeOptions

    batch_tokens = requests.max_batch_tokens or model.batch_tokens
    if batch_tokens is not None and model.max_memory is not None:
        raise InvalidOption("--max-batch-tokens and --max-memory exclude each other; give one")
    return ServeOptions(
        host=server.host,
        port=server.port,
        uds=server.uds,
        api_key=server.api_key or None,
        served_model_names=tuple(requests.served_model_name),
        default_task=requests.default_task,
        long_text=cast("LongText", requests.long_text),
        payload_limit=size_in_bytes(requests.payload_limit, "--payload-limit"),
        max_concurrent_requests=requests.max_concurrent_requests,
        max_batch_tokens=batch_tokens,
        max_batch_texts=model.batch_size,
        request_timeout_s=_seconds(requests.request_timeout, "--request-timeout"),
        auto_truncate=requests.auto_truncate,
        accept_token_ids=requests.accept_token_ids,
        index=_index_path(index) if index.index or index.browse else None,
        browse=index.browse,
        cors_allow_origins=tuple(server.cors_allow_origin),
        allowed_hosts=tuple(server.allowed_host),
        threads=model.threads,
        cache_dir=model.cache_dir,
    )


def _index_path(index: IndexFlags) -> Path:
    from embedge.runtime.index.connection import default_path

    return (index.db or default_path()).expanduser().absolute()


def _seconds(value: str, flag: str) -> float:
    """Read `60s`, `500ms`, `2m`, or a plain number of seconds."""
    number, unit = value, "s"
    for name in ("ms", "s", "m"):
        if value.endswith(name):
            number, unit = value.removesuffix(name), name
            break
    try:
        seconds = float(number) * _SECONDS[unit]
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 86_400:
        raise InvalidOption(f"{flag} {value!r} is not readable; write it like 60s or 500ms")
    return seconds


def _serve_stdio(index: IndexFlags, model: ModelFlags, run: SayFlags) -> None:
    from embedge.runtime.serve.stdio import serve_stdio

    with _protocol_stdout() as out:
        path = _index_path(index) if index.db is not None else None
        serve_stdio(lambda: open_embedder(model, run), sys.stdin.buffer, out, index=path)


@contextmanager
def _protocol_stdout() -> Iterator[BinaryIO]:
    """Keep stdout for the protocol; whatever else prints there goes to stderr meanwhile."""
    sys.stdout.flush()
    number = sys.stdout.fileno()
    own = os.dup(number)
    os.dup2(sys.stderr.fileno(), number)
    try:
        with os.fdopen(os.dup(own), "wb") as out:
            yield out
    finally:
        os.dup2(own, number)
        os.close(own)
