"""The protocol of `embed serve --stdio`, spoken through pipes within this process."""

import base64
import json
import os
import threading

import numpy as np
import pytest

from embedge import Embedder
from embedge.runtime.serve.stdio import serve_stdio


class App:
    """A desktop app, and the service as a thread instead of a child."""

    def __init__(self, embedder, index=None):
        requests, self._requests = os.pipe()
        self._answers, answers = os.pipe()
        lines, out = os.fdopen(requests, "rb"), os.fdopen(answers, "wb")
        self._in = os.fdopen(self._requests, "wb")
        self._out = os.fdopen(self._answers, "rb")
        self.events = []
        self._kept = {}

        def run():
            with lines, out:
                serve_stdio(lambda: embedder, lines, out, index=index)

        self.thread = threading.Thread(target=run)
        self.thread.start()
        self.first = self.read()

    def read(self):
        return json.loads(self._out.readline())

    def write(self, value):
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self._in.write(data + b"\n")
        self._in.flush()

    def answer(self, request_id):
        while request_id not in self._kept:
            message = self.read()
            if "event" in message:
                self.events.append(message)
            else:
                self._kept[message["id"]] = message
        return self._kept.pop(request_id)

    def call(self, method, params=None, request_id=1):
        self.write({"id": request_id, "method": method, "params": params or {}})
        return self.answer(request_id)

    def close(self):
        self._in.close()
        self._out.read()  # until the service has closed its end
        self.thread.join(60)
        self._out.close()
        assert not self.thread.is_alive()


@pytest.fixture
def start(tiny_bundle, tmp_path):
    apps = []

    def run(**options):
        embedder = Embedder(tiny_bundle, threads=1, cache_dir=tmp_path / "cache")
        apps.append(App(embedder, **options))
        return apps[-1]

    yield run
    for app in apps:
        app.close()


@pytest.fixture
def app(start):
    return start(index=None)


def test_the_first_line_says_what_runs_here(app, embedder):
    ready = app.first["ready"]
    assert (ready["model"], ready["dim"], ready["variant"]) == ("tiny", 32, "fp32")
    assert (ready["space"], ready["max_tokens"]) == (embedder.space.fingerprint, 512)
    assert set(ready["methods"]) == {
        "embed", "count_tokens", "chunk", "search", "index.add", "index.update", "index.status",
        "cancel", "ping", "info", "shutdown",
    }  # fmt: skip
    assert app.call("info")["result"] == ready


def test_vectors_equal_those_of_the_library_in_both_encodings(app, embedder):
    texts = ["the river", "a"]
    expected = embedder.encode(texts, task="query", dim=16)
    params = {"input": texts, "task": "query", "dim": 16}
    coded = app.call("embed", params)["result"]
    vectors = [np.frombuffer(base64.b64decode(each), "<f4") for each in coded["embeddings"]]
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    plain = app.call("embed", params | {"encoding": "float"})["result"]
    np.testing.assert_allclose(plain["embeddings"], expected, atol=1e-6)
    assert (plain["dim"], len(plain["items"])) == (16, 2)
    assert plain["items"][0]["n_tokens"] == embedder.count_tokens("the river", task="query")
    assert app.call("embed", {"input": []})["result"]["embeddings"] == []
    empty = app.call("embed", {"input": [], "dim": 16})["result"]
    assert (empty["embeddings"], empty["dim"]) == ([], 16)


def test_tokens_are_counted_and_texts_are_cut(app, embedder):
    assert app.call("count_tokens", {"input": "the river"})["result"] == {
        "n_tokens": embedder.count_tokens("the river")
    }
    both = app.call("count_tokens", {"input": ["a", "b c"], "task": "none"})["result"]
    assert both == {"n_tokens": embedder.count_tokens(["a", "b c"], task="none")}
    text = "night house. " * 300
    chunks = app.call("chunk", {"text": text, "max_tokens": 64, "overlap": 0})["result"]["chunks"]
    assert "".join(chunk["text"] for chunk in chunks) == text


def test_progress_events_come_before_the_answer(app):
    app.write({"id": "x", "method": "embed", "params": {"input": ["a"] * 9, "progress": True}})
    assert "result" in app.answer("x")
    kinds = [message["event"]["event"] for message in app.events]
    assert (kinds[0], kinds[-1]) == ("start", "done")
    assert {message["id"] for message in app.events} == {"x"}


def test_a_running_request_can_be_cancelled_and_others_go_on(app):
    params = {"input": ["river house night " * 20] * 4000, "progress": True}
    app.write({"id": 1, "method": "embed", "params": params})
    while not app.events:
        message = app.read()
        app.events.append(message)
    assert app.call("cancel", {"id": 1}, request_id=2)["result"] == {"cancelled": True}
    assert app.answer(1)["error"]["code"] == "cancelled"
    assert app.call("cancel", {"id": 1}, request_id=3)["result"] == {"cancelled": False}
    assert "result" in app.call("embed", {"input": "a"})


def test_a_short_request_overtakes_a_long_one(app):
    app.write({"id": 1, "method": "embed", "params": {"input": ["river house " * 200] * 400}})
    app.write({"id": 2, "method": "ping"})
    app.write({"id": 3, "method": "count_tokens", "params": {"input": "a"}})
    assert {app.read()["id"], app.read()["id"]} == {2, 3}
    app.call("cancel", {"id": 1}, request_id=4)


@pytest.mark.parametrize(
    "line",
    [b"not json", b"[]", b"7", b'{"method": "ping"}', b'{"id": null}', b'{"id": true}',
     b'{"id": 1.5}', b'{"id": "\xff"}', b'{"id": 1, "x": NaN}', b"[" * 50000],
)  # fmt: skip
def test_a_line_that_is_no_request_is_refused_and_the_stream_goes_on(app, line):
    app.write(line)
    refused = app.read()
    assert (refused["id"], refused["error"]["code"]) == (None, "bad_request")
    assert app.call("ping") == {"id": 1, "result": {}}


def test_a_line_that_is_too_long_is_refused_and_the_stream_goes_on(app):
    app.write(b'{"id": 5, "x": "' + b"a" * 5_000_000 + b'"}')
    assert app.read()["error"]["code"] == "bad_request"
    app.write(b"")
    assert app.call("ping") == {"id": 1, "result": {}}


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("fly", {}), (None, {}), ("embed", {}), ("embed", {"input": 5}), ("embed", []),
        ("embed", {"input": "a", "task": "poem"}), ("embed", {"input": "a", "dim": 99}),
        ("embed", {"inputs": "a"}), ("chunk", {"text": "a", "kind": "x"}), ("ping", {"a": 1}),
        ("search", {"query": "a"}),
    ],
)  # fmt: skip
def test_wrong_requests_are_answered_with_their_id(app, method, params):
    app.write({"id": "q", "method": method, "params": params})
    answer = app.read()
    assert answer["id"] == "q"
    assert set(answer["error"]) == {"code", "message"}


def test_an_id_that_still_runs_is_not_taken_twice(app):
    app.write({"id": 1, "method": "embed", "params": {"input": ["river house " * 200] * 400}})
    app.write({"id": 1, "method": "count_tokens", "params": {"input": "a"}})
    assert app.read()["error"]["code"] == "bad_request"
    app.call("cancel", {"id": 1}, request_id=2)


def test_no_more_requests_wait_than_a_bound(app):
    for number in range(4):
        params = {"input": ["river house " * 100] * 1000}
        app.write({"id": f"long {number}", "method": "embed", "params": params})
    for number in range(300):
        app.write({"id": number, "method": "count_tokens", "params": {"input": "a"}})
    answer = app.read()
    assert (answer["id"] >= 252, answer["error"]["code"]) == (True, "overloaded")
    for number in range(4):
        app.write({"id": f"c{number}", "method": "cancel", "params": {"id": f"long {number}"}})
    assert "result" in app.answer(251)


def test_a_folder_is_indexed_and_searched(start, tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "river.txt").write_text("the river and the house")
    app = start(index=tmp_path / "index.db")
    missing = app.call("search", {"query": "river"})["error"]
    assert "embed index add" in missing["message"]
    report = app.call("index.add", {"path": str(folder), "confirm": True, "progress": True})
    assert "result" in report, report
    assert app.events[-1]["event"]["event"] == "done"
    hits = app.call("search", {"query": "river"})["result"]["hits"]
    assert [hit["text"] for hit in hits] == ["the river and the house"]
    (folder / "night.txt").write_text("computer memory of the night")
    assert "result" in app.call("index.update")
    status = app.call("index.status")["result"]
    assert [each["name"] for each in status["collections"]] == ["notes"]
    assert len(app.call("search", {"query": "night"})["result"]["hits"]) == 2
