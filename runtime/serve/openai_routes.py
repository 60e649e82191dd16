"""OpenAI's shape: `/v1/embeddings` and `/v1/models`."""

import json
from collections.abc import Sequence

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from embedge.runtime.serve.endpoint import Exchange, Hub, get, post
from embedge.runtime.serve.failures import BadField, Dialect, EmptyInput
from embedge.runtime.serve.job import Embeddings
from embedge.runtime.serve.json_body import MAX_DIM, id_list, whole_number
from embedge.runtime.serve.service import Call
from embedge.runtime.serve.vector_text import arrays, base64_strings

_ENCODINGS = ("float", "base64")
_COMPACT = (",", ":")


def routes(hub: Hub) -> list[Route]:
    """Return the routes of this family."""
    return [
        post("/v1/embeddings", Dialect.OPENAI, _embeddings, hub),
        get("/v1/models", Dialect.OPENAI, _models, hub),
        get("/v1/models/{id:path}", Dialect.OPENAI, _model, hub),
    ]


async def _embeddings(exchange: Exchange) -> Response:
    fields, service = exchange.fields, exchange.hub.service
    model = fields.text("model")
    model_task = service.names.task_of(model)
    encoding = fields.choice("encoding_format", _ENCODINGS)
    include_info = fields.flag("include_info")
    fields.text("user")
    texts, ids = _input(exchange)
    result = await exchange.embed(
        Call(
            texts=texts,
            ids=ids,
            task=fields.text("task"),
            model_task=model_task,
            dim=fields.integer("dimensions", 1, MAX_DIM),
            long_text=exchange.hub.options.long_text,
        )
    )
    as_base64 = encoding == "base64"
    values = base64_strings(result.vectors) if as_base64 else await arrays(result.vectors)
    tokens = sum(each.n_tokens for each in result.info)
    tail: dict[str, object] = {
        "model": model or service.names.shown,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    if include_info:
        trained = service.embedder.loaded.bundle.manifest.matryoshka
        tail["x_embed"] = _info(result, trained)
    data = ",".join(
        f'{{"object":"embedding","index":{index},"embedding":{value}}}'
        for index, value in enumerate(values)
    )
    body = f'{{"object":"list","data":[{data}],{json.dumps(tail, separators=_COMPACT)[1:]}'
    return Response(body, media_type="application/json", headers=exchange.headers(result))


def _input(exchange: Exchange) -> tuple[Sequence[str], Sequence[Sequence[int]]]:
    """Return texts, or ids of texts.

    Raises:
        EmptyInput: there is none, or one of them is empty.
        BadField: another type, or ids although the server does not take them.
    """
    raw = exchange.fields.get("input")
    if isinstance(raw, list) and raw and all(map(_is_ids, raw)):
        return (), _token_ids(exchange, raw)
    texts = exchange.fields.texts("input")
    if texts is None:
        raise BadField("input", "input is missing; send a string or a list of strings")
    if not texts:
        raise EmptyInput("input", "input is an empty list; send at least one text")
    empty = [index for index, text in enumerate(texts) if not text]
    if empty:
        raise EmptyInput("input", f"text {empty[0]} of input is empty; leave it out")
    return texts, ()


def _is_ids(entry: object) -> bool:
    entries = entry if isinstance(entry, list) else [entry]
    return all(whole_number(each) is not None for each in entries)


def _token_ids(exchange: Exchange, raw: list[object]) -> list[list[int]]:
    rows = raw if all(isinstance(row, list) for row in raw) else [raw]
    if not exchange.hub.options.accept_token_ids:
        raise BadField(
            "input",
            "input holds token ids, most likely of another model's tokenizer: they would give "
            "plausible, wrong vectors. Send texts (LangChain: check_embedding_ctx_length=False), "
            "or start the server with --accept-token-ids if they are ids of this model",
        )
    vocabulary = exchange.hub.service.embedder.loaded.tokens.vocabulary
    found = [id_list(row, "input", vocabulary) for row in rows]
    if not all(found):
        raise EmptyInput("input", "a list of token ids is empty; leave it out")
    return found


def _info(result: Embeddings, trained: Sequence[int]) -> dict[str, object]:
    tasks = sorted({each.task for each in result.info})
    return {
        "space": result.space.fingerprint,
        "task": tasks[0] if len(tasks) == 1 else tasks,
        "items": [
            {"n_tokens": each.n_tokens, "truncated": each.truncated, "n_windows": each.n_windows}
            for each in result.info
        ],
        "warnings": _warnings(result, trained),
    }


def _warnings(result: Embeddings, trained: Sequence[int]) -> list[str]:
    found = []
    if any(each.prefix == "none" for each in result.info):
        found.append("no task and no prefix: name one for better results")
    if any(each.truncated for each in result.info):
        found.append("texts were cut at the token limit")
    dim = result.space.identity.dim
    if trained and dim not in trained:
        found.append(f"{dim} is no trained size ({', '.join(map(str, trained))}); quality unknown")
    return found


async def _models(exchange: Exchange) -> Response:
    listed = [_entry(exchange, name) for name in exchange.hub.service.names.listed()]
    return JSONResponse({"object": "list", "data": listed})


async def _model(exchange: Exchange) -> Response:
    name = str(exchange.request.path_params["id"])
    names = exchange.hub.service.names
    names.task_of(name)
    return JSONResponse(_entry(exchange, _spelled(name, names.listed())))


def _spelled(name: str, listed: list[str]) -> str:
    """Return a name as the list has it; aliases are their own spelling."""
    return next((each for each in listed if each.lower() == name.lower()), name)


def _entry(exchange: Exchange, name: str) -> dict[str, object]:
    from embedge.models.manifest import MANIFEST_NAME

    bundle = exchange.hub.service.embedder.loaded.bundle
    created = int((bundle.path / MANIFEST_NAME).stat().st_mtime)
    return {"id": name, "object": "model", "created": created, "owned_by": "embedge"}
