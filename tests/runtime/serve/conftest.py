"""A real server on a tiny model, in a thread of the test, and a client that sends raw HTTP."""

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from embedge import CancelToken, Embedder
from embedge.runtime.serve.options import ServeOptions


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Running:
    """A started server: its address, and a client."""

    def __init__(self, address: str) -> None:
        self.address = address
        parts = urlsplit(address)
        self.host, self.port = parts.hostname or "", parts.port or 0

    def send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            names = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, names, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Reply:
        return self.send("GET", path, None, headers)

    def post(self, path: str, body: object, **headers: str) -> Reply:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.send("POST", path, data, named)


class Gate:
    """Holds the graph: batches wait until it opens. `entered` is set while one waits."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Event()
        self.batches: list[int] = []
        self.error: Exception | None = None


class _GatedEncoder:
    def __init__(self, encoder: Any, gate: Gate) -> None:
        self._encoder = encoder
        self._gate = gate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def pool(self, windows: Any, cancel: Any) -> Any:
        self._gate.batches.append(len(windows))
        self._gate.entered.set()
        assert self._gate.open.wait(60)
        if self._gate.error is not None:
            raise self._gate.error
        return self._encoder.pool(windows, cancel)


class GatedEmbedder(Embedder):
    """An embedder whose batches wait at a gate when a server runs them."""

    def __init__(self, gate: Gate, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        encoder: Any = _GatedEncoder(super().loaded.encoder, gate)
        self._gated = replace(super().loaded, encoder=encoder)

    @property
    def loaded(self) -> Any:
        return self._gated


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A closed gate; opened at the end, so that nothing waits for ever."""
    gate = Gate()
    yield gate
    gate.open.set()


@contextmanager
def _running(options: ServeOptions, open_model: Callable[[], Embedder]) -> Iterator[Running]:
    from embedge.runtime.serve.server import serve

    address: list[str] = []
    errors: list[BaseException] = []
    up, stop = threading.Event(), CancelToken()

    def listening(where: str) -> None:
        address.append(where)
        up.set()

    def run() -> None:
        try:
            serve(options, open_model, stop=stop, listening=listening)
        except BaseException as error:
            errors.append(error)
        finally:
            up.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert up.wait(30)
        if errors:
            raise errors[0]
        running = Running(address[0])
        running.stop = stop.cancel  # type: ignore[attr-defined]
        running.thread = thread  # type: ignore[attr-defined]
        yield running
    finally:
        stop.cancel()
        thread.join(30)
    assert not thread.is_alive()
    if errors:
        raise errors[0]


def wait_until_ready(running: Running) -> None:
    for _ in range(1200):
        if running.get("/readyz").status == 200:
            return
        threading.Event().wait(0.05)
    raise AssertionError("the server did not become ready")


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serve-cache")


@pytest.fixture
def start(tiny_bundle: Path, cache: Path) -> Iterator[Callable[..., Running]]:
    """Start a server with options; `gate` holds its batches, `model` opens another model."""
    with ExitStack() as stack:

        def start_one(
            gate: Gate | None = None,
            model: Callable[[], Embedder] | None = None,
            wait: bool = True,
            **options: Any,
        ) -> Running:
            def open_model() -> Embedder:
                if model is not None:
                    return model()
                if gate is not None:
                    return GatedEmbedder(gate, tiny_bundle, threads=1, cache_dir=cache)
                return Embedder(tiny_bundle, threads=1, cache_dir=cache)

            chosen = ServeOptions(**({"port": 0} | options))
            running = stack.enter_context(_running(chosen, open_model))
            if wait:
                wait_until_ready(running)
            return running

        yield start_one


@pytest.fixture(scope="module")
def server(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server with default options for a whole file."""
    cache = tmp_path_factory.mktemp("serve-cache")

    def open_model() -> Embedder:
        return Embedder(tiny_bundle, threads=1, cache_dir=cache)

    with _running(ServeOptions(port=0), open_model) as running:
        wait_until_ready(running)
        yield running
