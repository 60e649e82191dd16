"""Run the application: socket, event loop, signals, the end."""

import logging
import os
import socket
from collections.abc import Callable
from typing import Unpack

from embedge.runtime.cancel import CancelToken
from embedge.runtime.embedder import Embedder
from embedge.runtime.serve.app import build_app, build_hub
from embedge.runtime.serve.connection import GuardedProtocol
from embedge.runtime.serve.endpoint import Hub
from embedge.runtime.serve.http_server import QuietServer, ServerSettings
from embedge.runtime.serve.listening import address_of, close_socket, open_socket
from embedge.runtime.serve.options import ServeOptions

log = logging.getLogger("embedge.serve")

# Connections may outnumber requests: idle ones are kept for the next request.
_IDLE_CONNECTIONS = 512
# Files that the process itself may have open: model, index, pipes.
_OWN_FILES = 128
_MOST_HEADER_BYTES = 32_768


class _Server(QuietServer):
    """Tells the service before it waits for requests."""

    def __init__(
        self, hub: Hub, app: Callable[..., object], **settings: Unpack[ServerSettings]
    ) -> None:
        super().__init__(app, **settings)
        self._hub = hub

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Fail what waits with 503, so that nobody holds the end up."""
        log.info("stopping")
        self._hub.service.stop()
        await super().shutdown(sockets)


def serve(
    options: ServeOptions,
    open_model: Callable[[], Embedder],
    *,
    stop: CancelToken,
    listening: Callable[[str], None] | None = None,
) -> None:
    """Serve until `stop` is cancelled.

    The socket opens at once; requests get 503 until the model is loaded.

    Args:
        options: checked here.
        open_model: called in a thread of its own.
        stop: may be cancelled from a signal handler.
        listening: called with the address once clients can connect.

    Raises:
        InvalidOption: options that cannot work, or no index at `options.index`.
        EmbedgeError: the address is taken, or the model cannot be loaded.
    """
    options.check()
    # The tokenizer's own pool would compete with the graph; the variable is read at every call.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    hub = build_hub(options)
    opened = open_socket(options)
    try:
        _run(hub, opened, open_model, stop, listening)
    finally:
        close_socket(opened, options)
        hub.service.stop()
        hub.service.close()
        if hub.searcher is not None:
            hub.searcher.close()
    hub.service.raise_failure()


def _run(
    hub: Hub,
    opened: socket.socket,
    open_model: Callable[[], Embedder],
    stop: CancelToken,
    listening: Callable[[str], None] | None,
) -> None:
    def started() -> None:
        hub.service.start(lambda: _open_all(hub, open_model), server.request_exit)
        address = address_of(opened, hub.options)
        log.info("listening on %s", address)
        if listening is not None:
            listening(address)

    server = _Server(
        hub,
        build_app(hub, started),
        http=GuardedProtocol,
        lifespan="on",
        limit_concurrency=most_connections(hub.options),
        timeout_graceful_shutdown=int(hub.options.stop_timeout_s),
        h11_max_incomplete_event_size=_MOST_HEADER_BYTES,
    )
    server.run_until(stop, opened)


def most_connections(options: ServeOptions) -> int:
    """Return how many connections are kept; one more gets 503 instead of no answer at all."""
    wanted = options.max_concurrent_requests + _IDLE_CONNECTIONS
    try:
        import resource
    except ImportError:  # Windows, which counts handles otherwise
        return wanted
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return wanted if files == resource.RLIM_INFINITY else min(wanted, max(16, files - _OWN_FILES))


def _open_all(hub: Hub, open_model: Callable[[], Embedder]) -> Embedder:
    embedder = open_model()
    options = hub.options
    if options.index is not None:
        from embedge.runtime.serve.search import Searcher

        hub.searcher = Searcher(
            options.index, embedder, threads=options.threads, cache_dir=options.cache_dir
        )
    return embedder
