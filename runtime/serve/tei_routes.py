"""The shape of Hugging Face's text-embeddings-inference (TEI)."""

import asyncio
from dataclasses import replace

from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from embedge.runtime.serve.endpoint import Exchange, Hub, get, post, require
from embedge.runtime.serve.failures import BadField, Dialect, EmptyInput
from embedge.runtime.serve.json_body import MAX_DIM, Fields, id_list
from embedge.runtime.serve.service import Call
from embedge.runtime.serve.vector_text import arrays

_DIRECTIONS = ("right", "left", "Right", "Left")


def routes(hub: Hub) -> list[Route]:
    """Return the routes of this family."""
    return [
        post("/embed", Dialect.TEI, _embed, hub),
        post("/", Dialect.TEI, _embed, hub),
        get("/", Dialect.TEI, _greeting, hub),
        post("/similarity", Dialect.TEI, _similarity, hub),
        post("/tokenize", Dialect.TEI, _tokenize, hub),
        post("/decode", Dialect.TEI, _decode, hub),
        get("/info", Dialect.TEI, _info, hub),
    ]


async def _greeting(exchange: Exchange) -> Response:
    from embedge import __version__

    return PlainTextResponse(f"embedge {__version__}: embeddings; see /openapi.json\n")


async def _embed(exchange: Exchange) -> Response:
    fields = exchange.fields
    texts = _texts(fields, "inputs")
    normalize = fields.flag("normalize")
    call = Call(
        texts=texts,
        dim=fields.integer("dimensions", 1, MAX_DIM),
        normalize=normalize is not False,
    )
    call = _treated(call, exchange, fields)
    result = await exchange.embed(call)
    values = await arrays(result.vectors)
    return Response(
        f"[{','.join(values)}]",
        media_type="application/json",
        headers=exchange.headers(result),
    )


async def _similarity(exchange: Exchange) -> Response:
    inputs = exchange.fields.nested("inputs")
    require(exchange.fields.get("inputs"), "inputs")
    source = inputs.required_text("source_sentence")
    if isinstance(inputs.get("sentences"), str):
        raise BadField("sentences", "sentences is a string, expected a list")
    sentences = _texts(inputs, "sentences")
    if not source:
        raise EmptyInput("source_sentence", "source_sentence is empty")
    call = Call(texts=[source, *sentences])
    result = await exchange.embed(_treated(call, exchange, exchange.fields.nested("parameters")))
    cosines = result.vectors[1:] @ result.vectors[0]
    return JSONResponse([float(str(value)) for value in cosines], headers=exchange.headers(result))


def _texts(fields: Fields, name: str) -> list[str]:
    texts = fields.texts(name)
    if texts is None:
        raise BadField(name, f"{name} is missing")
    if not texts:
        raise EmptyInput(name, f"{name} is empty")
    if not all(texts):
        raise EmptyInput(name, f"text {texts.index('')} of {name} is empty")
    return texts


def _treated(call: Call, exchange: Exchange, fields: Fields) -> Call:
    """Add what the fields say about prompt and length."""
    truncate = fields.flag("truncate")
    if truncate is None:
        truncate = exchange.hub.options.auto_truncate
    direction = fields.choice("truncation_direction", _DIRECTIONS) or "right"
    return replace(
        call,
        task=fields.text("prompt_name"),
        long_text="truncate" if truncate else "error",
        keep_end=direction.lower() == "left",
    )


async def _tokenize(exchange: Exchange) -> Response:
    fields = exchange.fields
    texts = _texts(fields, "inputs")
    add_special = fields.flag("add_special_tokens") is not False
    embedder = exchange.hub.service.embedder
    task = fields.text("prompt_name")
    prefix = "" if task is None else embedder.loaded.prompts.choose(task, None).prefix
    listing = exchange.hub.service.listing
    rows = await asyncio.to_thread(
        lambda: [listing.tokens(prefix + text, add_special) for text in texts]
    )
    return JSONResponse(rows)


async def _decode(exchange: Exchange) -> Response:
    raw = exchange.fields.get("ids")
    require(raw, "ids")
    skip_special = exchange.fields.flag("skip_special_tokens") is not False
    rows = raw if isinstance(raw, list) and raw and isinstance(raw[0], list) else [raw]
    limit = exchange.hub.service.embedder.loaded.tokens.vocabulary
    found = [id_list(row, "ids", limit) for row in rows]
    if not all(found):
        raise EmptyInput("ids", "ids is empty")
    listing = exchange.hub.service.listing
    return JSONResponse(
        await asyncio.to_thread(lambda: [listing.text(row, skip_special) for row in found])
    )


async def _info(exchange: Exchange) -> Response:
    from embedge import __version__

    service, options = exchange.hub.service, exchange.hub.options
    embedder = service.embedder
    manifest = embedder.loaded.bundle.manifest
    return JSONResponse(
        {
            "model_id": manifest.name,
            "model_sha": manifest.identity.checkpoint_sha256,
            "model_dtype": embedder.variant,
            "served_model_name": service.names.shown,
            "model_type": {"embedding": {"pooling": manifest.identity.pooling}},
            "max_concurrent_requests": options.max_concurrent_requests,
            "max_input_length": embedder.max_tokens,
            "max_batch_tokens": options.max_batch_tokens or embedder.loaded.options.batch_tokens,
            "max_batch_requests": options.max_batch_texts,
            "max_client_batch_size": options.payload_limit,
            "auto_truncate": options.auto_truncate,
            "tokenization_workers": 1,
            "version": __version__,
            "sha": None,
            "docker_label": None,
        }
    )
