"""The OpenAPI 3.1 description of the server; a test lets schemathesis hold the two together."""

from embedge.runtime.serve import openapi_schemas as schemas
from embedge.runtime.serve.openapi_schemas import Limits, Schema
from embedge.runtime.serve.options import OPEN_PATHS, ServeOptions

# Statuses that any route with a body may answer, beside its own.
_COMMON = (400, 408, 413, 429, 500, 503)
_SPACE_HEADERS = ("X-Embed-Space", "X-Embed-Truncated", "X-Embed-Split")


def description(options: ServeOptions, limits: Limits) -> dict[str, object]:
    """Return the document for a server with these options and a model of these limits."""
    from embedge import __version__

    paths = _paths(with_index=options.index is not None)
    components: Schema = {"schemas": schemas.named(limits)}
    document: dict[str, object] = {
        "openapi": "3.1.0",
        "info": {
            "title": "embedge",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "Text embeddings in the shapes of OpenAI, Ollama and TEI.",
        },
        "paths": paths,
        "components": components,
    }
    if options.api_key is not None:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key": []}]
        _secure(paths)
    return document


def _secure(paths: dict[str, dict[str, Schema]]) -> None:
    for path, methods in paths.items():
        for operation in methods.values():
            if path in OPEN_PATHS:
                operation["security"] = []
            else:
                error = _error_of(operation["tags"][0])
                operation["responses"]["401"] = _response("No or wrong API key.", error)


def _paths(*, with_index: bool) -> dict[str, dict[str, Schema]]:
    vectors = _SPACE_HEADERS
    paths = {
        "/v1/embeddings": {
            "post": _post("OpenAI", "Embed texts", "OpenAIRequest", "OpenAIAnswer", 404,
                          headers=vectors),
        },
        "/v1/models": {"get": _get("OpenAI", "List the model", "OpenAIModels", 503)},
        "/v1/models/{id}": {"get": _model()},
        "/api/embed": {
            "post": _post("Ollama", "Embed texts", "OllamaRequest", "OllamaAnswer", 404,
                          headers=vectors),
        },
        "/api/embeddings": {
            "post": _post("Ollama", "Embed one text", "OllamaPrompt", "OllamaVector", 404,
                          headers=vectors),
        },
        "/api/show": {
            "post": _post("Ollama", "Describe the model", "OllamaName", "OllamaModel", 404),
        },
        "/api/tags": {"get": _get("Ollama", "List the model", "OllamaModels", 503)},
        "/api/ps": {"get": _get("Ollama", "List the loaded model", "OllamaModels", 503)},
        "/api/version": {"get": _get("Ollama", "Version", "OllamaVersion")},
        "/embed": {
            "post": _post("TEI", "Embed texts", "TeiRequest", "TeiVectors", 422, 424,
                          headers=vectors),
        },
        "/": {
            "post": _post("TEI", "Embed texts", "TeiRequest", "TeiVectors", 422, 424,
                          headers=vectors),
            "get": _get("TEI", "Say what runs here", None),
        },
        "/similarity": {
            "post": _post("TEI", "Cosine similarity", "TeiSimilarity", "Numbers", 422, 424,
                          headers=vectors),
        },
        "/tokenize": {"post": _post("TEI", "List tokens", "TeiTokenize", "TeiTokens", 422)},
        "/decode": {"post": _post("TEI", "Ids to text", "TeiDecode", "Strings", 422)},
        "/info": {"get": _get("TEI", "Describe the server", "TeiInfo", 503)},
        "/v1/chunk": {"post": _post("embedge", "Cut a text", "ChunkRequest", "ChunkAnswer")},
        "/healthz": {"get": _get("Health", "Alive", "Status")},
        "/readyz": {"get": _get("Health", "Model ready", "Status", 503)},
        "/health": {"get": _get("Health", "Model ready", "Status", 503)},
        "/metrics": {"get": _get("Health", "Prometheus metrics", None)},
        "/openapi.json": {"get": _get("Health", "This document", "Anything")},
    }  # fmt: skip
    if with_index:
        paths["/v1/search"] = {
            "post": _post("embedge", "Search the index", "SearchRequest", "SearchAnswer", 404, 409,
                          headers=("X-Embed-Space",)),
        }  # fmt: skip
    return paths


def _post(
    tag: str,
    summary: str,
    body: str,
    answer: str,
    *statuses: int,
    headers: tuple[str, ...] = (),
) -> Schema:
    responses = _errors(tag, *_COMMON, *statuses)
    responses["200"] = _response("Done.", schemas.ref(answer), headers)
    content = {"application/json": {"schema": schemas.ref(body)}}
    return {
        "tags": [tag],
        "summary": summary,
        "requestBody": {"required": True, "content": content},
        "responses": responses,
    }


def _get(tag: str, summary: str, answer: str | None, *statuses: int) -> Schema:
    responses = _errors(tag, *statuses)
    if answer is None:
        text: Schema = {"text/plain": {"schema": {"type": "string"}}}
        responses["200"] = {"description": "Plain text.", "content": text}
    else:
        responses["200"] = _response("Done.", schemas.ref(answer))
    return {"tags": [tag], "summary": summary, "responses": responses}


def _model() -> Schema:
    operation = _get("OpenAI", "Describe the model", "OpenAIModel", 404, 503)
    identity: Schema = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
    operation["parameters"] = [identity]
    return operation


def _errors(tag: str, *statuses: int) -> Schema:
    return {
        str(status): _response(schemas.MEANING[status], _error_of(tag), retry=status == 429)
        for status in sorted(statuses)
    }


def _error_of(tag: str) -> Schema:
    name = {"Ollama": "OllamaError", "TEI": "TeiError"}.get(tag, "OpenAIError")
    return schemas.ref(name)


def _response(
    text: str, schema: Schema, headers: tuple[str, ...] = (), *, retry: bool = False
) -> Schema:
    found: Schema = {"description": text, "content": {"application/json": {"schema": schema}}}
    names = (*headers, *(("Retry-After",) if retry else ()))
    if names:
        found["headers"] = {name: {"schema": {"type": "string"}} for name in names}
    return found
