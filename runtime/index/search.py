"""From a query to hits: both lists, fused by rank, equal texts as one."""

import sqlite3
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from embedge.models.errors import InvalidOption
from embedge.runtime.ignore_files import compile_patterns
from embedge.runtime.index.fusion import fuse
from embedge.runtime.index.live import LIVE_CHUNKS
from embedge.runtime.index.reading import shown_path
from embedge.runtime.index.results import MODES, Explanation, Hit, Mode, Place
from embedge.runtime.index.rows import CollectionRow, SpaceRow, find_collections
from embedge.runtime.index.snippets import make_snippet
from embedge.runtime.index.space_models import CollectionModelMissing, SpaceModels
from embedge.runtime.index.targets import remembered_bundle
from embedge.runtime.index.text_search import Terms, TextMatch, search_text
from embedge.runtime.index.vector_search import (
    CANDIDATES,
    VectorMatch,
    VectorSearch,
    cosines_of,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PER_HIT = 10
_WITHOUT_LIMIT = 1 << 20


@dataclass(frozen=True, kw_only=True)
class SearchRequest:
    """The arguments of `Index.search`."""

    query: str
    limit: int | None = 10
    mode: Mode = "hybrid"
    collections: Sequence[str] | None = None
    min_score: float | None = None
    path: str | None = None
    explain: bool = False

    def check(self) -> None:
        """Refuse what cannot work.

        Raises:
            InvalidOption: an unknown mode, or a limit below 1.
        """
        if self.mode not in MODES:
            raise InvalidOption(f"mode {self.mode!r} is unknown; choose {', '.join(MODES)}")
        if self.limit is not None and self.limit < 1:
            raise InvalidOption(f"limit {self.limit} is below 1")

    @property
    def list_length(self) -> int:
        """Length of each list: candidates for `limit` hits."""
        if self.limit is None:  # with a floor every vector counts, without one the lists do
            return CANDIDATES if self.min_score is None else _WITHOUT_LIMIT
        return max(CANDIDATES, _PER_HIT * self.limit)


@dataclass
class _Found:
    """Both lists, by key of the text."""

    vector_lists: list[list[VectorMatch]] = field(default_factory=list)
    text_list: list[TextMatch] = field(default_factory=list)
    cosines: dict[bytes, float] = field(default_factory=dict)
    queries: "list[tuple[SpaceRow, NDArray[np.float32]]]" = field(default_factory=list)


def search(
    connection: sqlite3.Connection,
    models: SpaceModels,
    vectors: VectorSearch,
    request: SearchRequest,
) -> list[Hit]:
    """Find passages; see `Index.search`."""
    request.check()
    collections = find_collections(connection, request.collections)
    ids = [each.id for each in collections]
    terms = Terms.of(request.query)
    paths = _files_that_match(connection, ids, request.path)
    if not ids or not request.query.strip() or paths == []:
        return []
    found = _Found()
    if request.mode != "text" or request.min_score is not None:
        for space, group in _by_space(collections).items():
            query = _embed(connection, models, space, group, request)
            if query is not None:
                found.queries.append((space, query))
            if query is not None and request.mode != "text":
                members = [each.id for each in group]
                found.vector_lists.append(
                    vectors.search(
                        connection, space, query, members, request.list_length, paths=paths
                    )
                )
    if request.mode != "vector":
        found.text_list = search_text(
            connection, terms, ids, request.list_length, only_files=paths is not None
        )
    _fill_cosines(connection, found)
    return list(_hits(connection, found, collections, request, terms))


def _by_space(collections: Sequence[CollectionRow]) -> Mapping[SpaceRow, list[CollectionRow]]:
    groups: dict[SpaceRow, list[CollectionRow]] = {}
    for each in collections:
        groups.setdefault(each.space, []).append(each)
    return groups


def _embed(
    connection: sqlite3.Connection,
    models: SpaceModels,
    space: SpaceRow,
    group: Sequence[CollectionRow],
    request: SearchRequest,
) -> "NDArray[np.float32] | None":
    """Return the query's vector in a space; None where only words can help."""
    import numpy as np

    name = group[0].name
    try:
        embedder = models.for_space(space, name, remembered_bundle(connection, space))
    except CollectionModelMissing as error:
        if request.mode == "vector" or request.min_score is not None:
            raise
        warnings.warn(f"searching by words only: {error}", stacklevel=4)
        return None
    vector = embedder.encode(request.query, task="query", own_prefix=False)
    return vector.astype(np.float32, copy=False)


def _files_that_match(
    connection: sqlite3.Connection, collections: Sequence[int], pattern: str | None
) -> list[int] | None:
    """Return the files that a pattern selects, also as the table `wanted_files`; None: all."""
    if pattern is None:
        return None
    compiled = compile_patterns([pattern.removeprefix("/") or pattern], "--path")
    marks = ",".join("?" * len(collections))
    rows = connection.execute(
        "SELECT DISTINCT f.id, r.path, f.rel_path FROM collection_files cf"
        " JOIN files f ON f.id = cf.file_id JOIN roots r ON r.id = f.root_id"
        f" WHERE cf.collection_id IN ({marks})",
        list(collections),
    )
    found = [
        file_id
        for file_id, root, rel_path in rows
        if compiled.matches_within(rel_path)
        or compiled.matches_within(shown_path(root, rel_path).lstrip("/"))
    ]
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS wanted_files(id INTEGER PRIMARY KEY)")
    connection.execute("DELETE FROM temp.wanted_files")
    connection.executemany(
        "INSERT INTO temp.wanted_files VALUES(?)", [(file_id,) for file_id in found]
    )
    return found


def _fill_cosines(connection: sqlite3.Connection, found: _Found) -> None:
    for matches in found.vector_lists:
        for match in matches:
            found.cosines.setdefault(match.key, match.cosine)
    for space, query in found.queries:
        rest = [m.key for m in found.text_list if m.key not in found.cosines]
        for start in range(0, len(rest), 10_000):
            some = cosines_of(connection, space, query, rest[start : start + 10_000])
            found.cosines.update(some)


def _hits(
    connection: sqlite3.Connection,
    found: _Found,
    collections: Sequence[CollectionRow],
    request: SearchRequest,
    terms: Terms,
) -> Iterator[Hit]:
    text_keys = list(dict.fromkeys(match.key for match in found.text_list))
    lists = [[match.key for match in matches] for matches in found.vector_lists]
    order = {match.key: match.chunk_id for match in reversed(found.text_list)}
    ranked = fuse([*lists, text_keys], found.cosines, order)
    why = _Reasons(found, text_keys, terms) if request.explain else None
    rank = 0
    for key, score in ranked:
        cosine = round(found.cosines[key], 6) if key in found.cosines else None
        if request.min_score is not None and (cosine is None or cosine < request.min_score):
            continue
        places = _places(connection, key, collections, only_files=request.path is not None)
        if not places:
            continue
        rank += 1
        yield _hit(
            places, rank, score, cosine, terms, why.explain(key) if why is not None else None
        )
        if rank == request.limit:
            return


@dataclass(frozen=True)
class _Row:
    """One place of a text."""

    collection: str
    space: str
    root: str
    root_state: str
    rel_path: str
    seq: int
    char_start: int
    char_end: int
    line_start: int | None
    line_end: int | None
    page: int | None
    heading: str | None
    text: str
    overlap_chars: int


def _places(
    connection: sqlite3.Connection,
    key: bytes,
    collections: Sequence[CollectionRow],
    *,
    only_files: bool,
) -> list[_Row]:
    """Return where a text stands in the collections, in their order, then by path."""
    marks = ",".join("?" * len(collections))
    wanted = " AND f.id IN (SELECT id FROM temp.wanted_files)" if only_files else ""
    rows = connection.execute(
        "SELECT co.name, s.fingerprint, r.path, r.state, f.rel_path, c.seq, c.char_start,"
        " c.char_end, c.line_start, c.line_end, c.page, c.heading, c.text, c.overlap_chars"
        f" FROM {LIVE_CHUNKS} AND c.text_sha256 = ? JOIN roots r ON r.id = f.root_id"
        f" JOIN spaces s ON s.id = co.space_id WHERE co.id IN ({marks}){wanted}"
        " ORDER BY r.path, f.rel_path, c.seq",
        (key, *(each.id for each in collections)),
    )
    rank = {each.name: number for number, each in enumerate(collections)}
    return sorted((_Row(*row) for row in rows), key=lambda row: rank[row.collection])


def _hit(
    places: Sequence[_Row],
    rank: int,
    score: float,
    cosine: float | None,
    terms: Terms,
    explain: Explanation | None,
) -> Hit:
    first = places[0]
    return Hit(
        rank=rank,
        score=round(score, 6),
        cosine=cosine,
        collection=first.collection,
        path=shown_path(first.root, first.rel_path),
        chunk=first.seq,
        char_start=first.char_start,
        char_end=first.char_end,
        line_start=first.line_start,
        line_end=first.line_end,
        page=first.page,
        heading=first.heading,
        text=first.text,
        snippet=make_snippet(first.text, list(terms), max(0, first.overlap_chars)),
        available=first.root_state == "online",
        space=first.space,
        also_in=tuple(
            Place(row.collection, shown_path(row.root, row.rel_path), row.seq) for row in places[1:]
        ),
        explain=explain,
    )


class _Reasons:
    """Looks up why a text was found."""

    def __init__(self, found: _Found, text_keys: Sequence[bytes], terms: Terms) -> None:
        self._vector: dict[bytes, tuple[int, float]] = {}
        for matches in found.vector_lists:
            for rank, match in enumerate(matches, start=1):
                if rank < self._vector.get(match.key, (rank + 1, 0.0))[0]:
                    self._vector[match.key] = (rank, match.coarse)
        self._text = {key: rank for rank, key in enumerate(text_keys, start=1)}
        self._bm25 = {match.key: match.bm25 for match in reversed(found.text_list)}
        self._terms = tuple(terms)

    def explain(self, key: bytes) -> Explanation:
        rank, coarse = self._vector.get(key, (None, None))
        bm25 = self._bm25.get(key)
        return Explanation(
            rank_vector=rank,
            rank_text=self._text.get(key),
            coarse=None if coarse is None else round(coarse, 6),
            bm25=None if bm25 is None else round(bm25, 4),
            terms=self._terms,
        )
