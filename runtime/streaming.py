"""Texts in blocks: bounded memory however many there are, results in input order."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedge.models.errors import BackendError, TextTooLong
from embedge.runtime.cancel import CancelToken
from embedge.runtime.encode_options import EncodeSettings
from embedge.runtime.encoding import Prepared, TextEncoder
from embedge.runtime.precision import convert
from embedge.runtime.progress import ProgressMeter
from embedge.runtime.results import Embedded, TextInfo

if TYPE_CHECKING:
    from embedge.runtime.chunking import Chunk
    from embedge.runtime.results import Vectors

# Texts are sorted by length inside a block: this many full batches leave little padding.
_BLOCK_BATCHES = 32
# Many short texts: bounds the ids, texts and vectors that a block holds.
_BLOCK_TEXTS = 4096
# Read ahead for the tokenizer: enough to be cheap, little against a block.
_GROUP_TEXTS = 256
_GROUP_CHARS = 200_000


@dataclass(frozen=True)
class _Item:
    """A text or chunk with its ids, before the graph."""

    index: int
    prepared: Prepared
    chunk: "Chunk | None"


def encode_all(
    encoder: TextEncoder,
    texts: Sequence[str],
    settings: EncodeSettings,
    meter: ProgressMeter,
    cancel: CancelToken | None,
) -> tuple["Vectors", list[TextInfo]]:
    """Embed a list into one array (texts, dim); memory beyond it does not grow with the list."""
    import numpy as np

    empty = convert(
        np.empty((0, settings.dim), dtype=np.float32), settings.precision, settings.ranges
    )
    vectors: Vectors = np.empty((len(texts), empty.shape[1]), dtype=empty.dtype)
    info: list[TextInfo] = []
    with meter.running():
        for block, values in _blocks(encoder, texts, settings, meter, cancel or CancelToken()):
            start = len(info)
            vectors[start : start + len(block)] = values
            info += [item.prepared.info for item in block]
    return vectors, info


def stream_all(
    encoder: TextEncoder,
    texts: Iterable[str],
    settings: EncodeSettings,
    meter: ProgressMeter,
    cancel: CancelToken | None,
) -> Iterator[Embedded]:
    """Yield one result per text, or per chunk with `long_text="chunk"`."""
    with meter.running():
        for block, values in _blocks(encoder, texts, settings, meter, cancel or CancelToken()):
            for item, vector in zip(block, values, strict=True):
                # A copy: keeping one result must not keep the block.
                yield Embedded(item.index, vector.copy(), item.prepared.info, item.chunk)


def _blocks(
    encoder: TextEncoder,
    texts: Iterable[str],
    settings: EncodeSettings,
    meter: ProgressMeter,
    cancel: CancelToken,
) -> Iterator[tuple[list[_Item], "Vectors"]]:
    block: list[_Item] = []
    tokens = 0
    for item in _items(encoder, texts, settings, cancel):
        block.append(item)
        tokens += item.prepared.info.n_tokens
        if tokens >= _BLOCK_BATCHES * settings.batch_tokens or len(block) >= _BLOCK_TEXTS:
            yield block, _run_block(encoder, block, settings, meter, cancel)
            block, tokens = [], 0
    if block:
        yield block, _run_block(encoder, block, settings, meter, cancel)


def _items(
    encoder: TextEncoder, texts: Iterable[str], settings: EncodeSettings, cancel: CancelToken
) -> Iterator[_Item]:
    for index, text in enumerate(_learned(encoder, texts)):
        cancel.raise_if_cancelled()
        if settings.long_text == "chunk":
            for chunk in encoder.chunk(text, settings):
                yield _Item(index, encoder.prepare(chunk.text, settings), chunk)
            continue
        try:
            yield _Item(index, encoder.prepare(text, settings), None)
        except TextTooLong as error:
            raise TextTooLong(f"text {index}: {error}") from None


def _learned(encoder: TextEncoder, texts: Iterable[str]) -> Iterator[str]:
    """Pass texts on in groups that the tokenizer has prepared for."""
    group: list[str] = []
    size = 0
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"text {index} is {type(text).__name__}, expected str")
        group.append(text)
        size += len(text)
        if len(group) >= _GROUP_TEXTS or size >= _GROUP_CHARS:
            encoder.learn(group)
            yield from group
            group, size = [], 0
    encoder.learn(group)
    yield from group


def _run_block(
    encoder: TextEncoder,
    block: list[_Item],
    settings: EncodeSettings,
    meter: ProgressMeter,
    cancel: CancelToken,
) -> "Vectors":
    left = sum(item.prepared.info.n_tokens for item in block)
    mean = left / len(block)
    beyond = (
        None if meter.chunks_total is None else meter.chunks_total - meter.chunks_done - len(block)
    )

    def on_batch(texts: int, tokens: int) -> None:
        nonlocal left
        left -= tokens
        remaining = None if beyond is None else left + int(max(0, beyond) * mean)
        meter.advance(chunks=texts, tokens=tokens, tokens_left=remaining)

    prepared = [item.prepared for item in block]
    try:
        vectors = encoder.run(prepared, settings, cancel, on_batch)
    except BackendError as error:
        where = f"texts {block[0].index} to {block[-1].index}"
        raise BackendError(f"{where}: {error}") from error
    return convert(vectors, settings.precision, settings.ranges)
