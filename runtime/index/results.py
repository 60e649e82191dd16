"""What the index answers: hits, plans, states, reports. All are values; nothing here is live."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

FileState = Literal["pending", "read", "skipped", "error", "missing"]
Mode = Literal["hybrid", "vector", "text"]
MODES: tuple[Mode, ...] = ("hybrid", "vector", "text")


@dataclass(frozen=True)
class Place:
    """Where else the text of a hit stands."""

    collection: str
    path: str
    chunk: int


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why a hit is where it is: ranks from 1 in either list, None where it is in none.

    Attributes:
        coarse: score of the scan over all vectors, an approximate cosine.
        bm25: as SQLite gives it; smaller is better.
        terms: what the text search looked for.
    """

    rank_vector: int | None = None
    rank_text: int | None = None
    coarse: float | None = None
    bm25: float | None = None
    terms: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Hit:
    """One passage. Equal texts are one hit; `also_in` names the other places.

    Attributes:
        rank: from 1.
        score: sum of 1 / (60 + rank) over the lists that hold it.
        cosine: with the query, or None where it is not known (text not embedded yet).
        path: absolute, `/` separated.
        chunk: number of the passage in its file, from 0.
        char_start, char_end: code points of the extracted text; -1 where they are not known.
        line_start, line_end, page: from 1, or None.
        available: the file was there when the index last looked.
        space: fingerprint of the vectors.
        snippet: a line around the words of the query.
    """

    rank: int
    score: float
    cosine: float | None
    collection: str
    path: str
    chunk: int
    char_start: int
    char_end: int
    line_start: int | None
    line_end: int | None
    page: int | None
    heading: str | None
    text: str
    snippet: str
    available: bool
    space: str
    also_in: tuple[Place, ...] = ()
    explain: Explanation | None = None

    def as_dict(self) -> dict[str, object]:
        """Return the fields as JSON readers get them; `explain` only if it was asked for."""
        fields = asdict(self)
        if self.explain is None:
            del fields["explain"]
        return fields


@dataclass(frozen=True, kw_only=True)
class CollectionPlan:
    """What an update of one collection would do.

    Attributes:
        skipped: number of files per reason.
        chunks: of the collection after the update; `to_embed` and `reused` are distinct texts.
        tokens: that the model would see.
        seconds: expected for embedding, None without a measured rate.
        bytes: expected growth of the index file.
    """

    collection: str
    model: str
    space: str
    files_new: int = 0
    files_changed: int = 0
    files_moved: int = 0
    files_missing: int = 0
    files_unchanged: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    offline_roots: tuple[str, ...] = ()
    chunks: int = 0
    to_embed: int = 0
    reused: int = 0
    tokens: int = 0
    seconds: float | None = None
    bytes: int = 0


@dataclass(frozen=True)
class Plan:
    """What an update would do; nothing was written to make it."""

    collections: tuple[CollectionPlan, ...]

    @property
    def to_embed(self) -> int:
        """Texts to embed in all collections."""
        return sum(each.to_embed for each in self.collections)

    @property
    def seconds(self) -> float | None:
        """Expected time in all collections, None where it is not known."""
        known = [each.seconds for each in self.collections if each.seconds is not None]
        return sum(known) if known else None

    @property
    def needs_consent(self) -> bool:
        """Tell whether more would be embedded than is done without asking."""
        return self.to_embed > CONSENT_CHUNKS or (self.seconds or 0) > CONSENT_SECONDS

    def as_dict(self) -> dict[str, object]:
        """Return everything as JSON readers get it."""
        return {
            "collections": [asdict(each) for each in self.collections],
            "to_embed": self.to_embed,
            "seconds": self.seconds,
            "needs_consent": self.needs_consent,
        }


CONSENT_CHUNKS = 2_000
CONSENT_SECONDS = 600.0


@dataclass(frozen=True)
class FileEntry:
    """One file of a collection; `reason` and `message` belong to `skipped` and `error`."""

    collection: str
    path: str
    state: FileState
    reason: str | None
    message: str | None
    n_chunks: int
    size: int | None
    available: bool


@dataclass(frozen=True, kw_only=True)
class RootStatus:
    """One folder; `files` counts those of the collection."""

    path: str
    state: Literal["online", "offline", "removed"]
    files: int
    last_seen_ms: int | None


@dataclass(frozen=True, kw_only=True)
class CollectionStatus:
    """One collection.

    Attributes:
        files: number per state.
        reasons: number of skipped and failed files per reason.
        pending: texts that are found by words, not yet by meaning.
        model_available: False where search by meaning is impossible; `model_problem` says why.
        moving_to: fingerprint of the space that a second set is being made for.
    """

    name: str
    model: str
    revision: str
    variant: str
    dim: int
    space: str
    chunker: str
    roots: tuple[RootStatus, ...]
    files: Mapping[str, int]
    reasons: Mapping[str, int]
    chunks: int
    pending: int
    last_update_ms: int | None
    model_available: bool
    model_problem: str | None = None
    moving_to: str | None = None


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """One run that wrote to the index."""

    kind: str
    status: str
    started_ms: int
    ended_ms: int | None
    files_done: int
    chunks_done: int
    chunks_reused: int
    tokens_done: int
    errors: int
    tokens_per_s: float | None


@dataclass(frozen=True, kw_only=True)
class IndexStatus:
    """The whole index. `recall` is the measured recall of the approximate search, where used."""

    path: str
    size_bytes: int
    schema: int
    journal: str
    vectors: int
    orphans: int
    collections: tuple[CollectionStatus, ...]
    last_run: RunStatus | None
    errors: tuple[FileEntry, ...] = ()
    recall: Mapping[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """Return everything as JSON readers get it."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class UpdateReport:
    """What a run did.

    Attributes:
        errors: files that could not be read, with their reasons in `status`.
        warnings: lines for the user.
    """

    collections: tuple[str, ...]
    files_seen: int = 0
    files_new: int = 0
    files_changed: int = 0
    files_moved: int = 0
    files_missing: int = 0
    chunks_embedded: int = 0
    chunks_reused: int = 0
    tokens: int = 0
    errors: int = 0
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    offline_roots: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class VerifyReport:
    """Problems found, in words; none when the index is sound."""

    problems: tuple[str, ...]
    vectors: int
    chunks: int
    resampled: int = 0
    lowest_cosine: float | None = None


@dataclass(frozen=True, kw_only=True)
class GcReport:
    """What was removed, or would be with `dry_run`; `bytes` counts payload, not pages."""

    dry_run: bool
    marked: int
    vectors: int
    chunks: int
    files: int
    roots: int
    bytes: int
    freed_bytes: int
