"""The forms of `encode` that fix a task or give the event loop back."""

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, Unpack, overload

from embedge.runtime.cancel import CancelToken
from embedge.runtime.encode_options import EncodeOptions
from embedge.runtime.progress import ProgressCallback
from embedge.runtime.results import EncodeResult

if TYPE_CHECKING:
    from embedge.runtime.async_runner import AsyncRunner
    from embedge.runtime.results import Vectors

Texts = str | Iterable[str]


class RunOptions(EncodeOptions, total=False):
    """Keyword arguments of `encode` besides `task` and `return_info`; see `Embedder.encode`."""

    progress: ProgressCallback | None
    cancel: CancelToken | None
    show_progress_bar: bool | None


class EncodeForms:
    """Everything that can be said in terms of `encode`."""

    def __init__(self) -> None:
        self._async: AsyncRunner | None = None
        self._async_lock = threading.Lock()

    if TYPE_CHECKING:

        @overload
        def encode(
            self,
            texts: Texts,
            *,
            return_info: Literal[True],
            task: str | None = None,
            prompt_name: str | None = None,
            **options: Unpack[RunOptions],
        ) -> EncodeResult: ...

        @overload
        def encode(
            self,
            texts: Texts,
            *,
            return_info: Literal[False] = False,
            task: str | None = None,
            prompt_name: str | None = None,
            **options: Unpack[RunOptions],
        ) -> Vectors: ...

        def encode(self, texts: Texts, **options: object) -> "Vectors | EncodeResult":
            """Defined by Embedder."""

    @overload
    def encode_query(
        self, texts: Texts, *, return_info: Literal[True], **options: Unpack[RunOptions]
    ) -> EncodeResult: ...

    @overload
    def encode_query(
        self, texts: Texts, *, return_info: Literal[False] = False, **options: Unpack[RunOptions]
    ) -> "Vectors": ...

    def encode_query(
        self, texts: Texts, *, return_info: bool = False, **options: Unpack[RunOptions]
    ) -> "Vectors | EncodeResult":
        """Embed search queries; arguments and result as `encode`."""
        if return_info:
            return self.encode(texts, task="query", return_info=True, **options)
        return self.encode(texts, task="query", **options)

    @overload
    def encode_document(
        self, texts: Texts, *, return_info: Literal[True], **options: Unpack[RunOptions]
    ) -> EncodeResult: ...

    @overload
    def encode_document(
        self, texts: Texts, *, return_info: Literal[False] = False, **options: Unpack[RunOptions]
    ) -> "Vectors": ...

    def encode_document(
        self, texts: Texts, *, return_info: bool = False, **options: Unpack[RunOptions]
    ) -> "Vectors | EncodeResult":
        """Embed documents to be searched; arguments and result as `encode`."""
        if return_info:
            return self.encode(texts, task="document", return_info=True, **options)
        return self.encode(texts, task="document", **options)

    async def aencode(
        self,
        texts: Texts,
        *,
        task: str | None = None,
        return_info: bool = False,
        prompt_name: str | None = None,
        **options: Unpack[RunOptions],
    ) -> "Vectors | EncodeResult":
        """Embed without blocking the event loop; arguments and result as `encode`.

        One worker thread serves all awaiting calls in order, and a bounded number may wait in it;
        further calls wait in the event loop. Cancelling the task cancels the run. `progress` is
        called on the worker thread.
        """
        cancel = options.pop("cancel", None) or CancelToken()
        options["cancel"] = cancel

        def call() -> "Vectors | EncodeResult":
            if return_info:
                return self.encode(
                    texts, task=task, prompt_name=prompt_name, return_info=True, **options
                )
            return self.encode(texts, task=task, prompt_name=prompt_name, **options)

        return await self._runner().run(call, cancel)

    async def aencode_query(
        self, texts: Texts, *, return_info: bool = False, **options: Unpack[RunOptions]
    ) -> "Vectors | EncodeResult":
        """Embed search queries without blocking the event loop; see `aencode`."""
        return await self.aencode(texts, task="query", return_info=return_info, **options)

    async def aencode_document(
        self, texts: Texts, *, return_info: bool = False, **options: Unpack[RunOptions]
    ) -> "Vectors | EncodeResult":
        """Embed documents without blocking the event loop; see `aencode`."""
        return await self.aencode(texts, task="document", return_info=return_info, **options)

    def _runner(self) -> "AsyncRunner":
        from embedge.runtime.async_runner import AsyncRunner

        with self._async_lock:
            if self._async is None or not self._async.is_mine:
                self._async = AsyncRunner()
            return self._async

    def _close_async(self) -> None:
        with self._async_lock:
            if self._async is not None:
                self._async.close()
            self._async = None
