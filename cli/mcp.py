"""`embed mcp`: the index as tools and resources for assistants, on stdio."""

from typing import TYPE_CHECKING

import typer

from embedge.cli.flag_groups import with_flags
from embedge.cli.index_flags import IndexFlags, IndexModelFlags, the_index
from embedge.cli.plain_help import PlainCommand

if TYPE_CHECKING:
    from embedge.runtime.embedder import Embedder
    from embedge.runtime.index import Index


def mcp_command(*, index: IndexFlags, model: IndexModelFlags) -> None:
    """Let an assistant search the index, read passages and embed texts, over MCP on stdio.

    Started by the assistant's own program, and ends with it. Tools: search, get_passage,
    index_status, embed; resources are the indexed files. Nothing is changed.
    """
    from contextlib import ExitStack

    import anyio

    from embedge.runtime.serve.mcp_server import serve_on_stdio
    from embedge.runtime.serve.mcp_tools import McpTools

    with ExitStack() as stack:

        def open_index() -> "Index":
            return stack.enter_context(the_index(index, model))

        tools = McpTools(open_index, lambda: _open_embedder(model))
        stack.callback(tools.close)
        anyio.run(serve_on_stdio, tools)


def _open_embedder(model: IndexModelFlags) -> "Embedder":
    from embedge.models.store import default_model
    from embedge.runtime.embedder import Embedder

    return Embedder(
        model.model or default_model(),
        variant=model.variant,
        dim=model.dim,
        threads=model.threads,
        cache_dir=model.cache_dir,
    )


def register(app: typer.Typer) -> None:
    """Add `embed mcp`."""
    app.command("mcp", cls=PlainCommand)(with_flags(mcp_command))
