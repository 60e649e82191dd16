"""Asks the one process that reads PDFs, and ends it when it takes too long."""

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

from embedge.models.errors import BackendError, Cancelled, InputError
from embedge.runtime.extract.pdf_headings import Bookmark
from embedge.runtime.extract.pdf_worker import HEAD, LENGTH, OUT_OF_MEMORY
from embedge.runtime.frozen import PDF_WORKER, is_frozen

MAX_PAGES = 5_000
TIME_LIMIT_S = 60
MEMORY_LIMIT = 1 << 30
"""Bytes beyond the file itself."""

_ASKED_TO_END = (-signal.SIGTERM, -signal.SIGINT)


@dataclass(frozen=True)
class PdfAnswer:
    """What the process found in a file."""

    pages: list[str]
    properties: dict[str, str]
    bookmarks: list[Bookmark]

    def property(self, name: str) -> str | None:
        """Return a document property without white space around it; None when empty."""
        return " ".join(self.properties.get(name, "").replace("\0", "").split()) or None


class PdfProcess:
    """A process that reads one file at a time; started on first use, again after a crash."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        max_pages: int = MAX_PAGES,
        time_limit_s: float = TIME_LIMIT_S,
        memory_limit: int = MEMORY_LIMIT,
    ) -> None:
        self._command = list(command)
        self._max_pages = max_pages
        self._time_limit_s = time_limit_s
        self._memory_limit = memory_limit
        self._process: subprocess.Popen[bytes] | None = None
        self._room = 0
        self._is_stopped = False
        self._owner = 0  # a forked copy of us must not use our pipes
        self._lock = threading.Lock()

    def read(self, data: bytes, path: str) -> PdfAnswer:
        """Return the text of a PDF.

        Args:
            data: the file.
            path: for messages.

        Raises:
            InputError: `format` or `limit`.
            BackendError: the process cannot be started.
            Cancelled: `stop` was called, or somebody else asked the process to end.
        """
        with self._lock:
            self._is_stopped = False
            answer = self._ask(data, path)
        error = answer.get("error")
        if error == "limit":
            raise _limit(path, f"has {answer['pages']:,} pages, the limit is {self._max_pages:,}")
        if error == "memory":
            raise self._out_of_memory(path)
        if error == "password":
            message = f"{path} is encrypted; save a copy without a password"
            raise InputError(message, "format")
        if error is not None:
            message = f"{path} is no whole PDF: PDFium cannot open it; download or save it again"
            raise InputError(message, "format")
        bookmarks = [Bookmark(*each) for each in answer["bookmarks"]]  # type: ignore[attr-defined]
        return PdfAnswer(answer["pages"], answer["properties"], bookmarks)  # type: ignore[arg-type]  # from JSON

    def stop(self) -> None:
        """End a reading in another thread, or the one that this signal handler interrupts."""
        process = self._process
        if process is not None and self._lock.locked():
            self._is_stopped = True
            process.kill()

    def close(self) -> None:
        """End the process; harmless when there is none."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                _close_quietly(stream)

    def _ask(self, data: bytes, path: str) -> dict[str, object]:
        process = self._running(len(data))
        assert process.stdin is not None
        assert process.stdout is not None
        is_late = threading.Event()

        def end() -> None:
            is_late.set()
            process.kill()

        timer = threading.Timer(self._time_limit_s, end)
        timer.daemon = True
        timer.start()
        try:
            process.stdin.write(HEAD.pack(len(data), self._max_pages, int(self._time_limit_s) + 5))
            process.stdin.write(data)
            process.stdin.flush()
            answer = _read_exactly(process.stdout, LENGTH.unpack(_head(process.stdout))[0])
        except (OSError, EOFError):
            code = process.wait()
            self.close()
            raise self._failure(path, code, is_late=is_late.is_set()) from None
        except BaseException:  # the caller was interrupted: the pipe is out of step
            self.close()
            raise
        finally:
            timer.cancel()
        found: dict[str, object] = json.loads(answer)
        return found

    def _running(self, size: int) -> "subprocess.Popen[bytes]":
        """Return the process; another one if this one has died or lacks room for the file."""
        if self._owner != os.getpid():
            self._process = None
        process = self._process
        if process is not None and process.poll() is None and size <= self._room:
            return process
        self.close()
        self._owner = os.getpid()
        self._room = max(self._room, size, 16 << 20)
        limit = self._memory_limit + 2 * self._room  # the request, and PDFium's view of it
        try:
            self._process = subprocess.Popen(
                [*self._command, str(limit)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_environment(),
                start_new_session=True,  # Ctrl-C is for us
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError as error:
            raise BackendError(
                f"the process that reads PDFs cannot be started: {self._command[0]}: {error}"
            ) from error
        return self._process

    def _failure(self, path: str, code: int, *, is_late: bool) -> Exception:
        if self._is_stopped:
            return Cancelled(f"the run was cancelled while {path} was read")
        if is_late:
            return _limit(path, f"took more than {self._time_limit_s:g} s to read")
        if code == OUT_OF_MEMORY or code in (-signal.SIGABRT, -getattr(signal, "SIGKILL", 9)):
            return self._out_of_memory(path)
        if code in _ASKED_TO_END:
            return Cancelled("the process that reads PDFs was asked to end; start again")
        return InputError(
            f"{path} is damaged: PDFium ended with code {code} on it; open it in a viewer and "
            "print it to a new PDF",
            "format",
        )

    def _out_of_memory(self, path: str) -> InputError:
        return _limit(path, f"needs more than {self._memory_limit >> 20:,} MiB to read")


@cache
def pdf_process() -> PdfProcess:
    """Return the process that all readers share."""
    if is_frozen():
        command = [sys.executable, PDF_WORKER]
    else:
        # -P: the current folder must not be searched for modules.
        command = [sys.executable, "-P", str(Path(__file__).with_name("pdf_worker.py"))]
    process = PdfProcess(command)
    atexit.register(process.close)
    return process


def stop_reading() -> None:
    """End the reading of a PDF that is going on in this process, if any; it raises Cancelled."""
    if pdf_process.cache_info().currsize:
        pdf_process().stop()


def _environment() -> dict[str, str]:
    """Return our environment; the other process finds modules where we find them."""
    found = [each for each in sys.path if each and os.path.isabs(each)]
    return dict(os.environ) | {"PYTHONPATH": os.pathsep.join(found)}


def _head(stream: IO[bytes]) -> bytes:
    return _read_exactly(stream, LENGTH.size)


def _read_exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise EOFError
    return data


def _close_quietly(stream: IO[bytes]) -> None:
    try:
        stream.close()
    except OSError:  # what was not written is lost with the process
        return


def _limit(path: str, what: str) -> InputError:
    message = f"{path} {what}; split it, or leave it out with --exclude"
    return InputError(message, "limit")
