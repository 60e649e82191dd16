"""`embed serve --stdio` as a child: how it starts, and how it ends."""

import json
import os
import signal
import subprocess
import sys

import pytest

PING = b'{"id":1,"method":"ping"}\n'


@pytest.fixture
def start(command, environment, tmp_path):
    """Start the child; what still runs at the end is killed."""
    started = []

    def run(*arguments):
        process = subprocess.Popen(
            [*command, "serve", "--stdio", *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            cwd=tmp_path, env=environment,
        )  # fmt: skip
        started.append(process)
        return process, json.loads(process.stdout.readline())

    yield run
    for process in started:
        process.kill()
        process.communicate()


def test_the_end_of_stdin_ends_it_after_the_answers(start):
    process, first = start()
    assert first["ready"]["model"] == "tiny"
    request = {"id": 1, "method": "embed", "params": {"input": "a"}}
    answers, log = process.communicate(json.dumps(request).encode() + b"\n", timeout=60)
    assert "result" in json.loads(answers)
    assert (process.returncode, log) == (0, b"")


def test_shutdown_ends_it(start):
    process, _ = start()
    answers, _ = process.communicate(b'{"id":1,"method":"shutdown"}\n' + PING, timeout=60)
    assert answers == b'{"id":1,"result":{}}\n'
    assert process.returncode == 0


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_signal_ends_a_running_request_with_its_code(start):
    process, _ = start()
    request = {"id": 1, "method": "embed", "params": {"input": ["river house " * 20] * 6000}}
    process.stdin.write(json.dumps(request).encode()[:-2] + b', "progress": true}}\n')
    process.stdin.flush()
    assert b'"event":"start"' in process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_it_dies_with_its_parent(command, environment, tmp_path):
    script = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, *command, "serve", "--stdio"],
        stdout=subprocess.PIPE, cwd=tmp_path, env=environment,
    ) as parent:  # fmt: skip
        assert b"ready" in parent.stdout.readline()
        parent.kill()
        # The pipe ends when the last process that holds it is gone: the child, too.
        assert parent.stdout.read() == b""


def test_a_model_that_is_not_there_is_fatal(start):
    process, first = start("-m", "nothing")
    assert (first["fatal"]["code"], first["fatal"]["exit_code"]) == ("model_not_found", 5)
    assert process.wait(60) == 5


def test_stdio_needs_no_server_library(environment, tmp_path):
    script = (
        "import sys\n"
        "for name in ('starlette', 'uvicorn', 'prometheus_client'):\n"
        "    sys.modules[name] = None\n"
        "from embedge.cli import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "serve", "--stdio"],
        input=b'{"id":1,"method":"embed","params":{"input":"a"}}\n',
        capture_output=True, cwd=tmp_path, env=environment, check=True, timeout=120,
    )  # fmt: skip
    assert json.loads(done.stdout.splitlines()[1])["id"] == 1


def test_a_missing_library_is_named_with_its_extra(environment, tmp_path):
    script = "import sys; sys.modules['starlette'] = None\nfrom embedge.cli import main\nmain()\n"
    done = subprocess.run(
        [sys.executable, "-c", script, "serve", "--port", "0"],
        capture_output=True, cwd=tmp_path, env=environment, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2
    assert b"embedge[server]" in done.stderr
