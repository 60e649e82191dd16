"""`embed serve` as a process: where it listens, who may connect, how it ends."""

import http.client
import json
import os
import re
import signal
import socket
import stat
import subprocess

import pytest

unix_only = pytest.mark.skipif(os.name == "nt", reason="Unix sockets and signals")


@pytest.fixture
def serve(command, environment, tmp_path):
    """Start `embed serve ARGUMENTS`; gives the process and its stderr until it is ready."""
    started = []

    def run(*arguments, **variables):
        process = subprocess.Popen(
            [*command, "serve", *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            cwd=tmp_path, env=environment | variables, text=True,
        )  # fmt: skip
        started.append(process)
        lines = []
        while not lines or "ready:" not in lines[-1]:
            line = process.stderr.readline()
            if not line:
                break
            lines.append(line)
        return process, lines

    yield run
    for process in started:
        process.kill()
        process.communicate()


def _port(lines):
    return int(re.search(r"listening on http://\S+:(\d+)", "".join(lines))[1])


def _get(port, path, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers=headers)
    status = connection.getresponse().status
    connection.close()
    return status


@unix_only
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_server_with_its_code(serve, signum, code):
    process, lines = serve("--port", "0")
    assert _get(_port(lines), "/readyz") == 200
    process.send_signal(signum)
    assert process.wait(30) == code
    assert "Traceback" not in process.stderr.read()


@unix_only
def test_a_signal_while_the_model_loads_ends_the_server_cleanly(command, environment, tmp_path):
    with subprocess.Popen(
        [*command, "serve", "--port", "0"],
        stderr=subprocess.PIPE, cwd=tmp_path, env=environment, text=True,
    ) as process:  # fmt: skip
        assert "listening" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
        assert "terminate" not in process.stderr.read()


@unix_only
def test_a_unix_socket_belongs_to_its_user_only_and_goes_with_the_server(serve, tmp_path):
    path = tmp_path / "embed.sock"
    process, _ = serve("--uds", str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(path))
        peer.sendall(b"GET /readyz HTTP/1.1\r\nHost: any\r\nConnection: close\r\n\r\n")
        assert peer.recv(99).startswith(b"HTTP/1.1 200 ")
    _, lines = serve("--uds", str(path))
    assert "another server listens" in lines[-1]
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    assert not path.exists()


@unix_only
def test_a_socket_left_by_a_killed_server_is_replaced_and_another_file_is_not(serve, tmp_path):
    stale = tmp_path / "embed.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(stale))
    process, lines = serve("--uds", str(stale))
    assert "ready:" in lines[-1]
    process.kill()
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    process, lines = serve("--uds", str(notes))
    assert process.wait(30) == 2
    assert notes.read_text() == "mine"


def test_other_machines_need_a_key(embed):
    done = embed("serve", "--host", "0.0.0.0")
    assert done.code == 2
    assert "--api-key" in done.error


def test_the_key_can_come_from_the_environment(serve):
    _, lines = serve("--port", "0", EMBED_API_KEY="sesame")
    assert _get(_port(lines), "/v1/models") == 401
    assert _get(_port(lines), "/v1/models", Authorization="Bearer sesame") == 200


def test_a_taken_port_is_named(embed):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        done = embed("serve", "--port", other.getsockname()[1])
    assert done.code == 1
    assert "taken" in done.error
    assert "--port" in done.error


def test_a_model_that_is_not_there_ends_the_server_with_5(embed):
    done = embed("serve", "--port", "0", "--log-level", "error", "-m", "nothing")
    assert done.code == 5
    assert "nothing" in done.error


@pytest.mark.parametrize(
    "arguments",
    [
        ["--request-timeout", "soon"], ["--request-timeout", "0"], ["--log-level", "loud"],
        ["--payload-limit", "big"], ["--default-task", "poem"], ["--long-text", "chunk"],
        ["--max-batch-tokens", "9", "--max-memory", "1GB"], ["--browse"],
    ],
)  # fmt: skip
def test_values_that_cannot_work_are_usage_errors(embed, arguments, tmp_path):
    variables = {"EMBED_DB": str(tmp_path / "none.db")} if arguments == ["--browse"] else {}
    done = embed("serve", "--port", "0", "--log-level", "error", *arguments, **variables)
    assert done.code in (1, 2)
    assert arguments[0] in done.error or "none.db" in done.error


def test_log_lines_are_chosen_by_level_and_hold_no_texts(serve):
    body = json.dumps({"input": "topsecret"})

    def post(port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("POST", "/v1/embeddings", body)
        assert connection.getresponse().status == 200
        connection.close()

    process, lines = serve("--port", "0")
    post(_port(lines))
    process.terminate()
    log = process.stderr.read()
    assert re.search(r"POST /v1/embeddings 200 \d+\.\d ms 1 texts \d+ tokens", log)
    assert "topsecret" not in log
