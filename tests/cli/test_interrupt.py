"""Ctrl-C and SIGTERM: whole records, the right code, and no traceback."""

import json
import os
import signal
import subprocess
import threading
import time

import pytest

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.fixture
def start(command, environment, tmp_path):
    """Start `embed ARGUMENTS` with pipes; whatever still runs at the end is killed."""
    started = []

    def popen(*arguments, **options):
        process = subprocess.Popen(
            [*command, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            cwd=tmp_path, env=environment, **options,
        )  # fmt: skip
        started.append(process)
        return process

    yield popen
    for process in started:
        process.kill()
        process.communicate()


def _feed_forever(process):
    def feed():
        try:
            while True:
                process.stdin.write(b"some text\n" * 50)
        except (BrokenPipeError, ValueError):
            pass  # the command has ended

    thread = threading.Thread(target=feed, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize(("signum", "code"), SIGNALS)
def test_a_signal_in_a_run_leaves_whole_records(start, signum, code):
    process = start("text", "--lines", "--batch-size", "1")
    _feed_forever(process)
    lines = [process.stdout.readline() for _ in range(5)]
    process.send_signal(signum)
    lines += process.stdout.read().splitlines(keepends=True)
    assert process.wait(30) == code
    assert all(line.endswith(b"\n") and json.loads(line) for line in lines)
    assert b"Traceback" not in process.stderr.read()


@pytest.mark.parametrize(("signum", "code"), SIGNALS)
def test_a_signal_while_the_command_waits_for_rows(start, signum, code):
    process = start("text", "--lines", "--batch-size", "1")
    process.stdin.write(b"one\n")
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["id"] == "0"  # it waits for the next row now
    process.send_signal(signum)
    assert process.wait(30) == code
    assert process.stderr.read() == b""


def test_a_signal_while_the_command_waits_for_a_text(start):
    process = start("text", "--progress", "json")
    assert b'"start"' in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    events = [json.loads(line) for line in process.stderr.read().splitlines()]
    assert events[-1]["status"] == "cancelled"


def test_a_signal_keeps_the_partial_file_for_resume(start, tmp_path):
    process = start("text", "--lines", "--batch-size", "1", "-o", "out.jsonl")
    _feed_forever(process)
    partial = tmp_path / "out.jsonl.partial"
    while not partial.exists() or partial.stat().st_size < 5000:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    assert not (tmp_path / "out.jsonl").exists()
    assert all(json.loads(line) for line in partial.read_bytes().splitlines())
    assert b"--resume" in process.stderr.read()


def test_a_second_signal_ends_at_once(command, environment, tmp_path):
    """The first one is swallowed by a reader that never gives the records away."""
    from embedge.cli import interrupt

    class Deaf:
        def cancel(self):
            pass

    pid = os.fork()
    if pid == 0:
        interrupt.handle_signals()
        with interrupt.cancelling(Deaf()):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
