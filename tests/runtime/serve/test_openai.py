"""`/v1/embeddings` and `/v1/models`, as OpenAI's clients expect them."""

import base64

import numpy as np
import pytest


def _vectors(reply):
    return np.array([row["embedding"] for row in reply.json["data"]], dtype=np.float32)


def test_vectors_equal_those_of_the_library(server, embedder):
    texts = ["the river", "house of memory and night", "a"]
    reply = server.post("/v1/embeddings", {"input": texts, "model": "tiny"})
    assert reply.status == 200
    expected = embedder.encode(texts, task="none")
    np.testing.assert_allclose(_vectors(reply), expected, atol=1e-6)
    assert [row["index"] for row in reply.json["data"]] == [0, 1, 2]
    assert reply.headers["x-embed-space"] == embedder.space.fingerprint


def test_base64_is_little_endian_float32(server):
    body = {"input": "the river", "model": "tiny"}
    floats = _vectors(server.post("/v1/embeddings", body))[0]
    coded = server.post("/v1/embeddings", body | {"encoding_format": "base64"}).json
    decoded = np.frombuffer(base64.b64decode(coded["data"][0]["embedding"]), dtype="<f4")
    np.testing.assert_array_equal(floats, decoded)


def test_dimensions_cut_and_give_unit_length_again(server, embedder):
    body = {"input": "the river", "model": "tiny", "dimensions": 16}
    vector = _vectors(server.post("/v1/embeddings", body))[0]
    np.testing.assert_allclose(vector, embedder.encode("the river", task="none", dim=16), atol=1e-6)


def test_usage_counts_what_the_model_saw(server, embedder):
    reply = server.post("/v1/embeddings", {"input": ["the river", "a"], "model": "tiny"})
    tokens = sum(embedder.count_tokens(["the river", "a"], task="none"))
    assert reply.json["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}


@pytest.mark.parametrize(
    ("body", "task"),
    [
        ({"model": "tiny:query"}, "query"),
        ({"model": "TINY:latest"}, "none"),
        ({"model": "tiny:query", "task": "document"}, "document"),
        ({"task": "passage"}, "document"),
        ({"task": None}, "none"),
    ],
)
def test_body_wins_over_model_name_and_that_over_the_default(server, embedder, body, task):
    vector = _vectors(server.post("/v1/embeddings", {"input": "the river", **body}))[0]
    np.testing.assert_allclose(vector, embedder.encode("the river", task=task), atol=1e-6)


def test_a_text_keeps_its_own_prefix(server, embedder):
    text = "search_query: the river"
    vector = _vectors(server.post("/v1/embeddings", {"input": text}))[0]
    np.testing.assert_allclose(vector, embedder.encode("the river", task="query"), atol=1e-6)


def test_the_default_task_can_be_set(start, embedder):
    running = start(default_task="document")
    vector = _vectors(running.post("/v1/embeddings", {"input": "the river"}))[0]
    np.testing.assert_allclose(vector, embedder.encode("the river"), atol=1e-6)


def test_long_texts_are_averaged_and_counted_in_a_header(server, embedder):
    text = "river house " * 600
    reply = server.post("/v1/embeddings", {"input": [text, "a"], "include_info": True})
    assert reply.headers["x-embed-split"] == "1"
    assert "x-embed-truncated" not in reply.headers
    assert reply.json["x_embed"]["items"][0]["n_windows"] > 1
    np.testing.assert_allclose(_vectors(reply)[0], embedder.encode(text, task="none"), atol=1e-6)


def test_too_long_texts_are_refused_if_the_server_says_so(start):
    reply = start(long_text="error").post("/v1/embeddings", {"input": "river house " * 600})
    assert reply.status == 400
    assert reply.json["error"]["code"] == "context_length_exceeded"


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("", "empty"),
        ([], "empty"),
        (["a", ""], "empty"),
        (None, "invalid_option"),
        ({"a": 1}, "invalid_option"),
        ([1.5], "invalid_option"),
        (["a", 1], "invalid_option"),
        ([True], "invalid_option"),
    ],
)
def test_wrong_input_is_named(server, value, code):
    reply = server.post("/v1/embeddings", {"input": value, "model": "tiny"})
    assert reply.status == 400
    error = reply.json["error"]
    assert (error["code"], error["param"], error["type"]) == (
        code, "input", "invalid_request_error",
    )  # fmt: skip


@pytest.mark.parametrize("value", [[1, 2], [[1, 2], [3]]])
def test_token_ids_are_refused_and_the_message_names_the_way_out(server, value):
    reply = server.post("/v1/embeddings", {"input": value})
    assert reply.status == 400
    assert "check_embedding_ctx_length=False" in reply.json["error"]["message"]


def test_token_ids_are_taken_on_request_and_give_the_vector_of_their_text(start, embedder):
    running = start(accept_token_ids=True)
    ids = embedder.loaded.tokens.ids("the river").tolist()
    for value in (ids, [ids]):
        vector = _vectors(running.post("/v1/embeddings", {"input": value}))[0]
        np.testing.assert_allclose(vector, embedder.encode("the river", task="none"), atol=1e-6)
    outside = embedder.loaded.tokens.vocabulary
    assert running.post("/v1/embeddings", {"input": [outside]}).status == 400
    assert running.post("/v1/embeddings", {"input": [[]]}).status == 400


@pytest.mark.parametrize(
    "wrong",
    [
        {"dimensions": 0}, {"dimensions": 33}, {"dimensions": "8"}, {"encoding_format": "hex"},
        {"task": "poem"}, {"user": 1}, {"include_info": "yes"}, {"model": 3},
    ],
)  # fmt: skip
def test_wrong_fields_are_refused(server, wrong):
    reply = server.post("/v1/embeddings", {"input": "a"} | wrong)
    assert (reply.status, reply.json["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize("name", ["gpt", "tiny:poem", "tiny:query:document", ""])
def test_an_unknown_model_is_not_found(server, name):
    reply = server.post("/v1/embeddings", {"input": "a", "model": name})
    assert (reply.status, reply.json["error"]["code"]) == (404, "model_not_found")
    assert reply.json["error"]["message"].startswith(f"model {name!r} is not served here")


def test_models_are_listed_with_and_without_task(server):
    listed = server.get("/v1/models").json
    assert listed["object"] == "list"
    assert [row["id"] for row in listed["data"]] == ["tiny", "tiny:query", "tiny:document"]
    assert {row["owned_by"] for row in listed["data"]} == {"embedge"}
    assert server.get("/v1/models/tiny:query").json["id"] == "tiny:query"
    assert server.get("/v1/models/other").status == 404


def test_the_model_can_be_served_under_another_name(start):
    running = start(served_model_names=("text-embedding-3-small",))
    body = {"input": "a", "model": "text-embedding-3-small"}
    assert running.post("/v1/embeddings", body).json["model"] == "text-embedding-3-small"
    assert running.get("/v1/models").json["data"][0]["id"] == "text-embedding-3-small"
    assert running.post("/v1/embeddings", body | {"model": "tiny"}).status == 200


def test_half_a_surrogate_pair_is_replaced(server, embedder):
    reply = server.post("/v1/embeddings", b'{"input": "river \\ud83d house"}')
    expected = embedder.encode("river \ufffd house", task="none")
    np.testing.assert_allclose(_vectors(reply)[0], expected, atol=1e-6)
