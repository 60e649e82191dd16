"""The search page: static files of the package, and JSON for them. Reads only.

A web page of another site must not be able to ask: the Host must be a name of this machine
(against DNS rebinding), the Origin must be our own, and browsers say where a request comes from.
"""

import hmac
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, urlencode

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from embedge.models.errors import EmbedgeError, InvalidOption
from embedge.runtime.index.results import MODES, CollectionStatus, Hit, IndexStatus, Mode
from embedge.runtime.serve.indexed_files import find_indexed_file
from embedge.runtime.serve.marks import find_marks
from embedge.runtime.serve.options import LOCAL_HOSTS

MAX_QUERY = 2_000
MAX_HITS = 100

_log = logging.getLogger("embedge.browse")

_PAGE = {
    "index.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
# What a browser shows by itself and cannot run anything; all else is shown as text or saved.
_SHOWN = {".pdf": "application/pdf"}
_SAVED = frozenset((".docx", ".docm", ".dotx", ".epub"))


class Searchable(Protocol):
    """What the page needs of an index, or of what stands before one."""

    def search(
        self,
        query: str,
        *,
        limit: int = 10,
        mode: Mode = "hybrid",
        collections: Sequence[str] | None = None,
    ) -> list[Hit]:
        """Find passages; as `Index.search`."""
        ...


def browse_app(
    index: Searchable,
    status: Callable[[], IndexStatus],
    database: Path,
    *,
    hosts: Sequence[str] = LOCAL_HOSTS,
    key: str | None = None,
) -> ASGIApp:
    """Return an application to be served alone or mounted below a path.

    Args:
        index: searches.
        status: `Index.status`.
        database: the index file, for links to files.
        hosts: Host headers that are answered, without port; `*` answers all.
        key: asked for once as `?key=` of the page and then kept in a cookie, so that other users
            of this machine see nothing; None asks for none.
    """
    site = _Site(index, status, database)
    app = Starlette(
        routes=[
            Route("/", site.page, methods=["GET"]),
            Route("/api/search", site.search, methods=["GET"]),
            Route("/api/status", site.status, methods=["GET"]),
            Route("/file", site.file, methods=["GET"]),
            Route("/{name}", site.static, methods=["GET"]),
        ],
        exception_handlers={EmbedgeError: _refuse},
    )
    return _SameSite(app if key is None else _Keyed(app, key), hosts)


class _Site:
    def __init__(
        self, index: Searchable, status: Callable[[], IndexStatus], database: Path
    ) -> None:
        self._index = index
        self._status = status
        self._database = database
        self._files = {name: _package_file(name) for name in _PAGE}

    async def page(self, request: Request) -> Response:
        """Serve the page; its links are relative, so the address must end with a slash."""
        if not request.url.path.endswith("/"):
            return RedirectResponse(request.url.path + "/", 308)
        return Response(self._files["index.html"], media_type=_PAGE["index.html"])

    async def static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._files or name == "index.html":
            return _error(404, "not_found", "there is no such page")
        return Response(self._files[name], media_type=_PAGE[name])

    async def search(self, request: Request) -> Response:
        query = request.query_params.get("q", "").strip()
        if not query or len(query) > MAX_QUERY:
            raise InvalidOption(f"a query has 1 to {MAX_QUERY:,} characters")
        names = request.query_params.getlist("collection") or None
        mode = _mode(request.query_params.get("mode", "hybrid"))
        limit = _limit(request.query_params.get("limit", "20"))
        begun = time.perf_counter()
        call = partial(self._index.search, query, limit=limit, mode=mode, collections=names)
        hits = await run_in_threadpool(call)
        milliseconds = round((time.perf_counter() - begun) * 1000)
        shown = [_shown(hit, query) for hit in hits]
        return JSONResponse({"hits": shown, "milliseconds": milliseconds})

    async def status(self, request: Request) -> Response:
        return JSONResponse(_status(await run_in_threadpool(self._status)))

    async def file(self, request: Request) -> Response:
        """Serve a file of the index, never as something that runs on this page's behalf."""
        path = request.query_params.get("path", "")
        location = await run_in_threadpool(find_indexed_file, self._database, path)
        if location is None:
            return _error(404, "not_found", "the index has no such file, or it is gone")
        suffix = location.suffix.lower()
        is_saved = suffix in _SAVED
        return FileResponse(
            location,
            media_type=_SHOWN.get(
                suffix, "application/octet-stream" if is_saved else "text/plain; charset=utf-8"
            ),
            filename=location.name,
            content_disposition_type="attachment" if is_saved else "inline",
        )


class _SameSite:
    """ASGI middleware: only this machine's names, only our own pages, headers on every answer."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(Headers(scope=scope), scope)

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        answer = self._app if refusal is None else _error(403, "forbidden", refusal)
        await answer(scope, receive, send_on)

    def _refusal(self, headers: Headers, scope: Scope) -> str | None:
        host = headers.get("host", "").lower()
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if "*" not in self._hosts and name not in self._hosts:
            return "the Host header is not a name of this machine; use localhost"
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2].lower() != host:
            return "another site's pages may not ask here"
        is_page = headers.get("sec-fetch-mode") == "navigate" and not _is_private(scope["path"])
        if headers.get("sec-fetch-site", "none") in ("cross-site", "same-site") and not is_page:
            return "another site's pages may not ask here"
        return None


class _Keyed:
    """ASGI middleware: nothing without the key, which the first address carries."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app = app
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await self._answer(Request(scope))(scope, receive, send)

    def _answer(self, request: Request) -> ASGIApp:
        port = request.headers.get("host", "").rpartition(":")[2]
        cookie = f"embedge-key-{port}" if port.isdecimal() else "embedge-key"
        if self._is_key(request.query_params.get("key")):
            rest = urlencode(
                [pair for pair in request.query_params.multi_items() if pair[0] != "key"]
            )
            answer = RedirectResponse(f"./?{rest}" if rest else "./", 303)
            answer.set_cookie(cookie, self._key, httponly=True, samesite="strict", path="/")
            return answer
        if self._is_key(request.cookies.get(cookie)):
            return self._app
        return _error(
            403, "key", "open the address that the terminal shows: it carries the key to this page"
        )

    def _is_key(self, given: str | None) -> bool:
        return given is not None and hmac.compare_digest(given.encode(), self._key.encode())


def _is_private(path: str) -> bool:
    return path.endswith("/file") or "/api/" in path


def _shown(hit: Hit, query: str) -> dict[str, object]:
    folder, _, name = hit.path.rpartition("/")
    text = hit.text.strip("\r\n")
    return {
        "rank": hit.rank,
        "name": name,
        "folder": folder,
        "file": f"file?path={quote(hit.path, safe='')}" if hit.available else None,
        "collection": hit.collection,
        "cosine": hit.cosine,
        "page": hit.page,
        "line_start": hit.line_start,
        "line_end": hit.line_end,
        "heading": hit.heading,
        "text": text,
        "marks": find_marks(text, query),
        "available": hit.available,
        "also_in": [{"path": place.path, "chunk": place.chunk} for place in hit.also_in],
    }


def _status(status: IndexStatus) -> dict[str, object]:
    return {
        "path": status.path,
        "size_bytes": status.size_bytes,
        "collections": [_collection(each) for each in status.collections],
        "notes": [note for each in status.collections for note in _notes(each)],
    }


def _collection(each: CollectionStatus) -> dict[str, object]:
    return {
        "name": each.name,
        "model": each.model,
        "model_available": each.model_available,
        "files": each.files.get("read", 0),
        "chunks": each.chunks,
        "pending": each.pending,
        "not_read": each.files.get("skipped", 0) + each.files.get("error", 0),
    }


def _notes(each: CollectionStatus) -> list[str]:
    notes = [
        f"{each.name}: {root.path} cannot be reached now; what it held is found all the same."
        for root in each.roots
        if root.state == "offline"
    ]
    if each.model_problem:
        notes.append(f"{each.name}: {each.model_problem}")
    return notes


def _mode(name: str) -> Mode:
    for mode in MODES:
        if mode == name:
            return mode
    raise InvalidOption(f"mode {name!r} is none of {', '.join(MODES)}")


def _limit(value: str) -> int:
    if value.isdecimal() and 1 <= int(value) <= MAX_HITS:
        return int(value)
    raise InvalidOption(f"limit {value!r} is no number from 1 to {MAX_HITS}")


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, EmbedgeError)
    if error.http_status >= 500:
        _log.error("%s: %s", error.code, error)
    return _error(error.http_status, error.code, str(error))


def _error(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message}}, status)


def _package_file(name: str) -> bytes:
    return (files("embedge.runtime.serve") / "page" / name).read_bytes()
