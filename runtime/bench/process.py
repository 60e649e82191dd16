"""The parent's side of a worker process."""

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import cast

import embedge.models.errors as errors
from embedge.models.errors import BackendError, EmbedgeError

Json = dict[str, object]
_STOP_S = 10.0


@dataclass(frozen=True, kw_only=True)
class ContestantChoice:
    """What a worker opens, and the interpreter that runs it (another build lives in another)."""

    model: str
    variant: str = "auto"
    dim: int | None = None
    threads: int | None = None
    python: str = sys.executable

    def arguments(self) -> str:
        """Return the worker's argument."""
        options = asdict(self)
        del options["python"]
        return json.dumps(options)


class WorkerProcess:
    """A running worker; a context manager that ends it.

    Attributes:
        start_s: from the start of the process to its first vector, seconds.
        description: what the worker said about itself.
    """

    def __init__(self, choice: ContestantChoice) -> None:
        """Start the process and wait for its first vector.

        Raises:
            EmbedgeError: the model cannot be opened; the class is the worker's.
            BackendError: the process died.
        """
        begun = time.perf_counter()
        try:
            self._process = subprocess.Popen(
                [choice.python, "-m", "embedge.runtime.bench.worker", choice.arguments()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                encoding="utf-8",
            )
        except OSError as error:
            raise BackendError(f"{choice.python} cannot be started: {error.strerror}") from error
        try:
            self.description = self._answer()
        except BaseException:
            self.close()
            raise
        self.start_s = time.perf_counter() - begun

    def ask(self, do: str, **request: object) -> Json:
        """Send one request and return its answer.

        Raises:
            EmbedgeError: the worker reports an error.
            BackendError: the process died.
        """
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(json.dumps({"do": do, **request}) + "\n")
            stdin.flush()
        except OSError as error:
            raise BackendError(f"the worker process ended before {do!r}: {error}") from error
        return self._answer()

    def close(self, *, at_once: bool = False) -> None:
        """End the process; `at_once` in the middle of a measurement."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if at_once:
            self._process.kill()
        try:
            self._process.stdin.close()
            self._process.wait(_STOP_S)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> "WorkerProcess":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self.close(at_once=kind is not None)

    def _answer(self) -> Json:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise BackendError(f"the worker process ended with code {code}; its words are above")
        answer = cast(Json, json.loads(line))
        if "error" in answer:
            raise _error(str(answer["class"]), str(answer["error"]))
        return answer


def _error(name: str, message: str) -> EmbedgeError:
    kind = getattr(errors, name, EmbedgeError)
    is_ours = isinstance(kind, type) and issubclass(kind, EmbedgeError)
    return kind(message) if is_ours else EmbedgeError(message)
