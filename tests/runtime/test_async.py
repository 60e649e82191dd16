"""`aencode` and its forms: the loop stays free, one worker thread, cancellation."""

import asyncio
import threading

import numpy as np
import pytest

from embedge import Cancelled, CancelToken, Embedder, EncodeResult
from embedge.runtime import async_runner


def test_awaited_vectors_equal_the_blocking_ones(embedder: Embedder) -> None:
    async def main() -> list[object]:
        return await asyncio.gather(
            embedder.aencode(["the river", "a"], task="query"),
            embedder.aencode_query(["the river", "a"]),
            embedder.aencode_document("night", return_info=True),
        )

    first, second, third = asyncio.run(main())
    np.testing.assert_array_equal(embedder.encode_query(["the river", "a"]), first)
    np.testing.assert_array_equal(first, second)
    assert isinstance(third, EncodeResult)
    np.testing.assert_array_equal(embedder.encode("night"), third.vectors)


def test_all_calls_run_on_one_worker_thread(embedder: Embedder) -> None:
    names: set[str] = set()

    async def main() -> None:
        await asyncio.gather(
            *(
                embedder.aencode("a", progress=lambda _: names.add(threading.current_thread().name))
                for _ in range(20)
            )
        )

    asyncio.run(main())
    assert len(names) == 1
    assert threading.main_thread().name not in names


def test_the_queue_of_the_worker_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(async_runner, "MAX_WAITING", 3)
    runner = async_runner.AsyncRunner()
    gate = threading.Event()
    submitted = 0
    real = runner._executor.submit

    def counted(*args: object) -> object:
        nonlocal submitted
        submitted += 1
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(runner._executor, "submit", counted)

    async def main() -> None:
        calls = [asyncio.ensure_future(runner.run(gate.wait, CancelToken())) for _ in range(10)]
        for _ in range(20):
            await asyncio.sleep(0)
        assert submitted == 3
        gate.set()
        await asyncio.gather(*calls)

    asyncio.run(main())
    assert submitted == 10
    runner.close()


def test_cancelling_the_task_cancels_the_run(embedder: Embedder) -> None:
    token = CancelToken()

    async def main() -> None:
        started = asyncio.Event()
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(
            embedder.aencode(
                ["the river " * 100] * 2000,
                cancel=token,
                progress=lambda _: loop.call_soon_threadsafe(started.set),
            )
        )
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert token.cancelled
    assert embedder.encode("a").shape == (32,)


def test_a_token_ends_an_awaited_run(embedder: Embedder) -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        asyncio.run(embedder.aencode("a", cancel=token))
