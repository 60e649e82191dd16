"""`/api/embed` and what Ollama's clients ask around it."""

import numpy as np
import pytest


def _vectors(reply):
    return np.array(reply.json["embeddings"], dtype=np.float32)


def test_vectors_equal_those_of_the_library(server, embedder):
    texts = ["the river", "night"]
    reply = server.post("/api/embed", {"model": "tiny", "input": texts})
    np.testing.assert_allclose(_vectors(reply), embedder.encode(texts, task="none"), atol=1e-6)
    body = reply.json
    assert body["model"] == "tiny"
    assert body["prompt_eval_count"] == sum(embedder.count_tokens(texts, task="none"))
    assert body["total_duration"] > 0
    assert reply.headers["x-embed-space"] == embedder.space.fingerprint


def test_one_text_gives_one_vector_in_a_list(server):
    reply = server.post("/api/embed", {"model": "Tiny:latest", "input": "a"})
    assert _vectors(reply).shape == (1, 32)


def test_a_model_name_can_carry_the_task(server, embedder):
    reply = server.post("/api/embed", {"model": "tiny:query", "input": "the river"})
    expected = embedder.encode("the river", task="query")
    np.testing.assert_allclose(_vectors(reply)[0], expected, atol=1e-6)


@pytest.mark.parametrize("body", [{}, {"input": ""}, {"input": []}, {"input": None}])
def test_nothing_to_embed_gives_no_vectors(server, body):
    reply = server.post("/api/embed", {"model": "tiny"} | body)
    assert (reply.status, reply.json["embeddings"]) == (200, [])


def test_long_texts_are_cut_and_the_header_says_so(server, embedder):
    text = "river house " * 600
    reply = server.post("/api/embed", {"model": "tiny", "input": [text, "a"]})
    expected = embedder.encode(text, task="none", long_text="truncate")
    np.testing.assert_allclose(_vectors(reply)[0], expected, atol=1e-6)
    assert reply.headers["x-embed-truncated"] == "1"


def test_long_texts_are_refused_without_truncate(server):
    body = {"model": "tiny", "input": "river house " * 600, "truncate": False}
    reply = server.post("/api/embed", body)
    assert reply.status == 400
    assert reply.json == {"error": "the input length exceeds the context length"}


def test_dimensions_cut_and_give_unit_length_again(server, embedder):
    body = {"model": "tiny", "input": "a", "dimensions": 16, "keep_alive": "5m"}
    vector = _vectors(server.post("/api/embed", body | {"options": {"num_ctx": 9}}))[0]
    np.testing.assert_allclose(vector, embedder.encode("a", task="none", dim=16), atol=1e-6)
    assert _vectors(server.post("/api/embed", body | {"dimensions": 0})).shape == (1, 32)


@pytest.mark.parametrize("value", [[1], ["a", None], 5, {"a": 1}])
def test_other_input_types_are_refused_in_ollamas_words(server, value):
    reply = server.post("/api/embed", {"model": "tiny", "input": value})
    assert (reply.status, reply.json) == (400, {"error": "invalid input type"})


def test_an_unknown_model_is_not_found_in_ollamas_words(server):
    reply = server.post("/api/embed", {"model": "llama3", "input": "a"})
    assert (reply.status, reply.json) == (404, {"error": "model 'llama3' not found"})


def test_the_older_route_gives_one_vector(server, embedder):
    reply = server.post("/api/embeddings", {"model": "tiny", "prompt": "the river"})
    expected = embedder.encode("the river", task="none")
    np.testing.assert_allclose(reply.json["embedding"], expected, atol=1e-6)
    for body in ({"prompt": ""}, {}):
        empty = server.post("/api/embeddings", {"model": "tiny"} | body)
        assert empty.json == {"embedding": []}


def test_the_model_is_listed_and_described(server, embedder):
    (listed,) = server.get("/api/tags").json["models"]
    assert (listed["name"], listed["capabilities"]) == ("tiny:latest", ["embedding"])
    details = listed["details"]
    assert (details["format"], details["embedding_length"]) == ("onnx", 32)
    (running,) = server.get("/api/ps").json["models"]
    assert running["name"] == "tiny:latest"
    shown = server.post("/api/show", {"model": "tiny"}).json
    family = shown["model_info"]["general.architecture"]
    assert shown["model_info"][f"{family}.context_length"] == embedder.max_tokens
    assert shown["model_info"][f"{family}.embedding_length"] == 32
    assert server.post("/api/show", {}).status == 400
    assert server.post("/api/show", {"name": "other"}).status == 404


def test_version(server):
    import embedge

    assert server.get("/api/version").json == {"version": embedge.__version__}
