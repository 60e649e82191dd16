"""Reading a body without trust: size, time, and how much all clients together may hold."""

import asyncio
import time

from starlette.requests import Request

from embedge.models.errors import Overloaded
from embedge.runtime.serve.failures import RequestError

# Bodies of all requests together, as they arrive and until they are answered.
_ALL_BODIES = 64 << 20
# What is read of a body that is too large, so that the client sees the answer instead of a reset.
_MOST_DRAINED = 16 << 20
_DRAIN_S = 2.0


class Intake:
    """Counts the bytes that clients hold here."""

    def __init__(self, limit: int, timeout_s: float) -> None:
        """Set the largest body in bytes, and the seconds within which it must be complete."""
        self._limit = limit
        self._timeout_s = timeout_s
        self._all = max(_ALL_BODIES, 4 * limit)
        self._held = 0

    async def read(self, request: Request) -> bytes:
        """Return the body; the caller gives `release(len(body))` back when it has answered.

        Raises:
            RequestError: 413 too large, 408 too slow, 499 the client left.
            Overloaded: all clients together send too much.
        """
        body = bytearray()
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._check_announced(request)
                is_open = True
                while is_open:
                    chunk, is_open = await _next_part(request)
                    if len(body) + len(chunk) > self._limit:
                        await _drain(request, is_open)
                        raise self._too_large()
                    self._take(len(chunk))
                    body += chunk
        except TimeoutError:
            self.release(len(body))
            raise RequestError(
                408,
                "timeout",
                f"the body did not arrive within {self._timeout_s:g} s",
                close=True,
            ) from None
        except BaseException:
            self.release(len(body))
            raise
        return bytes(body)

    def release(self, size: int) -> None:
        """Give back the bytes of an answered request."""
        self._held -= size

    def _take(self, size: int) -> None:
        if self._held + size > self._all:
            raise Overloaded("too many large requests at once; try again in 1 s", 1)
        self._held += size

    async def _check_announced(self, request: Request) -> None:
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > self._limit:
            if "100-continue" not in request.headers.get("expect", "").lower():
                await _drain(request, is_open=True)
            raise self._too_large()

    def _too_large(self) -> RequestError:
        return RequestError(
            413,
            "too_large",
            f"the body is larger than {self._limit} bytes; send fewer texts at a time, or start "
            f"the server with a larger --payload-limit",
            close=True,
        )


async def _next_part(request: Request) -> tuple[bytes, bool]:
    """Return what came, and whether more follows.

    Raises:
        RequestError: the client has left.
    """
    message = await request.receive()
    if message["type"] == "http.disconnect":
        raise RequestError(499, "client_gone", "the client closed the connection")
    return message.get("body", b""), message.get("more_body", False)


async def _drain(request: Request, is_open: bool) -> None:
    """Read on for a moment and forget what comes."""
    read, end = 0, time.monotonic() + _DRAIN_S
    while is_open and read < _MOST_DRAINED and time.monotonic() < end:
        try:
            async with asyncio.timeout(_DRAIN_S):
                part, is_open = await _next_part(request)
        except TimeoutError:
            return
        read += len(part)
