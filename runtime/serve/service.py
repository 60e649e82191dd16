"""The model behind the routes: loading, tasks, the queue, clients that leave."""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from embedge.runtime.embedder import Embedder
from embedge.runtime.long_text import LongText
from embedge.runtime.serve.compute import Compute
from embedge.runtime.serve.failures import RequestError, Unavailable, stopping
from embedge.runtime.serve.job import Embeddings, Job, Work
from embedge.runtime.serve.metrics import Metrics
from embedge.runtime.serve.model_names import ModelNames
from embedge.runtime.serve.options import ServeOptions
from embedge.runtime.serve.token_listing import TokenListing

log = logging.getLogger("embedge.serve")

# The running batch has had its time when the model is freed.
_LAST_BATCH_S = 0.5

Gone = Callable[[], Awaitable[None]]
"""Returns once the client has left."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request to embed.

    Attributes:
        task: of the body, which wins over `model_task`, the one in the model's name.
        ids: token ids of each text, instead of texts.
    """

    texts: Sequence[str] = ()
    ids: Sequence[Sequence[int]] = ()
    task: str | None = None
    model_task: str | None = None
    dim: int | None = None
    long_text: LongText = "mean"
    normalize: bool = True
    keep_end: bool = False


class Service:
    """One loaded model and its queue; until it is loaded every call is Unavailable."""

    def __init__(self, options: ServeOptions, metrics: Metrics) -> None:
        self.options = options
        self.metrics = metrics
        self.failure: BaseException | None = None
        self._loading: threading.Thread | None = None
        self._embedder: Embedder | None = None
        self._compute: Compute | None = None
        self._names: ModelNames | None = None
        self._listing: TokenListing | None = None
        self._is_stopping = False
        self._has_warned = False

    def start(self, open_model: Callable[[], Embedder], failed: Callable[[], None]) -> None:
        """Load the model in a thread of its own; `failed` is called there if that fails."""

        def load() -> None:
            try:
                self.use(open_model())
            except BaseException as error:  # raised again by the caller of the server
                self.failure = error
                failed()

        self._loading = threading.Thread(target=load, name="embedge-load", daemon=True)
        self._loading.start()

    def use(self, embedder: Embedder) -> None:
        """Serve this model; one that comes after `stop` is closed at once."""
        if self._is_stopping:
            embedder.close()
            return
        loaded = embedder.loaded
        budget = loaded.options.batch_tokens
        own = [embedder.model, *(["bundled"] if _is_bundled(embedder) else [])]
        self._names = ModelNames([*self.options.served_model_names, *own])
        self._compute = Compute(
            loaded.encoder,
            n_special=loaded.tokens.n_special,
            budget_tokens=self.options.max_batch_tokens or budget,
            max_texts=self.options.max_batch_texts,
            max_jobs=self.options.max_concurrent_requests,
            max_wait_s=self.options.request_timeout_s,
            on_batch=self.metrics.count_batch,
        )
        self._embedder = embedder
        self.metrics.ready.set(1)
        log.info(
            "ready: %s %s, %d dimensions, space %s",
            embedder.model, embedder.variant, embedder.dim, embedder.space.fingerprint,
        )  # fmt: skip

    def require_ready(self) -> None:
        """Refuse new work before the model is loaded and once the server stops.

        Raises:
            Unavailable: either.
        """
        if self._is_stopping:
            raise stopping()
        _ = self.embedder

    @property
    def embedder(self) -> Embedder:
        """The model.

        Raises:
            Unavailable: not loaded yet.
        """
        if self._embedder is None:
            raise Unavailable("the model is loading; try again in a moment")
        return self._embedder

    @property
    def names(self) -> ModelNames:
        """What clients may call the model; raises as `embedder`."""
        _ = self.embedder
        assert self._names is not None
        return self._names

    @property
    def listing(self) -> TokenListing:
        """The tokenizer for `/tokenize` and `/decode`; raises as `embedder`."""
        if self._listing is None:
            self._listing = TokenListing(self.embedder.loaded.bundle.tokenizer_path)
        return self._listing

    @property
    def waiting_tokens(self) -> int:
        """Tokens in the queue."""
        return 0 if self._compute is None else self._compute.waiting_tokens

    async def embed(self, call: Call, gone: Gone) -> Embeddings:
        """Queue a call and await its vectors.

        Raises:
            Overloaded: too much waits.
            Unavailable: loading, stopping, or no progress within the timeout.
            RequestError: the client has left.
            InvalidOption, TextTooLong, BackendError: as `Embedder.encode`.
        """
        self.require_ready()
        embedder = self.embedder
        task = call.task or call.model_task
        settings = embedder.loaded.options.settings(
            task=task or self.options.default_task,
            dim=call.dim,
            long_text=call.long_text,
            normalize=call.normalize,
        )
        work = Work(settings=settings, texts=call.texts, ids=call.ids, keep_end=call.keep_end)
        result = await self._run(work, gone)
        if task is None:
            self._count_missing_prefixes(result)
        return result

    async def _run(self, work: Work, gone: Gone) -> Embeddings:
        assert self._compute is not None
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def finished(job: Job) -> None:
            # A closed loop means that nobody is left to tell.
            if not loop.is_closed():
                loop.call_soon_threadsafe(ended.set)

        job = Job(work, finished)
        self._compute.submit(job)
        waiting = asyncio.ensure_future(ended.wait())
        leaving = asyncio.ensure_future(gone())
        try:
            await self._wait(job, waiting, leaving)
        finally:
            waiting.cancel()
            leaving.cancel()
            if not job.has_ended:
                self._compute.drop(job)
        if job.error is not None:
            raise job.error
        if job.result is None:
            raise RequestError(499, "client_gone", "the client closed the connection")
        return job.result

    async def _wait(
        self, job: Job, waiting: "asyncio.Future[Any]", leaving: "asyncio.Future[Any]"
    ) -> None:
        """Return when the job has ended or the client has left."""
        limit = self.options.request_timeout_s
        while not waiting.done() and not leaving.done():
            left = job.progressed_at + limit - time.monotonic()
            if left <= 0:
                raise Unavailable(f"the request waited longer than {limit:g} s; try again later")
            await asyncio.wait(
                {waiting, leaving}, timeout=left, return_when=asyncio.FIRST_COMPLETED
            )

    def _count_missing_prefixes(self, result: Embeddings) -> None:
        missing = sum(each.prefix == "none" for each in result.info)
        if not missing:
            return
        self.metrics.missing_prefix.inc(missing)
        if not self._has_warned:
            self._has_warned = True
            log.warning(
                "texts came without task or prefix; results are better with a model name that "
                "ends in :query or :document, a field task, or --default-task"
            )

    def stop(self) -> None:
        """Refuse new calls, let the running batch end, fail what waits. Returns at once."""
        self._is_stopping = True
        self.metrics.ready.set(0)
        if self._compute is not None:
            self._compute.stop()

    def close(self) -> None:
        """Free the model after `stop`; one that still loads is waited for."""
        if self._loading is not None:
            self._loading.join(self.options.stop_timeout_s)
        if self._compute is not None:
            self._compute.join(_LAST_BATCH_S)
        if self._embedder is not None:
            self._embedder.close()

    def raise_failure(self) -> None:
        """Raise what kept the model from loading."""
        if self.failure is not None:
            raise self.failure


def _is_bundled(embedder: Embedder) -> bool:
    from embedge.models.store import bundled_bundles

    return embedder.loaded.bundle.path in bundled_bundles().values()
