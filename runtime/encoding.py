"""From texts to vectors: prefix, tokens, windows, batches, graph, cut, unit length.

The vector of a text is computed from its own rows only, by the same operations in every batch, so
batch-mates, order, padding, threads and token budget cannot change it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedge.models.errors import BackendError
from embedge.runtime.batching import pad_batch, plan_batches
from embedge.runtime.cancel import CancelToken
from embedge.runtime.encode_options import EncodeSettings
from embedge.runtime.engine import Engine
from embedge.runtime.long_text import LongText, lay_out
from embedge.runtime.results import TextInfo
from embedge.runtime.tasks import Prompt, Prompts
from embedge.runtime.tokens import Tokens

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embedge.runtime.chunking import Chunk

# Called after every batch with the number of texts and of tokens that it finished.
OnBatch = Callable[[int, int], None]


@dataclass(frozen=True)
class Prepared:
    """One text ready for the graph: `windows` are ids without special tokens."""

    windows: list["NDArray[np.int32]"]
    info: TextInfo


class TextEncoder:
    """A tokenizer, a prompt table and a graph, joined."""

    def __init__(self, engine: Engine, tokens: Tokens, prompts: Prompts) -> None:
        self._engine = engine
        self._tokens = tokens
        self._prompts = prompts
        self._prefix_ids: dict[str, NDArray[np.int32]] = {}

    def prepare(self, text: str, settings: EncodeSettings, *, keep_end: bool = False) -> Prepared:
        """Tokenize one text and split it if it is too long.

        Args:
            text: as the caller gave it.
            settings: of the run.
            keep_end: `truncate` keeps the last tokens instead of the first.

        Raises:
            TextTooLong: `long_text="error"` and it is.
            InvalidOption: the prefix leaves too little room.
        """
        prompt, rest = settings.prompt, text
        if settings.own_prefix:
            prompt, rest = self._prompts.split_own(text, prompt)
        is_cut = settings.long_text == "truncate" and not keep_end
        most = settings.limits.max_tokens if is_cut else None
        prefix, body, has_text = self._tokenize(rest, prompt, settings, most)
        # A chunk has been measured already; should it still be too long, nothing is lost.
        mode: LongText = "mean" if settings.long_text == "chunk" else settings.long_text
        windows, truncated = lay_out(prefix, body, settings.limits, mode, keep_end=keep_end)
        return self._prepared(windows, truncated, prompt, empty=not has_text)

    def prepare_ids(self, ids: "NDArray[np.int32]", settings: EncodeSettings) -> Prepared:
        """Do as `prepare` with a text that comes as ids of this tokenizer, without special tokens.

        Raises:
            TextTooLong: as in `prepare`.
        """
        prompt = settings.prompt
        prefix = self.prefix_tokens(prompt.prefix)
        windows, truncated = lay_out(prefix, ids, settings.limits, settings.long_text)
        return self._prepared(windows, truncated, prompt, empty=len(ids) == 0)

    def _prepared(
        self,
        windows: list["NDArray[np.int32]"],
        truncated: bool,
        prompt: Prompt,
        *,
        empty: bool,
    ) -> Prepared:
        info = TextInfo(
            n_tokens=sum(len(window) + self._tokens.n_special for window in windows),
            truncated=truncated,
            n_windows=len(windows),
            empty=empty,
            prefix=prompt.source,
            task=prompt.task,
        )
        return Prepared(windows, info)

    def learn(self, texts: Iterable[str]) -> None:
        """Let the tokenizer prepare for many texts at once."""
        self._tokens.learn(texts)

    def count(self, text: str, prompt: Prompt) -> int:
        """Return the tokens of `text` with its prefix and special tokens, uncut."""
        prompt, rest = self._prompts.split_own(text, prompt)
        return self._tokens.count(prompt.prefix + rest) + self._tokens.n_special

    def chunk(self, text: str, settings: EncodeSettings, *, kind: str = "text") -> "list[Chunk]":
        """Split a text into passages that fit beside the prefix of the settings."""
        from embedge.runtime.chunking import chunk_text

        limits = settings.limits
        room = limits.room(len(self.prefix_tokens(settings.prompt.prefix)))
        return chunk_text(text, self._tokens, max_tokens=room, overlap=limits.overlap, kind=kind)

    def prefix_tokens(self, prefix: str) -> "NDArray[np.int32]":
        """Return the ids of a prefix."""
        if prefix not in self._prefix_ids:
            self._prefix_ids[prefix] = self._tokens.ids(prefix)
        return self._prefix_ids[prefix]

    def _tokenize(
        self, text: str, prompt: Prompt, settings: EncodeSettings, most: int | None
    ) -> tuple["NDArray[np.int32]", "NDArray[np.int32]", bool]:
        """Return the ids of the prefix, those of the text (`most` suffice), and if it has any."""
        import numpy as np

        prefix = self.prefix_tokens(prompt.prefix)
        joint = self._tokens.ids(prompt.prefix + text, most=most)
        if np.array_equal(joint[: len(prefix)], prefix):
            return prefix, joint[len(prefix) :], len(joint) > len(prefix)
        # A custom prefix without a final space grows together with the first word.
        if len(joint) <= settings.limits.room(0):
            return prefix[:0], joint, True
        return prefix, self._tokens.ids(text, most=most), True

    def run(
        self,
        texts: Sequence[Prepared],
        settings: EncodeSettings,
        cancel: CancelToken,
        on_batch: OnBatch,
    ) -> "NDArray[np.float32]":
        """Compute the vectors of prepared texts, (texts, dim), before `precision`.

        Raises:
            Cancelled: before the next batch, or inside the running one.
            BackendError: the graph failed or gave a vector that is not finite.
        """
        import numpy as np

        owner = [index for index, text in enumerate(texts) for _ in text.windows]
        pieces = [window for text in texts for window in text.windows]
        missing = [len(text.windows) for text in texts]
        pooled = np.empty((len(pieces), settings.dim), dtype=np.float32)
        lengths = [len(piece) + self._tokens.n_special for piece in pieces]
        for batch in plan_batches(
            lengths, budget_tokens=settings.batch_tokens, max_texts=settings.batch_size
        ):
            cancel.raise_if_cancelled()
            pooled[batch] = self.pool([pieces[row] for row in batch], cancel)[:, : settings.dim]
            _require_finite(pooled[batch], [owner[row] for row in batch])
            for row in batch:
                missing[owner[row]] -= 1
            finished = sum(missing[index] == 0 for index in {owner[row] for row in batch})
            on_batch(finished, sum(lengths[row] for row in batch))
        return join_windows(pooled, [len(text.windows) for text in texts], settings.normalize)

    def pool(
        self, windows: "Sequence[NDArray[np.int32]]", cancel: CancelToken
    ) -> "NDArray[np.float32]":
        """Run one batch and return the means before cut and unit length, (windows, hidden).

        Always the mean, never the graph's own cut: every graph of a variant then gives the same
        bits at the same size.

        Raises:
            Cancelled: inside the batch.
            BackendError: the graph failed.
        """
        ids, mask = pad_batch(windows, self._tokens)
        return self._engine.run(ids, mask, cancel)[1]


def join_windows(
    pooled: "NDArray[np.float32]", counts: Sequence[int], normalize: bool
) -> "NDArray[np.float32]":
    """Average the unit vectors of each text's windows and give the mean unit length again.

    `pooled` (windows, dim) holds the windows of all texts in order, `counts` how many each has.

    Without `normalize` a vector keeps the length of its pooled mean, and a text of several windows
    the mean of their lengths, so that the direction never depends on the option.
    """
    import numpy as np

    if not normalize and all(count == 1 for count in counts):
        return pooled
    norms = _norms(pooled)
    unit = pooled / norms
    if any(count != 1 for count in counts):
        starts = np.cumsum([0, *counts[:-1]])
        # Means one by one: the sum of a text must not depend on its neighbours.
        means = np.stack(
            [unit[s : s + n].mean(axis=0) for s, n in zip(starts, counts, strict=True)]
        )
        lengths = np.array(
            [[norms[s : s + n].mean()] for s, n in zip(starts, counts, strict=True)],
            dtype=np.float32,
        )
        single = np.array(counts)[:, None] == 1
        unit = np.where(single, unit[starts], means / _norms(means))
        pooled = np.where(single, pooled[starts], unit * lengths)
    return unit if normalize else pooled


def _norms(vectors: "NDArray[np.float32]") -> "NDArray[np.float32]":
    """Return the L2 norm of each row, (rows, 1); the sum runs along one row at a time."""
    import numpy as np

    norms: NDArray[np.float32] = np.sqrt((vectors * vectors).sum(axis=1, keepdims=True))
    return norms


def usable_rows(vectors: "NDArray[np.float32]") -> "NDArray[np.bool_]":
    """Say which vectors (rows, dim) are finite and not all zeros, (rows,)."""
    import numpy as np

    usable: NDArray[np.bool_] = np.isfinite(vectors).all(axis=1) & (vectors != 0).any(axis=1)
    return usable


def _require_finite(vectors: "NDArray[np.float32]", owners: Sequence[int]) -> None:
    import numpy as np

    good = usable_rows(vectors)
    if not good.all():
        bad = sorted({owners[row] for row in np.flatnonzero(~good).tolist()})
        raise BackendError(
            f"the model gave a vector with NaN, infinity or only zeros for text {bad[0]} of the "
            f"block. Check the model with `embed models verify` and `embed doctor --verify`."
        )
