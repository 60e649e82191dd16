"""ONNX Runtime, in one place: loading, session options, running, cancelling, forking.

The only module that imports onnxruntime, because telemetry must be switched off before it loads.
"""

import os
import sys
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Protocol, cast

from embedge.models.bundle import Bundle
from embedge.models.errors import BackendError, BundleError, Cancelled
from embedge.models.space import Variant
from embedge.runtime.cancel import CancelToken
from embedge.runtime.worker import Job, Worker

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TELEMETRY_SWITCH = "ORT_DISABLE_TELEMETRY"

_telemetry = "off: switched off before ONNX Runtime loads"
_onnxruntime: ModuleType | None = None


class Session(Protocol):
    """The part of `onnxruntime.InferenceSession` that embedge uses."""

    def run(
        self,
        output_names: list[str] | None,
        input_feed: Mapping[str, "NDArray[np.generic]"],
        run_options: object = None,
    ) -> list["NDArray[np.float32]"]:
        """Compute the named outputs."""


def load_onnxruntime() -> ModuleType:
    """Import onnxruntime with its telemetry off.

    ONNX Runtime reads the variable once, when it initialises, so only the first call decides. A
    host program that loaded it earlier without the variable gets the API switch too, and
    `telemetry_state` says so.
    """
    global _onnxruntime, _telemetry
    if _onnxruntime is not None:
        return _onnxruntime
    late = "onnxruntime" in sys.modules and os.environ.get(TELEMETRY_SWITCH) != "1"
    os.environ[TELEMETRY_SWITCH] = "1"
    import onnxruntime

    if late:
        onnxruntime.disable_telemetry_events()
        _telemetry = (
            f"switched off late: the host program loaded ONNX Runtime without "
            f"{TELEMETRY_SWITCH}=1, so it may have reported its start"
        )
    _onnxruntime = cast(ModuleType, onnxruntime)
    return _onnxruntime


def telemetry_state() -> str:
    """Say in one line whether ONNX Runtime's telemetry is off, and since when."""
    return _telemetry


def open_session(
    model: Path | bytes,
    *,
    threads: int,
    spinning: bool = False,
    arena: bool = True,
    optimize: bool = True,
    config: Mapping[str, str] | None = None,
    profile: Path | None = None,
) -> Session:
    """Open a graph on the CPU.

    Args:
        model: a proto with its weights beside it, or the bytes of a proto without external data.
        threads: threads inside an operator; operators run one after the other.
        spinning: let idle threads burn CPU between operators (`benchmarks/settings.py` measures
            what that buys).
        arena: reuse the buffers of activations inside ONNX Runtime. Without it the system's
            allocator holds twice as much and pages are touched anew in every batch
            (docs/memory.md).
        optimize: let ONNX Runtime rewrite the graph. Our own int8 graphs gain nothing and open a
            third faster without.
        config: further session entries, such as `{"session.disable_prepacking": "1"}`, which
            leaves fp32 weights in mapped, evictable pages.
        profile: let ONNX Runtime trace every node; start of the name of the trace's file.

    Raises:
        BackendError: ONNX Runtime refuses the graph.
    """
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = arena
    options.enable_mem_pattern = False  # plans for one shape; ours change with every batch
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    for key, value in (config or {}).items():
        options.add_session_config_entry(key, value)
    try:
        session = onnxruntime.InferenceSession(
            model if isinstance(model, bytes) else str(model),
            sess_options=options,
            providers=["CPUExecutionProvider"],
        )
    except Exception as error:  # ONNX Runtime's classes share no root of their own; chained
        where = "a graph in memory" if isinstance(model, bytes) else str(model)
        raise BackendError(f"ONNX Runtime cannot open {where}: {error}") from error
    return cast(Session, session)


class Engine:
    """One graph of a bundle, shared by all threads; runs are queued and never overlap.

    A forked child opens its own session on first use. Opening goes on in the background;
    the first `run`, or `wait`, reports its errors.
    """

    def __init__(
        self,
        bundle: Bundle,
        variant: Variant,
        dim: int,
        threads: int,
        *,
        spinning: bool = False,
        arena: bool = True,
        config: Mapping[str, str] | None = None,
    ) -> None:
        """Start to open the graph of `variant` that gives at least `dim` features."""
        self.path, self.entry = bundle.graph_path(variant, dim)
        self.threads = threads
        self._vocabulary = _vocabulary(bundle)
        self._options = {"spinning": spinning, "arena": arena}
        self._config = dict(config or {})
        # The exact mode for AVX2 is a rewrite of the graph, too; so are the standard flavor's
        # integer products, which become one operator.
        self._optimize = (
            variant == "fp32" or bool(config) or bundle.manifest.architecture.get("flavor") != "ort"
        )
        self._lock = threading.Lock()
        self._state: tuple[Worker, Job[Session]] | None = None
        self._closed = False
        _live.add(self)
        self._opened()

    def wait(self) -> None:
        """Return when the graph is open.

        Raises:
            BackendError: ONNX Runtime refuses it.
        """
        self._opened()[1].result()

    def close(self) -> None:
        """Free the graph; later runs raise BackendError."""
        with self._lock:
            self._closed = True
            if self._state is not None:
                self._state[0].stop()
            self._state = None

    def run(
        self,
        ids: "NDArray[np.int64]",
        mask: "NDArray[np.int64]",
        cancel: CancelToken | None = None,
    ) -> tuple["NDArray[np.float32]", "NDArray[np.float32]"]:
        """Compute one batch.

        Args:
            ids: (texts, tokens), special tokens included, padded.
            mask: (texts, tokens), 1 on real tokens.
            cancel: stops the run within milliseconds; the graph stays usable.

        Returns:
            `embedding` (texts, dim of the graph), unit length, and `pooled` (texts, hidden), the
            mean before cut and normalisation. The caller owns both.

        Raises:
            Cancelled: the token was used.
            BackendError: an id outside the vocabulary, or a failure of ONNX Runtime.
        """
        self._check_ids(ids)
        worker, session = self._opened()
        onnxruntime = load_onnxruntime()
        options = onnxruntime.RunOptions()
        options.log_severity_level = 4  # a cancelled run is no error worth a line on stderr
        feed = {"input_ids": ids, "attention_mask": mask}

        def terminate() -> None:
            options.terminate = True

        job = worker.submit(lambda: session.result().run(_OUTPUTS, feed, options))
        with (cancel or CancelToken()).attached(terminate):
            try:
                job.wait()
            except BaseException:  # Ctrl-C while waiting: end the batch, then go on with it
                terminate()
                job.wait()
                raise
        try:
            embedding, pooled = job.result()
        except Exception as error:
            if options.terminate:
                raise Cancelled("the run was cancelled inside a batch") from None
            raise BackendError(
                f"{self.path} failed on a batch of {ids.shape[0]} x {ids.shape[1]} tokens: {error}"
            ) from error
        return embedding, pooled

    def _opened(self) -> tuple[Worker, Job[Session]]:
        with self._lock:
            if self._closed:
                raise BackendError(f"{self.path} is closed; open a new Embedder")
            if self._state is None:
                worker = Worker()
                self._state = worker, worker.submit(self._open)
            return self._state

    def _open(self) -> Session:
        return open_session(
            self.path,
            threads=self.threads,
            spinning=self._options["spinning"],
            arena=self._options["arena"],
            optimize=self._optimize,
            config=self._config,
        )

    def _check_ids(self, ids: "NDArray[np.int64]") -> None:
        # A negative id would silently count from the end of the table.
        if ids.size and not (0 <= ids.min() and ids.max() < self._vocabulary):
            raise BackendError(
                f"token ids {ids.min()} to {ids.max()} leave the vocabulary of "
                f"{self._vocabulary} in {self.path}. Install the model again."
            )

    def _forget_parent(self) -> None:
        """In a forked child: drop the inherited session without running its destructor.

        The threads that the destructor would wait for exist only in the parent.
        """
        if self._state is not None:
            _keep_for_ever(self._state)
        self._state = None
        self._lock = threading.Lock()


_OUTPUTS = ["embedding", "pooled"]
_live: "weakref.WeakSet[Engine]" = weakref.WeakSet()


def _keep_for_ever(value: object) -> None:
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(value))


def _after_fork_in_child() -> None:
    for engine in list(_live):
        engine._forget_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _vocabulary(bundle: Bundle) -> int:
    """Return the number of rows of the word table."""
    rows = bundle.manifest.architecture.get("vocabulary")
    if not isinstance(rows, int):
        raise BundleError(
            f"{bundle.path}: architecture.vocabulary is {rows!r}, expected the number of rows of "
            f"the word table. Export the bundle again."
        )
    return rows
