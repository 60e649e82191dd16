"""JSON lines on stdin and stdout, for programs that start us as a child (docs/server.md).

Stdout carries the protocol only. The end of stdin ends the process: it dies with its parent.
"""

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from embedge.models.errors import EmbedgeError, Overloaded
from embedge.runtime.cancel import CancelToken
from embedge.runtime.embedder import Embedder
from embedge.runtime.progress import ProgressCallback, ProgressEvent
from embedge.runtime.serve.failures import RequestError
from embedge.runtime.serve.json_body import Fields, decode, whole_text
from embedge.runtime.serve.stdio_methods import Call, Methods

MAX_LINE = 2_000_000
_MOST_WAITING = 256
# A short request overtakes long ones: the graph takes turns batch by batch.
_THREADS = 4
_STOP_S = 10.0

_AT_ONCE = ("cancel", "ping", "info", "shutdown")

RequestId = str | int


def serve_stdio(
    open_model: Callable[[], Embedder],
    lines: BinaryIO,
    out: BinaryIO,
    *,
    index: Path | None = None,
) -> None:
    """Answer the requests of `lines` on `out` until the end of `lines`.

    Args:
        open_model: called once, at the start.
        lines: one JSON object per line.
        out: gets one JSON object per line.
        index: database of the folder index; the user's by default.

    Raises:
        EmbedgeError: the model cannot be loaded; `out` got a `fatal` line before.
    """
    channel = _Channel(out)
    try:
        embedder = open_model()
    except EmbedgeError as error:
        fatal = {"code": error.code, "message": str(error), "exit_code": error.exit_code}
        channel.send({"fatal": fatal})
        raise
    with embedder:
        _Session(embedder, Methods(embedder, index), channel).run(lines)


class _Channel:
    """Whole lines, one at a time, from any thread; a reader that has gone is no error."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._lock = threading.Lock()
        self.is_closed = False

    def send(self, value: object) -> None:
        self.send_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")))

    def send_text(self, text: str) -> None:
        data = text.encode("utf-8", "replace") + b"\n"
        with self._lock:
            if self.is_closed:
                return
            try:
                self._out.write(data)
                self._out.flush()
            except OSError:  # the parent has gone; the end of stdin follows
                self.is_closed = True

    def answer(self, request_id: RequestId | None, result: str) -> None:
        self.send_text(f'{{"id":{json.dumps(request_id)},"result":{result}}}')

    def fail(self, request_id: RequestId | None, code: str, message: str) -> None:
        self.send({"id": request_id, "error": {"code": code, "message": message}})


class _Session:
    """The requests of one parent."""

    def __init__(self, embedder: Embedder, methods: Methods, channel: _Channel) -> None:
        self._embedder = embedder
        self._methods = methods
        self._table = methods.table()
        self._channel = channel
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="embedge-stdio")
        self._running: dict[RequestId, CancelToken] = {}
        self._futures: set[Future[None]] = set()
        self._lock = threading.Lock()
        self._is_stopping = False

    def run(self, lines: BinaryIO) -> None:
        """Read until the end, `shutdown`, or a signal."""
        self._channel.send({"ready": self._info()})
        wait_s = 0.0  # a signal: cancel at once
        try:
            while not self._is_stopping and not self._channel.is_closed:
                line = lines.readline(MAX_LINE + 1)
                if not line:
                    break
                if len(line) > MAX_LINE and not line.endswith(b"\n"):
                    _skip_line(lines)
                    self._refuse(f"the line is longer than {MAX_LINE} bytes")
                elif line.strip():
                    self._take(line)
            wait_s = _STOP_S
        finally:
            self._stop(wait_s)

    def _take(self, line: bytes) -> None:
        try:
            request = decode(line)
        except RequestError as error:
            self._refuse(str(error))
            return
        request_id = request.get("id") if isinstance(request, dict) else None
        if not isinstance(request, dict) or type(request_id) not in (str, int):
            self._refuse("a request is an object with an id, a string or a whole number")
            return
        assert isinstance(request_id, str | int)
        if isinstance(request_id, str):
            request_id = whole_text(request_id)
        try:
            self._start(request_id, request)
        except EmbedgeError as error:
            self._channel.fail(request_id, error.code, str(error))

    def _start(self, request_id: RequestId, request: dict[str, object]) -> None:
        method = request.get("method")
        if method in _AT_ONCE:
            self._answer_at_once(request_id, str(method), request.get("params", {}))
            return
        if not isinstance(method, str) or method not in self._table:
            known = ", ".join([*self._table, *_AT_ONCE])
            raise RequestError(400, "bad_request", f"the method is unknown; choose one of {known}")
        call, known_params = self._table[method]
        fields = Fields(request.get("params", {}), known=known_params)
        progress = self._events(request_id) if fields.flag("progress") is True else None
        cancel = CancelToken()
        with self._lock:
            if request_id in self._running:
                raise RequestError(400, "bad_request", "a request with this id still runs")
            if len(self._running) >= _MOST_WAITING:
                raise Overloaded(f"{_MOST_WAITING} requests wait already; try again later", 1)
            self._running[request_id] = cancel
        job = Call(fields, cancel, progress)
        future = self._pool.submit(self._answer, request_id, call, job)
        with self._lock:
            self._futures.add(future)
        future.add_done_callback(self._forget)

    def _answer(self, request_id: RequestId, method: Callable[[Call], str], call: Call) -> None:
        try:
            call.cancel.raise_if_cancelled()
            result = method(call)
        except EmbedgeError as error:
            self._end(request_id)
            self._channel.fail(request_id, error.code, str(error))
        except Exception as error:  # one request must not end the others; named, not quoted
            self._end(request_id)
            self._channel.fail(request_id, "bug", f"{type(error).__name__}; please report it")
        else:
            self._end(request_id)
            self._channel.answer(request_id, result)

    def _answer_at_once(self, request_id: RequestId, method: str, params: object) -> None:
        known = frozenset({"id"}) if method == "cancel" else frozenset()
        fields = Fields(params, known=known)
        result: dict[str, object] = {}
        if method == "cancel":
            result = {"cancelled": self._cancel(fields.get("id"))}
        elif method == "info":
            result = self._info()
        elif method == "shutdown":
            self._is_stopping = True
        self._channel.answer(request_id, json.dumps(result, ensure_ascii=False))

    def _cancel(self, request_id: object) -> bool:
        if not isinstance(request_id, str | int):
            return False
        with self._lock:
            token = self._running.get(request_id)
        if token is None:
            return False
        token.cancel()
        return True

    def _events(self, request_id: RequestId) -> ProgressCallback:
        def send(event: ProgressEvent) -> None:
            self._channel.send({"id": request_id, "event": event.as_dict()})

        return send

    def _refuse(self, message: str) -> None:
        self._channel.fail(None, "bad_request", message)

    def _end(self, request_id: RequestId) -> None:
        with self._lock:
            self._running.pop(request_id, None)

    def _forget(self, future: "Future[None]") -> None:
        with self._lock:
            self._futures.discard(future)

    def _stop(self, wait_s: float) -> None:
        """Let requests end for a while, then cancel them."""
        end = time.monotonic() + wait_s
        while self._futures and time.monotonic() < end and not self._channel.is_closed:
            with self._lock:
                waiting = next(iter(self._futures), None)
            if waiting is not None:
                _wait(waiting, end)
        with self._lock:
            tokens = list(self._running.values())
        for token in tokens:
            token.cancel()
        self._pool.shutdown(wait=True)
        self._methods.close()

    def _info(self) -> dict[str, object]:
        from embedge import __version__

        return {
            "version": __version__,
            "model": self._embedder.model,
            "variant": self._embedder.variant,
            "dim": self._embedder.dim,
            "space": self._embedder.space.fingerprint,
            "max_tokens": self._embedder.max_tokens,
            "methods": [*self._table, *_AT_ONCE],
        }


def _wait(future: "Future[None]", end: float) -> None:
    try:
        future.result(timeout=max(0.0, min(0.2, end - time.monotonic())))
    except TimeoutError:
        return


def _skip_line(lines: BinaryIO) -> None:
    while (rest := lines.readline(MAX_LINE)) and not rest.endswith(b"\n"):
        pass
