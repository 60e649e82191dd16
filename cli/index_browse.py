"""`embed index browse`: the search page in a browser."""

from typing import Annotated

import typer

from embedge.cli.flag_groups import with_flags
from embedge.cli.index_flags import INDEX, IndexFlags, the_index
from embedge.cli.interrupt import cancelling
from embedge.cli.messages import say
from embedge.cli.options import CacheDir, Threads, option
from embedge.cli.plain_help import PlainCommand


def register(index: typer.Typer) -> None:
    """Add the command."""
    index.command("browse", cls=PlainCommand)(with_flags(browse_command))


def browse_command(
    host: Annotated[
        str,
        option(
            "--host", help="This machine's address; default: 127.0.0.1.",
            panel=INDEX, metavar="ADDRESS",
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int,
        option("--port", help="Port; default: 8017; 0: any free one.", panel=INDEX, metavar="N"),
    ] = 8017,
    open_browser: Annotated[
        bool, option("--open", help="Open the page in the default browser.", panel=INDEX)
    ] = False,
    threads: Threads = None,
    cache_dir: CacheDir = None,
    *,
    index: IndexFlags,
) -> None:  # fmt: skip
    """Show a page to search the index in a browser, until Ctrl-C.

    For this machine only; the address carries a key, so that other users of the machine see
    nothing. Reads only. Needs the extra [server].
    """
    import starlette  # noqa: F401  (says at once which extra is missing)

    from embedge.cli.index_flags import IndexModelFlags
    from embedge.runtime.cancel import CancelToken
    from embedge.runtime.serve.browse_server import serve_page

    def listening(address: str) -> None:
        print(address, flush=True)
        if not index.quiet:
            say("open this address in a browser; Ctrl-C ends the page")
        if open_browser:
            import webbrowser

            webbrowser.open(address)

    stop = CancelToken()
    model = IndexModelFlags(threads=threads, cache_dir=cache_dir)
    with the_index(index, model, readonly=True) as opened, cancelling(stop):
        serve_page(opened, host=host, port=port, stop=stop, listening=listening)
