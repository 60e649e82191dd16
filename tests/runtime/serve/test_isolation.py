"""One client's trouble is not another's: queues, batches, slow and vanished clients, the end."""

import http.client
import json
import socket
import threading

import numpy as np
import pytest


def _in_background(call):
    replies = []
    thread = threading.Thread(target=lambda: replies.append(call()))
    thread.start()
    return thread, replies


def _wait_for(condition):
    for _ in range(600):
        if condition():
            return
        threading.Event().wait(0.02)
    raise AssertionError("the condition did not come true")


def _metric(running, name):
    text = running.get("/metrics").body.decode()
    return float(next(line.split()[-1] for line in text.splitlines() if line.startswith(name)))


def test_requests_share_a_batch_and_keep_their_own_vectors(start, gate, embedder):
    running = start(gate=gate)
    texts = ["river", "night", "house", "memory", "vector", "computer"]

    def call(text):
        body = {"input": text, "model": "tiny"}
        return _in_background(lambda: running.post("/v1/embeddings", body))

    calls = [call(texts[0])]
    assert gate.entered.wait(30)  # it waits at the gate; the others gather meanwhile
    calls += [call(text) for text in texts[1:]]
    _wait_for(lambda: _metric(running, "embedge_queue_tokens") >= 3 * (len(texts) - 1))
    gate.open.set()
    for thread, _ in calls:
        thread.join(30)
    assert len(gate.batches) == 2
    assert sum(gate.batches) == len(texts)
    for text, (_, replies) in zip(texts, calls, strict=True):
        vector = replies[0].json["data"][0]["embedding"]
        np.testing.assert_allclose(vector, embedder.encode(text, task="none"), atol=1e-6)


def test_too_many_requests_get_429_and_when_to_come_back(start, gate):
    running = start(gate=gate, max_concurrent_requests=2)

    def call():
        return _in_background(lambda: running.post("/v1/embeddings", {"input": "a"}))

    calls = [call()]
    assert gate.entered.wait(30)
    calls.append(call())
    _wait_for(lambda: _metric(running, "embedge_queue_tokens") > 0)
    for path, body in (
        ("/v1/embeddings", {"input": "a"}),
        ("/api/embed", {"model": "tiny", "input": "a"}),
        ("/embed", {"inputs": "a"}),
    ):
        reply = running.post(path, body)
        assert reply.status == 429
        assert int(reply.headers["retry-after"]) >= 1
    assert reply.json["error_type"] == "Overloaded"
    gate.open.set()
    for thread, replies in calls:
        thread.join(30)
        assert replies[0].status == 200


def test_a_request_that_waits_too_long_gets_503(start, gate):
    running = start(gate=gate, request_timeout_s=0.3)
    reply = running.post("/v1/embeddings", {"input": "a"})
    assert (reply.status, reply.json["error"]["type"]) == (503, "server_error")
    assert "retry-after" in reply.headers
    gate.open.set()
    assert running.post("/v1/embeddings", {"input": "a"}).status == 200


def test_no_more_is_taken_than_can_be_computed_in_time(start, gate):
    """By the measured rate: a batch of 3 tokens took a second, and thousands wait."""
    running = start(gate=gate, request_timeout_s=30)
    opener = threading.Timer(1.0, gate.open.set)
    opener.start()
    assert running.post("/v1/embeddings", {"input": "a"}).status == 200
    opener.join()
    gate.open.clear()
    gate.entered.clear()
    body = {"input": ["river"] * 1000}
    waiting, replies = _in_background(lambda: running.post("/v1/embeddings", body))
    assert gate.entered.wait(30)
    _wait_for(lambda: _metric(running, "embedge_queue_tokens") > 1000)
    refused = running.post("/v1/embeddings", {"input": "a"})
    assert (refused.status, refused.headers["retry-after"]) == (429, "60")
    gate.open.set()
    waiting.join(60)
    assert replies[0].status == 200


def test_a_client_that_leaves_is_dropped_from_the_queue(start, gate):
    running = start(gate=gate)
    first, replies = _in_background(lambda: running.post("/v1/embeddings", {"input": "a"}))
    assert gate.entered.wait(30)
    leaver = http.client.HTTPConnection(running.host, running.port)
    body = json.dumps({"input": ["river"] * 50}).encode()
    leaver.request("POST", "/v1/embeddings", body)
    _wait_for(lambda: _metric(running, "embedge_queue_tokens") > 50)
    leaver.close()
    _wait_for(lambda: _metric(running, "embedge_queue_tokens") == 0)
    gate.open.set()
    first.join(30)
    assert replies[0].status == 200
    assert sum(gate.batches) == 1


def test_a_client_that_does_not_read_its_answer_holds_nobody(start):
    running = start()
    with socket.create_connection((running.host, running.port)) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        body = json.dumps({"input": ["a"] * 3000}).encode()
        head = "POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
        deaf.sendall(f"{head}{len(body)}\r\n\r\n".encode() + body)
        for _ in range(5):
            assert running.post("/v1/embeddings", {"input": "a"}).status == 200


def test_a_small_request_overtakes_a_large_one(start, gate):
    running = start(gate=gate)
    large, _ = _in_background(
        lambda: running.post("/v1/embeddings", {"input": ["river house night"] * 2000})
    )
    assert gate.entered.wait(30)
    _wait_for(lambda: _metric(running, "embedge_queue_tokens") > 5000)
    small, replies = _in_background(lambda: running.post("/v1/embeddings", {"input": "a"}))
    _wait_for(lambda: _metric(running, 'embedge_requests_total{route="/metrics"') > 3)
    gate.open.set()
    small.join(30)
    assert replies[0].status == 200
    assert large.is_alive() or sum(gate.batches) >= 2000
    large.join(60)


@pytest.mark.parametrize("text", ["river house night " * 100_000, "a" * 1_900_000])
def test_a_huge_text_does_not_stop_the_others(start, text):
    running = start()
    huge = http.client.HTTPConnection(running.host, running.port, timeout=60)
    huge.request("POST", "/v1/embeddings", json.dumps({"input": text}).encode())
    for _ in range(5):
        assert running.post("/v1/embeddings", {"input": "a"}).status == 200
    # It is still at work, or it was answered; it is not refused and nobody waited for it.
    huge.close()
    _wait_for(lambda: _metric(running, "embedge_queue_tokens") == 0)


def test_a_failure_of_the_graph_reaches_its_requests_only(start, gate):
    from embedge import BackendError

    gate.error = BackendError("the graph failed")
    gate.open.set()
    running = start(gate=gate)
    assert running.post("/v1/embeddings", {"input": "a"}).status == 500
    reply = running.post("/embed", {"inputs": "a"})
    assert (reply.status, reply.json["error_type"]) == (424, "Backend")
    gate.error = ValueError("a text could stand here")
    reply = running.post("/v1/embeddings", {"input": "a"})
    assert reply.status == 500
    assert "a text could" not in reply.body.decode()
    gate.error = None
    assert running.post("/v1/embeddings", {"input": "a"}).status == 200


def test_until_the_model_is_loaded_everything_but_life_is_503(start, tiny_bundle, cache):
    from embedge import Embedder

    loading = threading.Event()

    def slow_model():
        assert loading.wait(60)
        return Embedder(tiny_bundle, threads=1, cache_dir=cache)

    running = start(model=slow_model, wait=False)
    assert running.get("/healthz").status == 200
    for path in ("/readyz", "/health", "/v1/models", "/api/tags", "/info"):
        assert running.get(path).status == 503
    assert running.post("/v1/embeddings", {"input": "a"}).status == 503
    assert _metric(running, "embedge_model_ready") == 0
    loading.set()
    _wait_for(lambda: running.get("/readyz").status == 200)
    assert running.post("/v1/embeddings", {"input": "a"}).status == 200


def test_a_model_that_cannot_be_loaded_ends_the_server(tmp_path):
    from embedge import CancelToken, Embedder, ModelNotFound
    from embedge.runtime.serve.options import ServeOptions
    from embedge.runtime.serve.server import serve

    with pytest.raises(ModelNotFound):
        serve(ServeOptions(port=0), lambda: Embedder(tmp_path / "none"), stop=CancelToken())


def test_at_the_end_the_running_batch_is_finished_and_the_rest_gets_503(start, gate):
    running = start(gate=gate)
    first, first_replies = _in_background(lambda: running.post("/v1/embeddings", {"input": "a"}))
    assert gate.entered.wait(30)
    others = [
        _in_background(lambda: running.post("/v1/embeddings", {"input": "a"})) for _ in range(3)
    ]
    _wait_for(lambda: _metric(running, "embedge_queue_tokens") >= 9)
    running.stop()
    opener = threading.Timer(0.5, gate.open.set)
    opener.start()
    for thread, replies in others:
        thread.join(30)
        assert replies[0].status == 503
    first.join(30)
    assert first_replies[0].status == 200
    running.thread.join(30)
    with pytest.raises(OSError, match="refused"):
        running.get("/healthz")
    opener.join()


def test_a_batch_that_does_not_end_holds_the_end_up_for_a_moment_only(start, gate):
    running = start(gate=gate, stop_timeout_s=1)
    client = http.client.HTTPConnection(running.host, running.port, timeout=30)
    client.request("POST", "/v1/embeddings", b'{"input": "a"}')
    assert gate.entered.wait(30)
    running.stop()
    running.thread.join(20)
    assert not running.thread.is_alive()
    client.close()


def test_all_bodies_together_are_bounded(start, monkeypatch):
    from embedge.runtime.serve import intake

    monkeypatch.setattr(intake, "_ALL_BODIES", 5000)
    running = start(payload_limit=1000)
    head = b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: 950\r\n\r\n"
    slow = [socket.create_connection((running.host, running.port)) for _ in range(5)]
    try:
        for peer in slow:
            peer.sendall(head + b" " * 940)
        body = {"input": "river " * 100}
        _wait_for(lambda: running.post("/v1/embeddings", body).status == 429)
    finally:
        for peer in slow:
            peer.close()
    _wait_for(lambda: running.post("/v1/embeddings", body).status == 200)
