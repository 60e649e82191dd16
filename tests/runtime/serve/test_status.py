"""Health, metrics, the OpenAPI description, unknown routes, chunks, options."""

import re

import pytest

from embedge.models.errors import InvalidOption
from embedge.runtime.serve.options import ServeOptions, is_loopback


def _metrics(running):
    page = running.get("/metrics").body.decode()
    pairs = (line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def test_health_routes_answer(server):
    for path in ("/healthz", "/readyz", "/health"):
        assert server.get(path).json == {"status": "ok"}


def test_metrics_count_what_happened(start):
    running = start()
    running.post("/v1/embeddings", {"input": ["a", "river " * 600], "task": "query"})
    running.post("/api/embed", {"model": "tiny", "input": ["river " * 600, "search_query: a"]})
    running.post("/embed", {"inputs": ""})
    found = _metrics(running)
    assert found['embedge_requests_total{route="/v1/embeddings",status="200"}'] == 1
    assert found['embedge_requests_total{route="/embed",status="400"}'] == 1
    assert found["embedge_split_total"] == 1
    assert found["embedge_truncated_total"] == 1
    assert found["embedge_missing_prefix_total"] == 1  # only the long text of /api/embed
    assert found["embedge_tokens_total"] > 1000
    assert found["embedge_batch_tokens_count"] >= 1
    assert found["embedge_request_seconds_count"] >= 3
    assert found["embedge_model_ready"] == 1
    assert found["embedge_queue_tokens"] == 0
    assert any(name.startswith("process_") for name in found)


def test_the_description_names_every_route_and_no_other(start):
    from embedge.runtime.serve.app import build_app, build_hub

    running = start()
    paths = running.get("/openapi.json").json["paths"]
    app = build_app(build_hub(ServeOptions()))
    routes = {
        (re.sub(r":path", "", route.path), method.lower())
        for route in app._app.routes
        for method in route.methods - {"HEAD"}
    }
    described = {(path, method) for path, methods in paths.items() for method in methods}
    assert described | {("/v1/search", "post")} == routes


def test_every_reference_of_the_description_leads_somewhere(server):
    document = server.get("/openapi.json").json
    schemas = document["components"]["schemas"]
    used = set(re.findall(r"#/components/schemas/(\w+)", server.get("/openapi.json").body.decode()))
    assert used - set(schemas) == set()
    assert set(schemas) - used <= {"SearchRequest", "SearchAnswer"}  # only with an index


def test_unknown_routes_and_methods_are_named_in_the_form_of_their_family(server):
    assert server.get("/v1/nothing").json["error"]["code"] == "not_found"
    assert "no such route" in server.get("/api/nothing").json["error"]
    reply = server.get("/v1/embeddings")
    assert (reply.status, reply.headers["allow"]) == (405, "POST")
    assert server.get("/api/embed").status == 405
    assert server.send("PUT", "/").headers["allow"] == "GET, HEAD, POST"
    assert server.get("/embed").json["error_type"] == "MethodNotAllowed"


def test_a_text_is_cut_as_the_library_cuts_it(server, embedder):
    text = "# River\n\n" + "night house. " * 300
    body = {"text": text, "max_tokens": 64, "overlap": 8, "kind": "markdown"}
    chunks = server.post("/v1/chunk", body).json["chunks"]
    expected = embedder.chunk(text, max_tokens=64, overlap=8, kind="markdown")
    assert [chunk["text"] for chunk in chunks] == [chunk.text for chunk in expected]
    assert chunks[1]["heading"] == expected[1].heading
    assert server.post("/v1/chunk", {"text": ""}).json == {"chunks": []}
    for wrong in (
        {}, {"text": "a", "kind": "x"}, {"text": "a", "max_tokens": 3}, {"txt": "a"},
        {"text": "a", "overlap": -1}, {"text": 5},
    ):  # fmt: skip
        assert server.post("/v1/chunk", wrong).status == 400


def test_a_small_chunk_takes_any_overlap_and_least_limits_are_described(server):
    limits = server.get("/openapi.json").json["components"]["schemas"]["ChunkRequest"]
    least = limits["properties"]["max_tokens"]["anyOf"][0]["minimum"]
    body = {"text": "night house. " * 50, "max_tokens": least, "overlap": 500}
    assert len(server.post("/v1/chunk", body).json["chunks"]) > 5
    assert server.post("/v1/chunk", body | {"max_tokens": least - 1}).status == 400


def test_search_says_that_there_is_no_index(server):
    reply = server.post("/v1/search", {"query": "a"})
    assert (reply.status, reply.json["error"]["code"]) == (404, "no_index")
    assert server.post("/v1/search", {"query": "a", "other": 1}).status == 400


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"host": "0.0.0.0"}, "--api-key"),
        ({"host": "::"}, "--api-key"),
        ({"host": "192.168.0.7"}, "--api-key"),
        ({"api_key": "two words"}, "--api-key"),
        ({"port": 70000}, "--port"),
        ({"default_task": "poem"}, "--default-task"),
        ({"long_text": "chunk"}, "--long-text"),
        ({"payload_limit": 0}, "--payload-limit"),
        ({"max_concurrent_requests": 0}, "--max-concurrent-requests"),
        ({"browse": True}, "--index"),
        ({"cors_allow_origins": ("localhost",)}, "--cors-allow-origin"),
    ],
)
def test_options_that_cannot_work_are_refused(options, named):
    with pytest.raises(InvalidOption, match=named):
        ServeOptions(**options).check()


def test_all_problems_are_named_at_once():
    with pytest.raises(InvalidOption, match=r"--port.*; .*--default-task"):
        ServeOptions(port=-1, default_task="poem").check()


def test_loopback_is_recognised_in_every_spelling():
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "box.lan", "10.0.0.1")))
    ServeOptions(host="0.0.0.0", api_key="k").check()


def test_modes_are_those_of_the_index():
    from embedge.runtime.index.results import MODES
    from embedge.runtime.serve.own_shapes import SEARCH_MODES

    assert SEARCH_MODES == MODES
