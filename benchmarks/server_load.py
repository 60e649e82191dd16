"""`embed serve` under load, beside `embed files` on the same passages.

    python benchmarks/server_load.py [--seconds 20] [--concurrency 32] [--texts 1]

Three figures: tokens per second with so many clients, each waiting for its answer, against the
offline rate; the memory of the server meanwhile; and what happens when twice as many requests
arrive as it can answer. The clients share the machine with the server.
"""

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from machine import describe

EMBED = [sys.executable, "-c", "from embedge.cli import main; main()"]


@dataclass
class Load:
    """What the clients saw."""

    seconds: float = 0.0
    tokens: int = 0
    latencies: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    retry_after: set[str] = field(default_factory=set)

    def quantile(self, share: float) -> float:
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def corpus(folder: Path, megabytes: float) -> None:
    """Write files of the sample sentences, of 2 to 20 kB each."""
    from embedge.models.sample_texts import measurement_texts

    texts = [sample.text for sample in measurement_texts()]
    chooser = random.Random(1)
    written = 0
    while written < megabytes * 1e6:
        body = "\n".join(chooser.choice(texts) for _ in range(chooser.randrange(20, 160)))
        (folder / f"{written}.txt").write_text(body, "utf-8")
        written += len(body.encode())


def offline(folder: Path, out: Path) -> tuple[float, list[str]]:
    """Return tokens per second of `embed files`, without its start, and the passages."""
    command = [*EMBED, "files", str(folder), "-o", str(out), "--store-text", "--progress", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    last = json.loads(done.stderr.splitlines()[-1])
    passages = [json.loads(line)["text"] for line in out.read_text("utf-8").splitlines()]
    return last["tokens_done"] / last["seconds"], passages


class Client:
    """One keep-alive connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, body: bytes, load: Load) -> None:
        begun = time.perf_counter()
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        head = f"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        writer.write(head.encode() + b"\r\n" + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        headers = dict(
            line.split(": ", 1) for line in answer.decode("latin-1").split("\r\n")[1:] if line
        )
        data = await reader.readexactly(int(headers["content-length"]))
        status = int(answer.split()[1])
        load.statuses[status] = load.statuses.get(status, 0) + 1
        if status == 200:
            load.latencies.append(time.perf_counter() - begun)
            load.tokens += int(data.rpartition(b'"total_tokens":')[2].partition(b"}")[0])
        elif "retry-after" in headers:
            load.retry_after.add(headers["retry-after"])

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()


def bodies(passages: list[str], texts: int) -> list[bytes]:
    """Return requests of so many passages each."""
    groups = [passages[at : at + texts] for at in range(0, len(passages), texts)]
    return [
        json.dumps(
            {"input": group, "model": "bundled:document", "encoding_format": "base64"}
        ).encode()
        for group in groups
    ]


async def closed_loop(port: int, requests: list[bytes], clients: int, seconds: float) -> Load:
    """Every client sends its next request when it has its answer."""
    load, end = Load(), time.perf_counter() + seconds
    queue = iter(requests * 1000)

    async def work() -> None:
        client = Client(port)
        while time.perf_counter() < end:
            await client.post(next(queue), load)
        client.close()

    begun = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(clients)))
    load.seconds = time.perf_counter() - begun
    return load


async def open_loop(port: int, requests: list[bytes], per_s: float, seconds: float) -> Load:
    """Requests arrive at a rate, whether or not earlier ones were answered."""
    load, tasks, idle = Load(), set(), []
    queue = iter(requests * 1000)

    async def one(body: bytes) -> None:
        client = idle.pop() if idle else Client(port)
        await client.post(body, load)
        idle.append(client)

    begun = time.perf_counter()
    for number in range(int(per_s * seconds)):
        await asyncio.sleep(max(0.0, begun + number / per_s - time.perf_counter()))
        task = asyncio.create_task(one(next(queue)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    load.seconds = time.perf_counter() - begun
    for client in idle:
        client.close()
    return load


def resident(pid: int) -> float:
    """Return the resident set of a process in MiB."""
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


async def memory_of(pid: int, samples: list[float]) -> None:
    while True:
        samples.append(resident(pid))
        await asyncio.sleep(0.5)


async def with_memory(pid: int, work: "asyncio.Future[Load]") -> tuple[Load, list[float]]:
    samples: list[float] = []
    watcher = asyncio.create_task(memory_of(pid, samples))
    load = await work
    watcher.cancel()
    return load, samples


def start_server(*options: str) -> tuple[subprocess.Popen[str], int]:
    """Start the server and return it with its port."""
    command = [*EMBED, "serve", "--port", "0", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    seen = ""
    while "ready:" not in seen:
        seen += process.stderr.readline()
    port = int(seen.partition("listening on http://127.0.0.1:")[2].split()[0])
    return process, port


def report(name: str, load: Load, base: float) -> None:
    rate = load.tokens / load.seconds
    print(
        f"{name}: {rate:,.0f} tokens/s ({rate / base:.2f} of offline), "
        f"{len(load.latencies) / load.seconds:.1f} answers/s, p50 {load.quantile(0.5):.3f} s, "
        f"p99 {load.quantile(0.99):.3f} s, status {load.statuses}"
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the server under load.")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--texts", type=int, default=1, help="passages per request")
    parser.add_argument("--megabytes", type=float, default=0.5, help="of text for the offline run")
    parser.add_argument("--only", choices=["rate", "memory", "overload"], action="append")
    return parser.parse_args()


def main() -> None:
    options = parse()
    parts = options.only or ["rate", "memory", "overload"]
    print(describe())
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "texts"
        folder.mkdir()
        corpus(folder, options.megabytes)
        before, passages = offline(folder, Path(scratch) / "before.jsonl")
        print(f"{len(passages)} passages; embed files: {before:,.0f} tokens/s")
        requests = bodies(passages, options.texts)
        process, port = start_server("--log-level", "info", "--max-concurrent-requests", "64")
        # The log goes on; nobody may have to wait for it.
        reader = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
        try:
            asyncio.run(closed_loop(port, requests, options.concurrency, 2.0))  # warm
            run = closed_loop(port, requests, options.concurrency, options.seconds)
            load, samples = asyncio.run(with_memory(process.pid, run))
            report(f"{options.concurrency} clients", load, before)
            if "memory" in parts:
                third = len(samples) // 3 or 1
                first, last = samples[:third], samples[-third:]
                print(
                    f"memory: {min(samples):.0f} to {max(samples):.0f} MiB; mean of the first "
                    f"third {sum(first) / third:.1f}, of the last {sum(last) / third:.1f} MiB"
                )
            if "overload" in parts:
                twice = 2 * len(load.latencies) / load.seconds
                over = asyncio.run(open_loop(port, requests, twice, options.seconds / 2))
                report(f"twice the capacity ({twice:.0f} requests/s)", over, before)
                print(f"Retry-After: {sorted(over.retry_after)}")
                after = asyncio.run(closed_loop(port, requests, 1, 1.0))
                print(f"one client afterwards: p50 {after.quantile(0.5):.3f} s, {after.statuses}")
        finally:
            process.terminate()
            process.wait(30)
            reader.kill()
        after_rate, _ = offline(folder, Path(scratch) / "after.jsonl")
        print(f"embed files again: {after_rate:,.0f} tokens/s")


if __name__ == "__main__":
    main()
