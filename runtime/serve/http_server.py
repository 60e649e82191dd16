"""The HTTP server itself: what every server of ours has in common."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Generator
from typing import Literal, TypedDict, Unpack

import uvicorn

from embedge.runtime.cancel import CancelToken


class ServerSettings(TypedDict, total=False):
    """Settings of uvicorn in which servers differ."""

    http: type
    lifespan: Literal["on", "off"]
    limit_concurrency: int
    timeout_graceful_shutdown: int
    h11_max_incomplete_event_size: int


class QuietServer(uvicorn.Server):
    """Answers HTTP/1.1 on a socket that is open already; logs nothing, names no software."""

    def __init__(self, app: Callable[..., object], **settings: Unpack[ServerSettings]) -> None:
        config = uvicorn.Config(
            app,
            ws="none",
            loop="asyncio",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            **settings,
        )
        super().__init__(config)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Do nothing: signals are the command's, which cancels `stop`."""
        yield

    def request_exit(self) -> None:
        """Ask the server to end; may be called in any thread or signal handler."""
        self.should_exit = True

    def run_until(self, stop: CancelToken, opened: socket.socket) -> None:
        """Serve on a socket until `stop` is cancelled or `request_exit` is called."""
        with stop.attached(self.request_exit), asyncio.Runner() as runner:
            runner.run(self.serve(sockets=[opened]))
