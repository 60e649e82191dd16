"""The routes of text-embeddings-inference."""

import numpy as np
import pytest


@pytest.mark.parametrize("path", ["/embed", "/"])
def test_vectors_equal_those_of_the_library(server, embedder, path):
    reply = server.post(path, {"inputs": ["the river", "a"]})
    expected = embedder.encode(["the river", "a"], task="none")
    np.testing.assert_allclose(reply.json, expected, atol=1e-6)
    assert np.array(server.post(path, {"inputs": "a"}).json).shape == (1, 32)


def test_options_mean_what_they_mean_in_the_library(server, embedder):
    body = {"inputs": "the river", "prompt_name": "passage", "dimensions": 16}
    expected = embedder.encode("the river", task="document", dim=16)
    np.testing.assert_allclose(server.post("/embed", body).json[0], expected, atol=1e-6)
    plain = server.post("/embed", {"inputs": "the river", "normalize": False})
    expected = embedder.encode("the river", task="none", normalize=False)
    np.testing.assert_allclose(plain.json[0], expected, rtol=1e-5, atol=1e-6)
    normalized = embedder.encode("the river", return_info=True).space
    assert plain.headers["x-embed-space"] != normalized.fingerprint


def test_truncation_keeps_the_beginning_or_the_end(server, embedder):
    start, end = "night " * 600, "river " * 600
    body = {"inputs": start + end, "truncation_direction": "Right"}
    right = server.post("/embed", body)
    assert right.headers["x-embed-truncated"] == "1"
    room = embedder.max_tokens - embedder.loaded.tokens.n_special
    kept = embedder.loaded.tokens.ids(start + end)
    assert len(kept) > 2 * room
    left = server.post("/embed", body | {"truncation_direction": "left"})
    only_end = server.post("/embed", {"inputs": end})
    np.testing.assert_allclose(left.json, only_end.json, atol=1e-6)
    only_start = server.post("/embed", {"inputs": start})
    np.testing.assert_allclose(right.json, only_start.json, atol=1e-6)


def test_long_texts_are_refused_if_the_request_or_the_server_says_so(server, start):
    text = "river house " * 600
    strict = start(auto_truncate=False)
    for reply in (
        server.post("/embed", {"inputs": text, "truncate": False}),
        strict.post("/embed", {"inputs": text}),
    ):
        assert (reply.status, reply.json["error_type"]) == (422, "Validation")
    assert strict.post("/embed", {"inputs": text, "truncate": True}).status == 200


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"inputs": ""}, 400, "Empty"),
        ({"inputs": []}, 400, "Empty"),
        ({"inputs": ["a", ""]}, 400, "Empty"),
        ({}, 422, "Validation"),
        ({"inputs": 5}, 422, "Validation"),
        ({"inputs": "a", "prompt_name": "poem"}, 422, "Validation"),
        ({"inputs": "a", "dimensions": 33}, 422, "Validation"),
        ({"inputs": "a", "truncation_direction": "up"}, 422, "Validation"),
    ],
)
def test_wrong_requests_have_the_types_of_the_peer(server, body, status, kind):
    reply = server.post("/embed", body)
    assert (reply.status, reply.json["error_type"]) == (status, kind)


def test_tokens_are_listed_with_their_places(server, embedder):
    (row,) = server.post("/tokenize", {"inputs": "the river"}).json
    assert [token["special"] for token in row][:1] == [True]
    inner = [token for token in row if not token["special"]]
    assert [token["id"] for token in inner] == embedder.loaded.tokens.ids("the river").tolist()
    assert "".join(token["text"] for token in inner).replace(" ", "") == "theriver"
    assert all("the river"[t["start"] : t["stop"]] == t["text"] for t in inner)
    bare = server.post("/tokenize", {"inputs": ["the river"], "add_special_tokens": False}).json
    assert [t["id"] for t in bare[0]] == [t["id"] for t in inner]
    prompted = server.post("/tokenize", {"inputs": "the river", "prompt_name": "query"}).json
    assert len(prompted[0]) == embedder.count_tokens("the river", task="query")


def test_ids_become_text_again(server, embedder):
    ids = [0, *embedder.loaded.tokens.ids("the river").tolist(), 2]

    def texts(**body):
        # This tokenizer has no decoder of its own: the pieces keep their marks.
        answer = server.post("/decode", body).json
        return [" ".join(text.replace("\u2581", " ").split()) for text in answer]

    assert texts(ids=ids) == ["the river"]
    assert texts(ids=[ids, ids]) == ["the river"] * 2
    assert texts(ids=ids, skip_special_tokens=False) == ["<s> the river </s>"]


@pytest.mark.parametrize("ids", [None, "a", [1.5], [-1], [10**9], []])
def test_wrong_ids_are_refused(server, ids):
    assert server.post("/decode", {"ids": ids}).status in (400, 422)


def test_similarity_is_the_cosine(server, embedder):
    inputs = {"source_sentence": "the river", "sentences": ["night", "the river"]}
    cosines = server.post("/similarity", {"inputs": inputs}).json
    vectors = embedder.encode(["the river", "night", "the river"], task="none")
    np.testing.assert_allclose(cosines, vectors[1:] @ vectors[0], atol=1e-5)
    wrong = server.post("/similarity", {"inputs": inputs | {"sentences": "night"}})
    assert wrong.status == 422
    assert server.post("/similarity", {}).status == 422
    assert server.post("/similarity", {"inputs": inputs | {"source_sentence": ""}}).status == 400


def test_info_describes_model_and_limits(server, embedder):
    info = server.get("/info").json
    assert (info["model_id"], info["max_input_length"]) == ("tiny", embedder.max_tokens)
    assert info["model_type"] == {"embedding": {"pooling": "mean"}}
    assert info["auto_truncate"] is True


def test_the_root_says_in_one_line_what_runs_here(server):
    reply = server.get("/")
    assert reply.status == 200
    assert reply.body.count(b"\n") == 1
