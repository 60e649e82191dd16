"""The application: routes, the guard before them, errors of the router in the right form."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from embedge.runtime.serve import (
    ollama_routes,
    openai_routes,
    own_routes,
    status_routes,
    tei_routes,
)
from embedge.runtime.serve.endpoint import Hub
from embedge.runtime.serve.failures import RequestError, body_of
from embedge.runtime.serve.guard import Guard, dialect_of
from embedge.runtime.serve.intake import Intake
from embedge.runtime.serve.metrics import Metrics
from embedge.runtime.serve.options import ServeOptions
from embedge.runtime.serve.service import Service


def build_hub(options: ServeOptions) -> Hub:
    """Return a service without a model, and what belongs to it."""
    metrics = Metrics()
    intake = Intake(options.payload_limit, options.body_timeout_s)
    return Hub(options, Service(options, metrics), metrics, intake)


def build_app(hub: Hub, started: Callable[[], None] | None = None) -> ASGIApp:
    """Return the ASGI application; `started` is called in its event loop."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        if started is not None:
            started()
        yield

    families = (openai_routes, ollama_routes, tei_routes, own_routes, status_routes)
    routes: list[BaseRoute] = [route for family in families for route in family.routes(hub)]
    paths = frozenset(str(getattr(route, "path", "")) for route in routes)
    if hub.options.browse:
        from embedge.runtime.serve import search_page

        routes += search_page.routes(hub)
    app = Starlette(
        routes=routes, lifespan=lifespan, exception_handlers={HTTPException: _router_error}
    )
    app.router.redirect_slashes = False
    return Guard(
        app,
        hub.options,
        hub.metrics,
        routes=paths | {"/browse"},
    )


async def _router_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    message = {
        404: "there is no such route; see /openapi.json",
        405: "this route takes another method; see /openapi.json",
    }.get(status, "the request cannot be taken")
    headers = dict(getattr(error, "headers", None) or {})
    if status == 405:
        headers["Allow"] = ", ".join(_methods(request))
    dialect = dialect_of(request.url.path)
    refusal = RequestError(status, "not_found" if status == 404 else "method_not_allowed", message)
    return JSONResponse(body_of(refusal, status, dialect), status, headers=headers)


def _methods(request: Request) -> list[str]:
    """Return the methods of every route of a path; the router itself knows the first one's."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    matching = [route for route in routes if route.path_regex.match(request.url.path)]
    return sorted({method for route in matching for method in route.methods or ()})
