"""What a task is, and what a configuration scores on it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Kind = Literal["retrieval", "bitext", "sts"]
KINDS: tuple[Kind, ...] = ("retrieval", "bitext", "sts")

Role = Literal["query", "document", "bitext", "sts"]
"""What a text is in its task; decides its prefix."""

MAIN_MEASURE: Mapping[Kind, str] = {
    "retrieval": "nDCG@10", "bitext": "accuracy", "sts": "Spearman"
}  # fmt: skip


class Encode(Protocol):
    """Gives unit vectors (texts, dim), float32, in the order of the texts."""

    def __call__(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class Outcome:
    """What one configuration scores on one task.

    Attributes:
        n_items: queries, sentence pairs; what the bootstrap resamples.
        measures: values from 0 to 1 (Spearman from -1), the main measure first.
        samples: (RESAMPLES,) the main measure on each bootstrap resample of the items; two
            configurations see the same resamples, so their difference is paired.
    """

    n_items: int
    measures: Mapping[str, float]
    samples: NDArray[np.float64]


class Task(Protocol):
    """One line of the table. Reads its files when asked, and keeps nothing in memory."""

    @property
    def name(self) -> str:
        """Path below the folder given by the user, without the file's suffix."""
        ...

    @property
    def group(self) -> str:
        """Tasks of one group are averaged: one data set in several languages."""
        ...

    @property
    def kind(self) -> Kind: ...

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages as the file names give them; two for cross-lingual tasks."""
        ...

    def texts(self) -> Iterator[tuple[Role, str]]:
        """Yield every text that `evaluate` will ask vectors for."""
        ...

    def evaluate(self, encode: Encode) -> Outcome: ...
