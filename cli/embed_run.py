"""The loop behind `embed text` and `embed files`: inputs to records, in order, in flat memory."""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from embedge.cli.embed_options import EmbedOptions
from embedge.cli.records import (
    Blocks,
    FailedInput,
    Fields,
    Input,
    Record,
    TextInput,
    failure_record,
)

if TYPE_CHECKING:
    from embedge.runtime.cancel import CancelToken
    from embedge.runtime.embedder import Embedder
    from embedge.runtime.progress import ProgressCallback
    from embedge.runtime.results import Embedded


def embed_inputs(
    embedder: "Embedder",
    inputs: Iterable[Input],
    options: EmbedOptions,
    *,
    tail: Fields,
    store_text: bool,
    cancel: "CancelToken",
    progress: "ProgressCallback | None" = None,
) -> Iterator[Record]:
    """Yield one record per input, in the order of the inputs.

    Args:
        embedder: computes the vectors.
        inputs: read as far ahead as the embedder needs to fill its batches, never further.
        options: checked flags.
        tail: last fields of every record: dim, precision, space, and `metadata` if given.
        store_text: add the text.
        cancel: ends the run; records of finished blocks have been yielded before.
        progress: called between batches, as `Embedder.stream` does.

    Raises:
        Cancelled: `cancel` was used.
    """
    if options.long_text == "error":
        inputs = map(_LengthCheck(embedder, options), inputs)
    for block in _blocks(inputs, options.texts_per_block):
        waiting: deque[Input] = deque()
        own_prefix, texts = _texts(block, waiting)
        for result in _stream(embedder, texts, options, own_prefix, cancel, progress):
            while isinstance(one := waiting.popleft(), FailedInput):
                yield failure_record(one)
            yield _record(one, result, tail, store_text=store_text)
        for one in waiting:
            assert isinstance(one, FailedInput)
            yield failure_record(one)


def _blocks(inputs: Iterable[Input], texts_per_block: int) -> Iterator[Iterator[Input]]:
    """Yield blocks of whole inputs with one rule about prefixes; each is to be read to its end.

    A block ends without a look at the input behind it, which may not be there for hours.
    """
    source, counter = iter(inputs), Blocks(texts_per_block)
    ahead = next(source, None)

    def block(one: Input) -> Iterator[Input]:
        nonlocal ahead
        own_prefix = one.own_prefix
        while one.own_prefix == own_prefix:
            yield one
            if counter.count(has_vector=isinstance(one, TextInput), last=one.last):
                return
            following = next(source, None)
            if following is None:
                return
            one = following
        ahead = one

    while ahead is not None:
        first, ahead = ahead, None
        yield block(first)
        if ahead is None:
            ahead = next(source, None)


def until_first_failure(inputs: Iterable[Input]) -> Iterator[Input]:
    """Yield inputs up to and with the first one that failed."""
    for one in inputs:
        yield one
        if isinstance(one, FailedInput):
            return


class _LengthCheck:
    """Turn texts over the limit into failed inputs, so that one of them ends no stream."""

    def __init__(self, embedder: "Embedder", options: EmbedOptions) -> None:
        self._embedder, self._options = embedder, options
        self._limit = options.max_tokens or embedder.max_tokens

    def __call__(self, one: Input) -> Input:
        if isinstance(one, FailedInput):
            return one
        options = self._options
        if options.prefix is None:
            count = self._embedder.count_tokens(one.text, task=options.task)
        else:
            count = self._embedder.count_tokens(options.prefix + one.text, task="none")
        if count <= self._limit:
            return one
        name, path = str(one.fields["id"]), one.fields.get("path")
        message = (
            f"{path or name}: {count} tokens, the limit is {self._limit}; use --long-text mean"
        )
        return FailedInput(name, None if path is None else str(path), "too_long", message)


def _texts(inputs: Iterator[Input], waiting: deque[Input]) -> tuple[bool, Iterator[str]]:
    """Return the rule about prefixes and the texts; every input that was read waits in order."""
    first = next(inputs)

    def texts() -> Iterator[str]:
        for one in itertools.chain([first], inputs):
            waiting.append(one)
            if isinstance(one, TextInput):
                yield one.text

    return first.own_prefix, texts()


def _stream(
    embedder: "Embedder",
    texts: Iterator[str],
    options: EmbedOptions,
    own_prefix: bool,
    cancel: "CancelToken",
    progress: "ProgressCallback | None",
) -> "Iterator[Embedded]":
    return embedder.stream(
        texts,
        task=None if options.prefix is not None else options.task,
        prefix=options.prefix,
        own_prefix=own_prefix,
        precision=options.precision,
        normalize=options.normalize,
        # Chunks are cut before they come here; should one be too long, nothing of it is lost.
        long_text="mean" if options.long_text == "chunk" else options.long_text,
        max_tokens=options.max_tokens,
        overlap=None if options.long_text == "chunk" else options.overlap,
        batch_size=options.batch_size,
        batch_tokens=options.batch_tokens,
        cancel=cancel,
        progress=progress,
    )


def _record(one: TextInput, result: "Embedded", tail: Fields, *, store_text: bool) -> Record:
    info = result.info
    fields = dict(one.fields) | {"n_tokens": info.n_tokens, "truncated": info.truncated}
    if info.n_windows > 1:
        fields["n_windows"] = info.n_windows
    fields["task"] = info.task
    fields |= tail
    if store_text:
        fields["text"] = one.text
    return Record(fields, result.vector, last=one.last, size=one.size)
