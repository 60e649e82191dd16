"""Serve the search page alone: one index, this machine, until it is stopped."""

import secrets
from collections.abc import Callable

from uvicorn.protocols.http.h11_impl import H11Protocol

from embedge.models.errors import InvalidOption
from embedge.runtime.cancel import CancelToken
from embedge.runtime.index import Index
from embedge.runtime.serve.browse import browse_app
from embedge.runtime.serve.http_server import QuietServer
from embedge.runtime.serve.listening import address_of, open_socket
from embedge.runtime.serve.options import LOCAL_HOSTS, ServeOptions

_STOP_S = 2


def serve_page(
    index: Index,
    *,
    host: str,
    port: int,
    stop: CancelToken,
    listening: Callable[[str], None],
) -> None:
    """Serve until `stop` is cancelled.

    Args:
        index: read only.
        host: a loopback address or name.
        port: 0 takes any free one.
        stop: may be cancelled from a signal handler.
        listening: called with the address of the page, its key included.

    Raises:
        InvalidOption: `host` is another machine's business.
        EmbedgeError: the port is taken.
    """
    if f"[{host}]" not in LOCAL_HOSTS and host not in LOCAL_HOSTS:
        raise InvalidOption(
            f"--host {host!r}: the page is for this machine; use 127.0.0.1, or "
            "`embed serve --index --browse` with --api-key"
        )
    key = secrets.token_urlsafe(24)
    options = ServeOptions(host=host, port=port)
    opened = open_socket(options)
    try:
        app = browse_app(index, index.status, index.path, key=key)
        server = QuietServer(
            app, http=H11Protocol, lifespan="off", timeout_graceful_shutdown=_STOP_S
        )
        listening(f"{address_of(opened, options)}/?key={key}")
        server.run_until(stop, opened)
    finally:
        opened.close()
