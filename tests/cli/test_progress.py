"""`--progress`: the event contract, the bar, and silence in pipes."""

import json
import os
import subprocess

import pytest


@pytest.fixture
def folder(tmp_path):
    """12 files, one of them broken."""
    docs = tmp_path / "docs"
    docs.mkdir()
    for number in range(12):
        (docs / f"{number:02}.txt").write_text("some words " * (number * 40))
    return docs


def _events(done):
    return [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]


def test_json_events_follow_the_contract(embed, folder):
    done = embed("docs", "--progress", "json", "-q", "--batch-tokens", "64")
    assert done.code == 3
    events = _events(done)
    first, last = events[0], events[-1]
    assert {event["run"] for event in events} == {first["run"]}
    assert first == {
        "event": "start", "run": first["run"], "files_total": 12, "chunks_total": None,
        "space": done.records[-1]["space"],
    }  # fmt: skip
    assert set(last) == {
        "event", "run", "status", "files_done", "errors", "chunks_done", "chunks_reused",
        "tokens_done", "seconds",
    }  # fmt: skip
    good = [record for record in done.records if "error" not in record]
    assert (last["status"], last["files_done"], last["errors"]) == ("done", 12, 1)
    assert last["chunks_done"] == len(good)
    assert last["tokens_done"] == sum(record["n_tokens"] for record in good)
    errors = [event for event in events if event["event"] == "file_error"]
    assert [(error["path"], error["code"]) for error in errors] == [("docs/00.txt", "empty")]
    progress = [event for event in events if event["event"] == "progress"]
    assert progress
    for event in progress:
        assert set(event) == {
            "event", "run", "files_done", "files_total", "chunks_done", "chunks_total",
            "tokens_done", "tokens_per_s", "eta_s", "path",
        }  # fmt: skip
    for name in ("files_done", "chunks_done", "tokens_done"):
        counts = [event[name] for event in progress] + [last[name]]
        assert counts == sorted(counts)


def test_several_blocks_count_on(embed):
    done = embed("text", "--lines", "--progress", "json", stdin="row\n" * 700)
    last = _events(done)[-1]
    assert (last["chunks_done"], last["files_done"]) == (700, 700)


def test_a_failed_run_ends_with_its_event(embed):
    done = embed("text", "a", "--max-tokens", "3", "--progress", "json")
    assert done.code == 2
    assert _events(done)[-1]["status"] == "failed"


def test_nothing_is_shown_in_a_pipe(embed):
    assert embed("text", "a").stderr == ""


def test_a_bar_is_drawn_on_a_terminal_and_cleared(command, environment, tmp_path):
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    with open(tmp_path / "out", "wb") as out:
        process = subprocess.Popen(
            [*command, "text", "--lines", "--batch-size", "1"],
            stdin=subprocess.PIPE, stdout=out, stderr=theirs, cwd=tmp_path,
            env=environment | {"TERM": "xterm", "COLUMNS": "80"},
        )  # fmt: skip
        os.close(theirs)
        process.stdin.write(b"row\n" * 300)
        process.stdin.close()
        shown = b""
        try:
            while data := os.read(ours, 65536):
                shown += data
        except OSError:
            pass  # the other side has closed
        assert process.wait(60) == 0
    os.close(ours)
    assert b"vectors" in shown
    assert b"Traceback" not in shown
    assert len((tmp_path / "out").read_bytes().splitlines()) == 300
