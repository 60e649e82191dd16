"""The progress contract (interface 6)."""

import json

import pytest

from embedge import Cancelled, CancelToken, Embedder, ProgressEvent
from embedge.runtime.progress import ProgressMeter, text_bar


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_start_and_done_always_come_and_counts_never_fall(embedder: Embedder) -> None:
    events: list[ProgressEvent] = []
    texts = [f"the river {n}" for n in range(100)]
    embedder.encode(texts, batch_tokens=64, progress=events.append)
    assert (events[0].event, events[-1].event) == ("start", "done")
    assert (events[0].chunks_total, events[0].space) == (100, embedder.space.fingerprint)
    done = events[-1]
    assert (done.status, done.chunks_done) == ("done", 100)
    assert done.tokens_done == sum(embedder.count_tokens(texts))
    counts = [(event.chunks_done, event.tokens_done) for event in events]
    assert counts == sorted(counts)
    assert len({event.run for event in events}) == 1


def test_an_empty_run_has_start_and_done(embedder: Embedder) -> None:
    events: list[ProgressEvent] = []
    embedder.encode([], progress=events.append)
    assert [event.event for event in events] == ["start", "done"]


def test_at_most_ten_progress_events_come_per_second() -> None:
    clock, events = Clock(), list[ProgressEvent]()
    meter = ProgressMeter(events.append, space="s", chunks_total=1000, clock=clock)
    with meter.running():
        for step in range(1, 1001):
            clock.now = step / 500  # two seconds in steps of 2 ms
            meter.advance(chunks=1, tokens=10)
    progress = [event for event in events if event.event == "progress"]
    assert 15 <= len(progress) <= 20
    assert progress[-1].tokens_per_s == pytest.approx(5000, rel=0.05)
    left = 1000 - progress[-1].chunks_done
    assert progress[-1].eta_s == pytest.approx(left / 500, abs=0.05)


def test_unknown_totals_are_null() -> None:
    clock, events = Clock(), list[ProgressEvent]()
    meter = ProgressMeter(events.append, space="s", clock=clock)
    with meter.running():
        clock.now = 1.0
        meter.advance(chunks=1, tokens=10)
    record = events[1].as_dict()
    assert (record["files_total"], record["chunks_total"], record["eta_s"]) == (None, None, None)


def test_each_kind_of_event_has_its_own_fields() -> None:
    clock, events = Clock(), list[ProgressEvent]()
    meter = ProgressMeter(events.append, space="nv2m-0", files_total=2, clock=clock)
    with meter.running():
        meter.file_error("b.pdf", "no_text", "no text in it")
        clock.now = 1.0
        meter.advance(files=1, chunks=3, reused=1, tokens=30, path="a.md")
    records = [event.as_dict() for event in events]
    json.dumps(records)
    start, error, progress, done = records
    assert list(start) == ["event", "run", "files_total", "chunks_total", "space"]
    assert error | {"run": "r"} == {
        "event": "file_error", "run": "r", "path": "b.pdf", "code": "no_text",
        "message": "no text in it",
    }  # fmt: skip
    assert list(progress) == [
        "event", "run", "files_done", "files_total", "chunks_done", "chunks_total",
        "tokens_done", "tokens_per_s", "eta_s", "path",
    ]  # fmt: skip
    assert progress["path"] == "a.md"
    assert done | {"run": "r"} == {
        "event": "done", "run": "r", "status": "done", "files_done": 1, "errors": 1,
        "chunks_done": 3, "chunks_reused": 1, "tokens_done": 30, "seconds": 1.0,
    }  # fmt: skip


def test_a_failed_and_a_cancelled_run_say_so(embedder: Embedder) -> None:
    events: list[ProgressEvent] = []
    with pytest.raises(TypeError):
        embedder.encode(["a", 3], progress=events.append)  # type: ignore[list-item]
    assert events[-1].status == "failed"
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        embedder.encode(["a"], progress=events.append, cancel=token)
    assert events[-1].status == "cancelled"


def test_a_callback_that_raises_ends_the_run_with_its_error(embedder: Embedder) -> None:
    calls: list[ProgressEvent] = []

    def broken(event: ProgressEvent) -> None:
        calls.append(event)
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        embedder.encode(["a"], progress=broken)
    assert len(calls) == 1
    assert embedder.encode(["a"]).shape == (1, 32)


def test_the_bar_of_the_library_keeps_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    meter = ProgressMeter(text_bar(), space="s", chunks_total=4, clock=clock)
    with meter.running():
        clock.now = 0.5
        meter.advance(chunks=2, tokens=100)
        clock.now = 1.0
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "\r2/4 texts, 200 tokens/s\r2 texts in 1.0 s\n"
