"""Is it alive, is it ready, how busy is it, what does it speak."""

from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from embedge.runtime.serve.chunk_call import least_tokens
from embedge.runtime.serve.endpoint import Exchange, Hub, get
from embedge.runtime.serve.failures import Dialect, Unavailable
from embedge.runtime.serve.metrics import CONTENT_TYPE
from embedge.runtime.serve.openapi import description
from embedge.runtime.serve.openapi_schemas import Limits


def routes(hub: Hub) -> list[Route]:
    """Return the routes of this family."""
    return [
        get("/healthz", Dialect.OPENAI, _alive, hub),
        get("/readyz", Dialect.OPENAI, _ready, hub),
        get("/health", Dialect.OPENAI, _ready, hub),
        get("/metrics", Dialect.OPENAI, _metrics, hub),
        get("/openapi.json", Dialect.OPENAI, _openapi, hub),
    ]


async def _alive(exchange: Exchange) -> Response:
    return JSONResponse({"status": "ok"})


async def _ready(exchange: Exchange) -> Response:
    exchange.hub.service.require_ready()
    return JSONResponse({"status": "ok"})


async def _metrics(exchange: Exchange) -> Response:
    hub = exchange.hub
    hub.metrics.queue_tokens.set(hub.service.waiting_tokens)
    return PlainTextResponse(hub.metrics.page(), media_type=CONTENT_TYPE)


async def _openapi(exchange: Exchange) -> Response:
    return JSONResponse(description(exchange.hub.options, _limits(exchange)))


def _limits(exchange: Exchange) -> Limits:
    try:
        embedder = exchange.hub.service.embedder
    except Unavailable:
        return Limits()
    return Limits(
        dim=embedder.loaded.options.largest_dim,
        vocabulary=embedder.loaded.tokens.vocabulary,
        least_tokens=least_tokens(embedder),
        max_tokens=embedder.max_tokens,
    )
