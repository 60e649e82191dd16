"""Our own routes: search in the folder index, chunks of a text."""

import asyncio
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from embedge.runtime.serve.chunk_call import chunk_fields
from embedge.runtime.serve.endpoint import Exchange, Hub, post
from embedge.runtime.serve.failures import BadField, Dialect, RequestError, Unavailable
from embedge.runtime.serve.own_shapes import (
    CHUNK_FIELDS,
    MAX_HITS,
    SEARCH_FIELDS,
    SEARCH_MODES,
    checked_mode,
)

if TYPE_CHECKING:
    from embedge.runtime.serve.search import Searcher

# Fields of a chunk, as records and LocalDocs name them.
_CHUNK_KEYS = "text char_start char_end line_start line_end heading n_tokens".split()


def routes(hub: Hub) -> list[Route]:
    """Return the routes of this family."""
    return [
        post("/v1/search", Dialect.OPENAI, _search, hub, known=SEARCH_FIELDS),
        post("/v1/chunk", Dialect.OPENAI, _chunk, hub, known=CHUNK_FIELDS),
    ]


async def _search(exchange: Exchange) -> Response:
    begun = time.perf_counter()
    fields = exchange.fields
    searcher = _searcher(exchange)
    query = fields.required_text("query")
    limit = fields.integer("limit", 1, MAX_HITS)
    mode = checked_mode(fields.choice("mode", SEARCH_MODES))
    collections = fields.get("collections")
    if isinstance(collections, str):
        raise BadField("collections", "collections is a string, expected a list of names")
    names = fields.texts("collections")
    min_score, path = fields.number("min_score"), fields.text("path")
    explain = fields.flag("explain") is True
    if names is not None:
        await asyncio.to_thread(_require_collections, searcher, names)
    hits = await asyncio.to_thread(
        lambda: searcher.search(
            query,
            limit=limit or 10,
            mode=mode,
            collections=names,
            min_score=min_score,
            path=path,
            explain=explain,
        )
    )
    space = exchange.hub.service.embedder.space.fingerprint
    took_ms = round((time.perf_counter() - begun) * 1000, 1)
    return JSONResponse(
        {"hits": [hit.as_dict() for hit in hits], "space": space, "took_ms": took_ms},
        headers={"X-Embed-Space": space},
    )


def _require_collections(searcher: "Searcher", names: list[str]) -> None:
    known = searcher.index.collections()
    unknown = [name for name in names if name not in known]
    if unknown:
        raise RequestError(
            404,
            "collection_not_found",
            f"there is no collection {unknown[0][:200]!r}; here are {', '.join(known)}",
        )


def _searcher(exchange: Exchange) -> "Searcher":
    hub = exchange.hub
    if hub.options.index is None:
        raise RequestError(404, "no_index", "this server has no index; start it with --index")
    if hub.searcher is None:
        raise Unavailable("the index is being opened; try again in a moment")
    return hub.searcher


async def _chunk(exchange: Exchange) -> Response:
    embedder = exchange.hub.service.embedder
    chunks = await asyncio.to_thread(chunk_fields, embedder, exchange.fields)
    rows = [asdict(chunk) for chunk in chunks]
    return JSONResponse({"chunks": [{key: row[key] for key in _CHUNK_KEYS} for row in rows]})
