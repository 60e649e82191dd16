"""What a peer of `peers.py` is: how to make it, open it, and feed it.

Rows are int64 token ids of one text each, special tokens included, without padding: every peer
gets the same and pads, or does not, as its own interface wants. Vectors are (texts, hidden),
float32, unit length.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from embedge.runtime.batching import plan_batches

Rows = Sequence[np.ndarray]
Run = Callable[[Rows], np.ndarray]
RunBatch = Callable[[np.ndarray, np.ndarray], np.ndarray]

# Padded tokens that a peer without a batcher of its own gets at once; the shapes 16x128 and 4x512
# are then one batch, as their name says.
PEER_BATCH_TOKENS = 2048
_PAD_ID = 1


@dataclass(frozen=True)
class Setup:
    """Where everything lies, and how many threads each peer may use.

    Attributes:
        int8: our int8 bundle.
        fp32: our fp32 bundle, which is also the reference for agreement.
        checkpoint: the folder that both were made from; None if there is none.
        work: folder for files that peers need, made once.
        threads: threads inside an operator.
        teacher: an fp32 bundle of a dense model of equal width, for the bundled model's peers.
    """

    int8: Path
    fp32: Path
    checkpoint: Path | None
    work: Path
    threads: int
    teacher: Path | None = None


@dataclass(frozen=True)
class Peer:
    """One contestant.

    Attributes:
        open: load it and return what embeds rows; the time of this is not measured.
        make: write the files that `open` needs below `Setup.work`, once, in a process of its own.
        package: importable name of what it needs; None where embedge's own extras are enough.
        install: what to type when the package is missing.
        same_model: its vectors have to agree with our fp32 graph; another model's cannot.
    """

    open: Callable[[Setup], Run]
    make: Callable[[Setup], object] | None = None
    package: str | None = None
    install: str = ""
    same_model: bool = True

    def missing(self) -> str | None:
        """Say how to install it where it is not installed."""
        if self.package is None or find_spec(self.package) is not None:
            return None
        return f"the package {self.package} is not installed ({self.install}), left out"


class Unavailable(Exception):
    """A peer that cannot run this model; the message says why."""


def padded(run_batch: RunBatch, budget_tokens: int = PEER_BATCH_TOKENS) -> Run:
    """Feed a peer that takes (ids, mask) in batches of similar length, longest first."""

    def run(rows: Rows) -> np.ndarray:
        vectors: list[np.ndarray] = [np.empty(0)] * len(rows)
        for batch in plan_batches([len(row) for row in rows], budget_tokens=budget_tokens):
            for place, vector in zip(batch, run_batch(*_fill(rows, batch)), strict=True):
                vectors[place] = vector
        return np.stack(vectors)

    return run


def _fill(rows: Rows, batch: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    longest = max(len(rows[place]) for place in batch)
    width = -(-longest // 4) * 4  # as the runtime does
    ids = np.full((len(batch), width), _PAD_ID, np.int64)
    mask = np.zeros((len(batch), width), np.int64)
    for line, place in enumerate(batch):
        ids[line, : len(rows[place])] = rows[place]
        mask[line, : len(rows[place])] = 1
    return ids, mask


def agreement(vectors: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Cosine of unit vectors, text by text: mean and smallest."""
    cosine = (vectors * reference).sum(1)
    return {
        "mean_cosine": round(float(cosine.mean()), 5),
        "min_cosine": round(float(cosine.min()), 5),
    }
