"""`/v1/search`, the search page, and the index methods of stdio, on a real index."""

import pytest

from embedge import Embedder
from embedge.runtime.index import open_index


@pytest.fixture(scope="module")
def notes(tiny_bundle, tmp_path_factory):
    """An index of two notes, made with the tiny model."""
    folder = tmp_path_factory.mktemp("notes")
    (folder / "river.txt").write_text("the river and the house")
    (folder / "night.txt").write_text("computer memory of the night")
    database = tmp_path_factory.mktemp("index") / "index.db"
    cache = tmp_path_factory.mktemp("cache")
    with Embedder(tiny_bundle, threads=1, cache_dir=cache) as embedder:
        with open_index(database, embedder=embedder) as index:
            index.add(folder, "notes", confirm=lambda plan: True)
    return database


def test_hits_are_those_of_the_index(start, notes, embedder):
    running = start(index=notes)
    with open_index(notes, embedder=embedder, readonly=True) as index:
        expected = index.search("river", limit=2)
    reply = running.post("/v1/search", {"query": "river", "limit": 2})
    assert reply.status == 200
    body = reply.json
    assert [hit["path"] for hit in body["hits"]] == [hit.path for hit in expected]
    assert body["hits"][0]["text"] == "the river and the house"
    assert body["space"] == embedder.space.fingerprint
    assert body["took_ms"] >= 0
    words = running.post("/v1/search", {"query": "memory", "mode": "text"}).json["hits"]
    assert [hit["text"] for hit in words] == ["computer memory of the night"]
    explained = running.post("/v1/search", {"query": "river", "explain": True}).json
    assert explained["hits"][0]["explain"]["rank_text"] == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"query": None}, {"limit": 0}, {"limit": 1001}, {"mode": "magic"}, {"collections": "notes"},
        {"min_score": "high"}, {"colections": ["notes"]},
    ],
)  # fmt: skip
def test_wrong_searches_are_refused(start, notes, wrong):
    reply = start(index=notes).post("/v1/search", {"query": "river"} | wrong)
    assert (reply.status, reply.json["error"]["type"]) == (400, "invalid_request_error")


def test_an_unknown_collection_is_not_found(start, notes):
    running = start(index=notes)
    reply = running.post("/v1/search", {"query": "river", "collections": ["notes", "nothing"]})
    assert (reply.status, reply.json["error"]["code"]) == (404, "collection_not_found")
    known = running.post("/v1/search", {"query": "river", "collections": ["notes"]})
    assert len(known.json["hits"]) == 2


def test_a_collection_of_another_model_is_searched_with_that_model(
    start, notes, tiny_learned_bundle, cache
):
    def other():
        return Embedder(tiny_learned_bundle, threads=1, cache_dir=cache)

    reply = start(model=other, index=notes).post("/v1/search", {"query": "river"})
    assert reply.status == 200
    assert reply.json["hits"][0]["text"] == "the river and the house"


def test_a_server_for_an_index_that_is_not_there_does_not_start(tiny_bundle, cache, tmp_path):
    from embedge import CancelToken, InvalidOption
    from embedge.runtime.serve.options import ServeOptions
    from embedge.runtime.serve.server import serve

    options = ServeOptions(port=0, index=tmp_path / "none.db")
    with pytest.raises(InvalidOption, match="embed index add"):
        serve(options, lambda: Embedder(tiny_bundle, cache_dir=cache), stop=CancelToken())


def test_the_page_is_served_beside_the_routes(start, notes):
    running = start(index=notes, browse=True)
    assert running.get("/browse").status == 308
    page = running.get("/browse/")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    found = running.get("/browse/api/search?q=river").json
    assert found["hits"][0]["text"] == "the river and the house"
    assert running.get("/browse/", Host="evil.example").status == 403
    assert running.get("/browse/file?path=/etc/passwd").status == 404


def test_the_page_asks_for_the_key_itself(start, notes):
    running = start(index=notes, browse=True, api_key="sesame")
    assert running.get("/browse/").status == 403
    entered = running.get("/browse/?key=sesame")
    cookie = entered.headers["set-cookie"].partition(";")[0]
    assert running.get("/browse/", Cookie=cookie).status == 200
    assert running.post("/v1/search", {"query": "river"}).status == 401
