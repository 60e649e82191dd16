"""Open one model at a time and embed the texts of all tasks, block by block."""

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from embedge.models.bundle import TOKENIZER_NAME, WEIGHTS_NAME
from embedge.models.errors import InvalidOption
from embedge.models.manifest import Manifest, read_manifest
from embedge.models.store import cache_dir as user_cache_dir
from embedge.models.store import find_model
from embedge.runtime.cancel import CancelToken
from embedge.runtime.embedder import Embedder
from embedge.runtime.engine import load_onnxruntime
from embedge.runtime.loading import check_variant
from embedge.runtime.progress import ProgressCallback, ProgressEvent, ProgressMeter
from embedge.runtime.quality.cache import VectorCache
from embedge.runtime.quality.encoding import EncodeChoices, Encoding
from embedge.runtime.quality.task import Role, Task

# A block is embedded and stored at once: what a killed run loses at most.
_BLOCK_TEXTS, _BLOCK_CHARACTERS = 512, 1 << 18

AUTO = "auto"


@dataclass(frozen=True)
class Choice:
    """A model's bundle and the variant of it to run (`auto`: the one for this CPU)."""

    name: str
    folder: Path
    variant: str


def choose(models: Sequence[str], variants: Sequence[str], cache_dir: Path | None) -> list[Choice]:
    """Pair every model with those of the variants that it holds.

    Raises:
        ModelNotFound: a model is not on this machine.
        InvalidOption: a model holds none of the variants, or a variant is in no model.
    """
    if not variants:
        return [Choice(m, find_model(m, cache_dir=cache_dir), AUTO) for m in models]
    wanted = [check_variant(variant) for variant in variants]
    found: list[Choice] = []
    for model in models:
        # A name of the store has one bundle per precision; a folder is always itself.
        places = {v: find_model(model, cache_dir=cache_dir, variant=v) for v in wanted}
        held = [v for v in wanted if v in read_manifest(places[v]).variants()]
        if not held:
            raise InvalidOption(
                f"{model} holds {', '.join(read_manifest(places[wanted[0]]).variants())}, none of "
                f"--variants {','.join(wanted)}"
            )
        found += [Choice(model, places[variant], variant) for variant in held]
    unused = [v for v in wanted if v not in {choice.variant for choice in found}]
    if unused:
        raise InvalidOption(f"no model given holds {', '.join(unused)}; leave it out of --variants")
    return found


@contextlib.contextmanager
def opened(
    choice: Choice,
    choices: EncodeChoices,
    *,
    threads: int | None,
    cache_dir: Path | None,
    keep: bool,
) -> Iterator[Encoding]:
    """Open model and vector cache; without `keep` the cache is a temporary file."""
    with contextlib.ExitStack() as stack:
        embedder = stack.enter_context(
            Embedder(choice.folder, variant=choice.variant, threads=threads, cache_dir=cache_dir)
        )
        if keep:
            folder = (cache_dir or user_cache_dir()) / "eval"
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="embedge-eval-")))
        cache = VectorCache(folder / f"{_build(embedder)}.sqlite", embedder.dim)
        stack.callback(cache.close)
        yield Encoding(embedder, cache, choices)


def _build(embedder: Embedder) -> str:
    """Name the space and the files that compute it.

    A space survives a faster graph or a new ONNX Runtime, whose vectors agree to about 1e-4. A
    measurement must not: it would report the old build's numbers.
    """
    loaded = embedder.loaded
    manifest: Manifest = loaded.bundle.manifest
    graph = manifest.graph(loaded.variant, embedder.dim).file
    parts = [manifest.files[name].sha256 for name in (graph, WEIGHTS_NAME, TOKENIZER_NAME)]
    parts.append(str(load_onnxruntime().__version__))
    digest = hashlib.sha256("\n".join(parts).encode("ascii")).hexdigest()
    return f"{embedder.space.fingerprint}-{digest[:8]}"


def embed_tasks(
    encoding: Encoding,
    tasks: Sequence[Task],
    *,
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
) -> Iterator[Task]:
    """Yield each task once all its vectors are stored.

    Raises:
        Cancelled: `cancel` was used.
    """
    work = _Work.of(encoding, tasks)
    meter = ProgressMeter(
        progress,
        space=encoding.space(encoding.dim).fingerprint,
        files_total=len(tasks),
        chunks_total=work.texts,
    )
    with meter.running():
        for task in tasks:
            for block in _blocks(task.texts()):
                if cancel is not None:
                    cancel.raise_if_cancelled()
                _embed_block(encoding, block, meter, task, work, cancel)
            yield task
            meter.advance(files=1, path=task.name, tokens_left=work.tokens_left())


@dataclass
class _Work:
    """What is to embed, to tell the time left: characters, and the tokens they have made so far."""

    texts: int = 0
    characters_left: int = 0
    characters_done: int = 0
    tokens_done: int = 0

    @classmethod
    def of(cls, encoding: Encoding, tasks: Sequence[Task]) -> "_Work":
        work = cls()
        for task in tasks:
            for block in _blocks(task.texts()):
                work.texts += len(block)
                work.characters_left += _characters(encoding, block)
        return work

    def finish(self, characters: int, tokens: int) -> None:
        self.characters_left = max(0, self.characters_left - characters)
        self.characters_done += characters
        self.tokens_done += tokens

    def tokens_left(self, tokens_of_this_block: int = 0) -> int:
        per_character = self.tokens_done / max(1, self.characters_done)
        return max(0, round(self.characters_left * per_character) - tokens_of_this_block)


def _characters(encoding: Encoding, block: Sequence[tuple[Role, str]]) -> int:
    return sum(len(text) for _, text in encoding.missing(block).values())


def _embed_block(
    encoding: Encoding,
    block: Sequence[tuple[Role, str]],
    meter: ProgressMeter,
    task: Task,
    work: _Work,
    cancel: CancelToken | None,
) -> None:
    characters = _characters(encoding, block)
    last = ProgressEvent(event="start", run="")
    tokens = 0

    def count(event: ProgressEvent) -> None:
        nonlocal last, tokens
        if event.event == "start":  # one run per prefix in the block
            last = event
        fresh = event.tokens_done - last.tokens_done
        tokens += fresh
        meter.advance(
            chunks=event.chunks_done - last.chunks_done,
            tokens=fresh,
            path=task.name,
            tokens_left=work.tokens_left(tokens),
        )
        last = event

    embedded = encoding.fill(block, progress=count, cancel=cancel)
    work.finish(characters, tokens)
    reused = len(block) - embedded
    meter.advance(chunks=reused, reused=reused, path=task.name, tokens_left=work.tokens_left())


def _blocks(texts: Iterator[tuple[Role, str]]) -> Iterator[list[tuple[Role, str]]]:
    block: list[tuple[Role, str]] = []
    characters = 0
    for item in texts:
        block.append(item)
        characters += len(item[1])
        if len(block) == _BLOCK_TEXTS or characters >= _BLOCK_CHARACTERS:
            yield block
            block, characters = [], 0
    if block:
        yield block
