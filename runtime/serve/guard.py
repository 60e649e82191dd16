"""What stands before every route: who may ask, and the line in the log afterwards.

Host names are checked against DNS rebinding: a web page can point a name of its own at this
machine, but it cannot choose the Host header that the browser then sends. Origins are checked
because a browser sends simple cross-site requests without asking first.
"""

import hmac
import logging
import time
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from embedge.runtime.serve.endpoint import failure
from embedge.runtime.serve.failures import Dialect, RequestError
from embedge.runtime.serve.metrics import Metrics
from embedge.runtime.serve.options import LOCAL_HOSTS, OPEN_PATHS, ServeOptions

access = logging.getLogger("embedge.access")

_TEI_PATHS = ("/", "/embed", "/similarity", "/tokenize", "/decode", "/info")
_METHODS = "GET, POST, OPTIONS"
_CORS_HEADERS = "Authorization, Content-Type"


def dialect_of(path: str) -> Dialect:
    """Return whose error form a path has."""
    if path.startswith("/api/"):
        return Dialect.OLLAMA
    return Dialect.TEI if path in _TEI_PATHS else Dialect.OPENAI


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(
        self,
        app: ASGIApp,
        options: ServeOptions,
        metrics: Metrics,
        *,
        routes: frozenset[str],
    ) -> None:
        """Wrap `app`; `routes` are the paths that may appear in logs and metrics as they are."""
        self._app = app
        self._options = options
        self._metrics = metrics
        self._routes = routes
        named = [options.host, *options.allowed_hosts]
        self._hosts = {*LOCAL_HOSTS, *(_bracketed(name.lower()) for name in named)}
        self._key = None if options.api_key is None else options.api_key.encode("ascii")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        status = 500

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._add_headers(MutableHeaders(scope=message), origin)
            await send(message)

        answer = self._answer_early(scope, headers, origin)
        try:
            await (answer or self._app)(scope, receive, send_on)
        finally:
            self._record(scope, status, time.perf_counter() - begun)

    def _answer_early(self, scope: Scope, headers: Headers, origin: str | None) -> Response | None:
        try:
            self._check_host(scope, headers)
            self._check_origin(headers, origin)
            if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
                return Response(status_code=204)
            self._check_key(scope, headers)
        except RequestError as error:
            return failure(error, dialect_of(scope["path"]))
        return None

    def _check_host(self, scope: Scope, headers: Headers) -> None:
        if self._options.uds is not None or "*" in self._hosts:
            return  # no web page reaches a Unix socket
        host = _without_port(headers.get("host", "").lower())
        # Bound to every address: the one that this connection came in by. No name can be that.
        here = _bracketed(str((scope.get("server") or ("",))[0]))
        if host not in self._hosts and host != here:
            raise RequestError(
                403,
                "forbidden_host",
                "the Host header is not a name of this server; use localhost, or start it with "
                "--allowed-host NAME",
            )

    def _check_origin(self, headers: Headers, origin: str | None) -> None:
        if origin is None or self._is_allowed(origin):
            return
        own = urlsplit(origin) if origin.isascii() else None
        if own is not None and own.scheme == "http" and own.netloc == headers.get("host", ""):
            return
        raise RequestError(
            403,
            "forbidden_origin",
            "pages of this origin may not call; start the server with --cors-allow-origin ORIGIN",
        )

    def _is_allowed(self, origin: str) -> bool:
        allowed = self._options.cors_allow_origins
        return "*" in allowed or origin in allowed

    def _check_key(self, scope: Scope, headers: Headers) -> None:
        path = scope["path"]
        # The search page asks for the key itself: a browser sends no such header.
        if self._key is None or path in OPEN_PATHS or _is_page(path):
            return
        scheme, _, sent = headers.get("authorization", "").partition(" ")
        given = sent.strip().encode("utf-8", "replace")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given, self._key):
            raise RequestError(
                401,
                "invalid_api_key",
                "the API key is missing or wrong; send it as `Authorization: Bearer KEY`",
                headers=(("WWW-Authenticate", "Bearer"),),
            )

    def _add_headers(self, headers: MutableHeaders, origin: str | None) -> None:
        headers.setdefault("X-Content-Type-Options", "nosniff")
        if origin is None or not self._is_allowed(origin):
            return
        # The entry of the list, never an echo of what was sent.
        listed = [each for each in self._options.cors_allow_origins if each == origin]
        headers["Access-Control-Allow-Origin"] = listed[0] if listed else "*"
        headers["Access-Control-Allow-Methods"] = _METHODS
        headers["Access-Control-Allow-Headers"] = _CORS_HEADERS
        headers["Access-Control-Expose-Headers"] = (
            "X-Embed-Space, X-Embed-Truncated, X-Embed-Split, Retry-After"
        )
        headers.add_vary_header("Origin")

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        route = self._route(scope["path"])
        self._metrics.requests.labels(route, str(status)).inc()
        self._metrics.seconds.observe(seconds)
        texts, tokens = scope.get("embedge.work", (0, 0))
        access.info(
            "%s %s %d %.1f ms %d texts %d tokens",
            scope["method"] if scope["method"] in ("GET", "POST", "HEAD", "OPTIONS") else "other",
            route, status, seconds * 1000, texts, tokens,
        )  # fmt: skip

    def _route(self, path: str) -> str:
        """Return the path as logs may show it: strangers can write texts into a path."""
        if path in self._routes:
            return path
        if path.startswith("/v1/models/"):
            return "/v1/models/{id}"
        return "/browse" if _is_page(path) else "other"


def _is_page(path: str) -> bool:
    return path == "/browse" or path.startswith("/browse/")


def _without_port(host: str) -> str:
    """Return the name in a Host header; an IPv6 address keeps its brackets."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
