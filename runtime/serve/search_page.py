"""The search page below `/browse/`, once the index is open."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from embedge.runtime.serve.browse import browse_app
from embedge.runtime.serve.endpoint import Hub, failure
from embedge.runtime.serve.failures import Dialect, Unavailable

PATH = "/browse"


def routes(hub: Hub) -> list[BaseRoute]:
    """Return the page's routes; it asks for the API key itself, as browsers send no header."""
    return [Route(PATH, _with_slash, methods=["GET"]), Mount(PATH, _Page(hub))]


async def _with_slash(request: Request) -> Response:
    return RedirectResponse(f"{PATH}/", 308)


class _Page:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        searcher, database = self._hub.searcher, self._hub.options.index
        if searcher is None or database is None:
            answer = failure(Unavailable("the index is being opened; try again"), Dialect.OPENAI)
            await answer(scope, receive, send)
            return
        if self._app is None:
            # Host and Origin have been checked before.
            self._app = browse_app(
                searcher,
                searcher.index.status,
                database,
                hosts=("*",),
                key=self._hub.options.api_key,
            )
        await self._app(scope, receive, send)
