"""What strangers try."""

import json
import logging
import os
import socket
import threading
import time

import pytest


def _raw(running, data, timeout=20.0):
    """Send bytes and return everything that comes back until the connection closes."""
    with socket.create_connection((running.host, running.port), timeout=timeout) as peer:
        peer.sendall(data)
        received = b""
        while chunk := _receive(peer):
            received += chunk
        return received


def _receive(peer):
    try:
        return peer.recv(65536)
    except ConnectionResetError:
        return b""


def _request(body, *headers, path="/v1/embeddings"):
    lines = [
        f"POST {path} HTTP/1.1", "Host: localhost", "Connection: close",
        f"Content-Length: {len(body)}", *headers,
    ]  # fmt: skip
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd", "/v1/models/../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd",
        "/v1/models/..%2f..%2f..%2fetc%2fpasswd", "/browse/../../etc/passwd", "//etc/passwd",
    ],
)  # fmt: skip
def test_path_traversal_reads_no_file(server, path):
    answer = _raw(
        server, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    )
    assert b" 404 " in answer.split(b"\r\n")[0]
    assert b"root:" not in answer


def test_header_injection_puts_nothing_into_the_answer(server):
    name = "x\\r\\nSet-Cookie: a=b"
    body = f'{{"input": "a", "model": "{name}"}}'.encode()
    for data in (
        _request(body),
        _request(b"{}", path="/v1/models/x%0d%0aSet-Cookie:%20a=b"),
        _request(b"{}", "X-A: b\x00c"),
    ):
        head = _raw(server, data).partition(b"\r\n\r\n")[0]
        assert head.startswith(b"HTTP/1.1 4")
        assert b"set-cookie" not in head.lower()


def test_an_origin_is_never_reflected(server, start):
    evil = {"Origin": "http://evil.example"}
    reply = server.get("/api/tags", **evil)
    assert reply.status == 403
    assert "access-control-allow-origin" not in reply.headers
    listed = start(cors_allow_origins=("http://app.example",))
    assert listed.get("/api/tags", **evil).status == 403
    allowed = listed.get("/api/tags", Origin="http://app.example")
    assert allowed.status == 200
    assert allowed.headers["access-control-allow-origin"] == "http://app.example"
    asked = listed.send(
        "OPTIONS", "/v1/embeddings", None,
        {"Origin": "http://app.example", "Access-Control-Request-Method": "POST"},
    )  # fmt: skip
    assert asked.status == 204
    assert "Authorization" in asked.headers["access-control-allow-headers"]


def test_our_own_pages_and_programs_without_origin_may_call(server):
    own = f"http://localhost:{server.port}"
    host = f"localhost:{server.port}"
    assert server.get("/api/tags", Host=host, Origin=own).status == 200
    assert server.get("/api/tags").status == 200
    assert server.get("/api/tags", Origin="null").status == 403


def test_dns_rebinding_is_stopped_by_the_host_header(server, start):
    for host in ("evil.example", "evil.example:8017", "127.0.0.1.evil.example", "localhost.evil"):
        assert server.get("/api/tags", Host=host).status == 403
        assert server.get("/healthz", Host=host).status == 403
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1:8017", "[::1]:8017"):
        assert server.get("/api/tags", Host=host).status == 200
    assert start(allowed_hosts=("box.lan",)).get("/api/tags", Host="box.lan:80").status == 200


def test_a_missing_or_wrong_key_is_refused_except_for_probes(start):
    running = start(api_key="secret")
    for path in ("/v1/models", "/api/tags", "/info", "/metrics", "/openapi.json", "/nothing"):
        reply = running.get(path)
        assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")
        assert running.get(path, Authorization="Bearer secre").status == 401
        assert running.get(path, Authorization="Basic secret").status == 401
    assert running.get("/v1/models").json["error"]["type"] == "authentication_error"
    assert running.get("/v1/models", Authorization="Bearer secret").status == 200
    for path in ("/healthz", "/readyz", "/health"):
        assert running.get(path).status == 200


@pytest.mark.parametrize("announced", [True, False])
def test_an_oversized_body_is_refused(start, announced):
    running = start(payload_limit=1000)
    body = json.dumps({"input": "a" * 2000}).encode()
    if announced:
        reply = running.post("/v1/embeddings", body)
        assert (reply.status, reply.json["error"]["code"]) == (413, "too_large")
    else:
        chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        head = (
            b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        assert _raw(running, head + chunked).startswith(b"HTTP/1.1 413 ")
    assert running.post("/v1/embeddings", {"input": "a"}).status == 200


@pytest.mark.parametrize("body", [b'{"input": "\xff"}', b'\xef\xbb\xbf{"input":"a"}', b"\x00", b""])
def test_malformed_text_is_refused(server, body):
    reply = server.post("/v1/embeddings", body)
    assert (reply.status, reply.json["error"]["code"]) == (400, "bad_json")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_refused(server, number):
    for path in ("/v1/embeddings", "/api/embed", "/embed"):
        reply = server.post(path, f'{{"input": "a", "inputs": "a", "x": {number}}}'.encode())
        assert reply.status == 400


@pytest.mark.parametrize("depth", [32, 5000, 300_000])
def test_deep_json_is_refused(server, depth):
    body = b'{"input": "a", "x": ' + b"[" * depth + b"]" * depth + b"}"
    reply = server.post("/v1/embeddings", body)
    assert (reply.status, reply.json["error"]["code"]) == (400, "bad_json")


def test_json_of_allowed_depth_is_read(server):
    body = b'{"input": "a", "x": ' + b"[" * 31 + b"]" * 31 + b"}"
    assert server.post("/v1/embeddings", body).status == 200


def test_a_head_that_comes_byte_by_byte_is_cut_off(start, monkeypatch):
    from embedge.runtime.serve.connection import GuardedProtocol

    monkeypatch.setattr(GuardedProtocol, "header_timeout_s", 0.5)
    running = start()
    with socket.create_connection((running.host, running.port), timeout=20) as peer:
        peer.sendall(b"GET /healthz HTTP/1.1\r\n")
        assert _receive(peer) == b""
    assert running.get("/healthz").status == 200


def test_a_body_that_does_not_arrive_is_cut_off(start):
    running = start(body_timeout_s=0.3)
    answer = _raw(running, _request(b'{"inp').replace(b"Length: 5", b"Length: 500"))
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer.lower()


def test_neither_log_nor_metrics_hold_texts_paths_or_keys(start, caplog):
    running = start(api_key="sesame-key")
    headers = {"Authorization": "Bearer sesame-key"}
    with caplog.at_level(logging.DEBUG):
        for logger in ("embedge.access", "embedge.serve"):
            logging.getLogger(logger).addHandler(caplog.handler)
            logging.getLogger(logger).setLevel("DEBUG")
        body = json.dumps({"input": "topsecret words", "model": "tiny"}).encode()
        assert running.send("POST", "/v1/embeddings", body, headers).status == 200
        assert running.send("GET", "/topsecret?q=topsecret", None, headers).status == 404
        assert running.send("POST", "/v1/embeddings", b'{"topsecret', headers).status == 400
        assert running.send("GET", "/v1/models/topsecret", None, headers).status == 404
        metrics = running.send("GET", "/metrics", None, headers).body.decode()
        for logger in ("embedge.access", "embedge.serve"):
            logging.getLogger(logger).removeHandler(caplog.handler)
    assert "POST /v1/embeddings 200" in caplog.text
    assert "topsecret" not in caplog.text + metrics
    assert "sesame" not in caplog.text + metrics


def test_many_half_open_connections_leave_room_for_others(server):
    peers = [socket.create_connection((server.host, server.port)) for _ in range(60)]
    try:
        for peer in peers:
            peer.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99")
        begun = time.monotonic()
        done = threading.Event()
        threading.Thread(
            target=lambda: (server.post("/v1/embeddings", {"input": "a"}), done.set())
        ).start()
        assert done.wait(20), time.monotonic() - begun
    finally:
        for peer in peers:
            peer.close()


@pytest.mark.skipif(os.name == "nt", reason="limits of open files")
def test_connections_end_before_the_files_of_the_process_do():
    import resource

    from embedge.runtime.serve.options import ServeOptions
    from embedge.runtime.serve.server import most_connections

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 700), hard))
        assert most_connections(ServeOptions()) == min(soft, 700) - 128
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert most_connections(ServeOptions(max_concurrent_requests=1)) == 513
