"""From a handler to a route: body, fields, errors in the dialect of the route."""

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from embedge.models.errors import EmbedgeError
from embedge.runtime.serve.failures import (
    BadField,
    Dialect,
    Unavailable,
    body_of,
    headers_of,
    status_of,
)
from embedge.runtime.serve.intake import Intake
from embedge.runtime.serve.job import Embeddings
from embedge.runtime.serve.json_body import Fields, decode
from embedge.runtime.serve.metrics import Metrics
from embedge.runtime.serve.options import ServeOptions
from embedge.runtime.serve.service import Call, Service

if TYPE_CHECKING:
    from embedge.runtime.serve.search import Searcher

log = logging.getLogger("embedge.serve")

# Decoding less than this takes a millisecond or two: no reason to leave the event loop.
_SMALL_BODY = 200_000


@dataclass
class Hub:
    """What every handler can reach."""

    options: ServeOptions
    service: Service
    metrics: Metrics
    intake: Intake
    searcher: "Searcher | None" = None


@dataclass
class Exchange:
    """One request with the fields of its body."""

    hub: Hub
    request: Request
    fields: Fields

    async def embed(self, call: Call) -> Embeddings:
        """Compute, or stop when the client leaves; raises as `Service.embed`."""
        result = await self.hub.service.embed(call, self._gone)
        self.request.scope["embedge.work"] = (
            len(result.info),
            sum(each.n_tokens for each in result.info),
        )
        return result

    def headers(self, *results: Embeddings) -> dict[str, str]:
        """Return the headers of an answer with vectors, and count what was cut or split."""
        truncated, split = self.hub.metrics.count_texts(
            [info for result in results for info in result.info]
        )
        headers = {"X-Embed-Space": results[0].space.fingerprint}
        if truncated:
            headers["X-Embed-Truncated"] = str(truncated)
        if split:
            headers["X-Embed-Split"] = str(split)
        return headers

    async def _gone(self) -> None:
        while (await self.request.receive())["type"] != "http.disconnect":
            pass


Handler = Callable[[Exchange], Awaitable[Response]]


def post(
    path: str,
    dialect: Dialect,
    handler: Handler,
    hub: Hub,
    *,
    known: frozenset[str] | None = None,
) -> Route:
    """Make a route that takes a JSON object; `known` refuses other fields."""

    async def respond(request: Request) -> Response:
        size = 0
        try:
            body = await hub.intake.read(request)
            size = len(body)
            value = decode(body) if size < _SMALL_BODY else await asyncio.to_thread(decode, body)
            del body
            return await handler(Exchange(hub, request, Fields(value, known=known)))
        except Exception as error:  # becomes the answer; unknown ones are logged
            return failure(error, dialect)
        finally:
            hub.intake.release(size)

    return Route(path, respond, methods=["POST"])


def get(path: str, dialect: Dialect, handler: Handler, hub: Hub) -> Route:
    """Make a route without a body."""

    async def respond(request: Request) -> Response:
        try:
            return await handler(Exchange(hub, request, Fields({})))
        except Exception as error:  # as above
            return failure(error, dialect)

    return Route(path, respond, methods=["GET"])


def failure(error: Exception, dialect: Dialect) -> Response:
    """Return the answer to an error."""
    if not isinstance(error, EmbedgeError):
        # The message of a foreign error may quote a text: log the place and the type only.
        place = "".join(traceback.format_tb(error.__traceback__))
        log.error("unexpected %s\n%s", type(error).__name__, place)
        error = EmbedgeError("the server met an unexpected error; its log says where")
    elif error.http_status >= 500 and not isinstance(error, Unavailable):
        log.error("%s: %s", error.code, error)
    status = status_of(error, dialect)
    return JSONResponse(body_of(error, status, dialect), status, headers=headers_of(error))


def require(value: object, name: str) -> None:
    """Refuse a body that lacks a field.

    Raises:
        BadField: names it.
    """
    if value is None:
        raise BadField(name, f"{name} is missing")
