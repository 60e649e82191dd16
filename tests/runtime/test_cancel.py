"""Cancelling: before the next batch, inside a batch, from a signal; the graph stays usable."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from embedge import Cancelled, CancelToken, Embedder


def test_a_cancelled_run_stops_before_its_next_batch(
    embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = CancelToken()
    engine = embedder.loaded.engine
    real = engine.run
    batches: list[int] = []

    def counted(
        ids: NDArray[np.int64], mask: NDArray[np.int64], cancel: CancelToken | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        batches.append(len(ids))
        result = real(ids, mask)
        if len(batches) == 2:
            token.cancel()
        return result

    monkeypatch.setattr(engine, "run", counted)
    with pytest.raises(Cancelled):
        embedder.encode(["the river"] * 10, batch_size=1, cancel=token)
    assert len(batches) == 2
    monkeypatch.undo()
    assert embedder.encode("the river").shape == (32,)


def test_cancelling_terminates_a_batch_that_already_runs(embedder: Embedder) -> None:
    """The stop reaches ONNX Runtime: attached before the batch, called inside it."""
    token = CancelToken()
    engine = embedder.loaded.engine
    ids = np.full((64, 512), 5, dtype=np.int64)
    expected = engine.run(ids[:1, :8], np.ones_like(ids[:1, :8]))[1]

    def cancel_soon() -> None:
        # The run attaches its stop first; only then is there something to cancel.
        while not token._stops:
            pass
        token.cancel()

    thread = threading.Thread(target=cancel_soon)
    thread.start()
    with pytest.raises(Cancelled, match="inside a batch"):
        engine.run(ids, np.ones_like(ids), token)
    thread.join()
    np.testing.assert_array_equal(expected, engine.run(ids[:1, :8], np.ones_like(ids[:1, :8]))[1])


def test_a_token_that_was_used_stops_every_later_run(embedder: Embedder) -> None:
    token = CancelToken()
    assert not token.cancelled
    token.cancel()
    assert token.cancelled
    with pytest.raises(Cancelled):
        embedder.encode("a", cancel=token)
    with pytest.raises(Cancelled):
        next(embedder.stream(["a"], cancel=token))


def test_one_token_ends_several_runs(embedder: Embedder) -> None:
    token = CancelToken()
    outcomes: list[str] = []
    running = threading.Barrier(3)

    def endless() -> Iterator[str]:
        running.wait()
        while True:
            yield "the river"

    def work() -> None:
        try:
            for _ in embedder.stream(endless(), cancel=token):
                pass
        except Cancelled:
            outcomes.append("cancelled")

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    running.wait()
    token.cancel()
    for thread in threads:
        thread.join(timeout=60)
    assert outcomes == ["cancelled", "cancelled"]


INTERRUPTED = """
import os, signal, sys, threading
import numpy as np
from embedge import Embedder

embedder = Embedder(sys.argv[1], cache_dir=sys.argv[2], threads=1)
engine = embedder.loaded.engine
ids = np.full((64, 512), 5, dtype=np.int64)
engine.run(ids[:1, :8], np.ones_like(ids[:1, :8]))
threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
running = False
try:
    for _ in range(100):  # the signal comes late on a busy machine
        running = True
        engine.run(ids, np.ones_like(ids))
        running = False
    print("ran to its end")
except KeyboardInterrupt:
    again = engine.run(ids[:1, :8], np.ones_like(ids[:1, :8]))[1]
    print("interrupted, usable" if running and np.isfinite(again).all() else "broken")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to oneself there")
def test_ctrl_c_ends_a_running_batch(tiny_bundle: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(tiny_bundle), str(tmp_path)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.stdout == "interrupted, usable\n", done.stderr
    assert done.stderr == ""


@pytest.mark.skipif(sys.platform == "win32", reason="no signal.raise_signal of SIGUSR1 there")
def test_a_token_may_be_used_in_a_signal_handler(embedder: Embedder) -> None:
    token = CancelToken()
    before = signal.signal(signal.SIGUSR1, lambda number, frame: token.cancel())
    try:

        def texts() -> Iterator[str]:
            yield "a"
            signal.raise_signal(signal.SIGUSR1)
            while True:
                yield "the river"

        with pytest.raises(Cancelled):
            list(embedder.stream(texts(), cancel=token))
    finally:
        signal.signal(signal.SIGUSR1, before)
