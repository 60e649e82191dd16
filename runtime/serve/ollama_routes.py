"""Ollama's shape: `/api/embed` and what its clients ask around it."""

import json
import time
from datetime import UTC, datetime

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from embedge.models.manifest import MANIFEST_NAME
from embedge.runtime.serve.endpoint import Exchange, Hub, get, post
from embedge.runtime.serve.failures import BadField, Dialect
from embedge.runtime.serve.job import Embeddings
from embedge.runtime.serve.json_body import MAX_DIM
from embedge.runtime.serve.service import Call
from embedge.runtime.serve.vector_text import arrays


def routes(hub: Hub) -> list[Route]:
    """Return the routes of this family."""
    return [
        post("/api/embed", Dialect.OLLAMA, _embed, hub),
        post("/api/embeddings", Dialect.OLLAMA, _embeddings, hub),
        post("/api/show", Dialect.OLLAMA, _show, hub),
        get("/api/tags", Dialect.OLLAMA, _tags, hub),
        get("/api/ps", Dialect.OLLAMA, _loaded, hub),
        get("/api/version", Dialect.OLLAMA, _version, hub),
    ]


async def _embed(exchange: Exchange) -> Response:
    begun = time.perf_counter_ns()
    fields = exchange.fields
    model = fields.required_text("model")
    model_task = exchange.hub.service.names.task_of(model)
    truncate = fields.flag("truncate")
    dim = fields.integer("dimensions", 0, MAX_DIM)
    fields.nested("options")
    texts = _texts(exchange)
    answer: dict[str, object] = {"model": model}
    headers: dict[str, str] = {}
    values: list[str] = []
    if texts:
        result = await exchange.embed(
            Call(
                texts=texts,
                model_task=model_task,
                dim=dim or None,
                long_text="error" if truncate is False else "truncate",
            )
        )
        headers = exchange.headers(result)
        values = await arrays(result.vectors)
        answer["total_duration"] = time.perf_counter_ns() - begun
        answer["load_duration"] = 0
        answer["prompt_eval_count"] = _tokens(result)
    body = f'{json.dumps(answer, separators=(",", ":"))[:-1]},"embeddings":[{",".join(values)}]}}'
    return Response(body, media_type="application/json", headers=headers)


def _texts(exchange: Exchange) -> list[str]:
    """Return the texts; none if the field is missing, empty, or an empty list."""
    if exchange.fields.get("input") == "":
        return []
    try:
        return exchange.fields.texts("input") or []
    except BadField:
        raise BadField("input", "invalid input type") from None


async def _embeddings(exchange: Exchange) -> Response:
    fields = exchange.fields
    model_task = exchange.hub.service.names.task_of(fields.required_text("model"))
    fields.nested("options")
    prompt = fields.texts("prompt") if isinstance(fields.get("prompt"), str) else None
    if prompt is None:
        fields.text("prompt")
    if not prompt or not prompt[0]:
        return JSONResponse({"embedding": []})
    result = await exchange.embed(Call(texts=prompt, model_task=model_task, long_text="truncate"))
    (value,) = await arrays(result.vectors)
    return Response(
        f'{{"embedding":{value}}}',
        media_type="application/json",
        headers=exchange.headers(result),
    )


def _tokens(result: Embeddings) -> int:
    return sum(each.n_tokens for each in result.info)


async def _tags(exchange: Exchange) -> Response:
    return JSONResponse({"models": [_model(exchange) | {"modified_at": _modified_at(exchange)}]})


async def _loaded(exchange: Exchange) -> Response:
    far = datetime(9999, 12, 31, tzinfo=UTC).isoformat()
    limit = exchange.hub.service.embedder.max_tokens
    running = {"expires_at": far, "size_vram": 0, "context_length": limit}
    return JSONResponse({"models": [_model(exchange) | running]})


async def _show(exchange: Exchange) -> Response:
    fields = exchange.fields
    older = fields.text("name")
    name = fields.text("model")
    name = older if name is None else name
    if name is None:
        raise BadField("model", "model is missing")
    exchange.hub.service.names.task_of(name)
    embedder = exchange.hub.service.embedder
    manifest = embedder.loaded.bundle.manifest
    family = _family(exchange)
    return JSONResponse(
        {
            "license": manifest.license,
            "modelfile": "",
            "parameters": "",
            "template": "",
            "details": _details(exchange),
            "model_info": {
                "general.architecture": family,
                f"{family}.context_length": embedder.max_tokens,
                f"{family}.embedding_length": embedder.dim,
            },
            "capabilities": ["embedding"],
            "modified_at": _modified_at(exchange),
        }
    )


async def _version(exchange: Exchange) -> Response:
    from embedge import __version__

    return JSONResponse({"version": __version__})


def _model(exchange: Exchange) -> dict[str, object]:
    bundle = exchange.hub.service.embedder.loaded.bundle
    name = f"{exchange.hub.service.names.shown}:latest"
    return {
        "name": name,
        "model": name,
        "size": sum(entry.size for entry in bundle.manifest.files.values()),
        "digest": bundle.manifest.identity.checkpoint_sha256,
        "details": _details(exchange),
        "capabilities": ["embedding"],
    }


def _details(exchange: Exchange) -> dict[str, object]:
    embedder = exchange.hub.service.embedder
    family = _family(exchange)
    parameters = embedder.loaded.bundle.manifest.architecture.get("parameters")
    return {
        "parent_model": "",
        "format": "onnx",
        "family": family,
        "families": [family],
        "parameter_size": f"{parameters / 1e6:.2f}M" if isinstance(parameters, int) else "",
        "quantization_level": embedder.variant.upper(),
        "context_length": embedder.max_tokens,
        "embedding_length": embedder.dim,
    }


def _family(exchange: Exchange) -> str:
    architecture = exchange.hub.service.embedder.loaded.bundle.manifest.architecture
    return str(architecture.get("kind", "nomic-bert-moe"))


def _modified_at(exchange: Exchange) -> str:
    path = exchange.hub.service.embedder.loaded.bundle.path / MANIFEST_NAME
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat()
