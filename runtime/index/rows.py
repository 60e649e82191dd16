"""Rows that everything else refers to: spaces, chunkers, collections, roots."""

import json
import sqlite3
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from embedge.models.errors import InvalidOption
from embedge.models.space import canonical_json
from embedge.runtime.index.connection import now_ms

if TYPE_CHECKING:
    from embedge.models.manifest import Manifest
    from embedge.models.space import Space
    from embedge.runtime.chunking import ChunkerSpec

RootState = Literal["online", "offline", "removed"]

_COARSE_DIM = 256


@dataclass(frozen=True)
class SpaceRow:
    """One embedding space; see `spaces` in schema.sql."""

    id: int
    fingerprint: str
    identity_json: str
    model: str
    revision: str
    variant: str
    dim: int
    coarse_dim: int
    generation: int

    @property
    def digest(self) -> str:
        """The compared part of the fingerprint."""
        return self.fingerprint.rpartition("-")[2]

    @property
    def identity(self) -> Mapping[str, object]:
        """What was hashed, as a dictionary."""
        identity = json.loads(self.identity_json)
        assert isinstance(identity, dict)
        return identity


@dataclass(frozen=True)
class ChunkerRow:
    """One way to cut; see `chunkers` in schema.sql."""

    id: int
    fingerprint: str
    spec_json: str

    @property
    def spec(self) -> Mapping[str, object]:
        """The options as a dictionary."""
        spec = json.loads(self.spec_json)
        assert isinstance(spec, dict)
        return spec


@dataclass(frozen=True)
class CollectionRow:
    """One collection with the set it is searched by."""

    id: int
    name: str
    space: SpaceRow
    chunker: ChunkerRow
    start_update_ms: int | None
    last_update_ms: int | None


@dataclass(frozen=True)
class RootRow:
    """One folder; `path` is absolute, as the user gave it."""

    id: int
    path: str
    volume_id: str | None
    state: RootState
    last_seen_ms: int | None


@dataclass(frozen=True)
class Selection:
    """Which files of a root a collection takes, stored with the pair of both.

    `max_file_size` (bytes) and `encoding` concern the reading of a file, which collections share:
    the largest limit and the first named encoding hold.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    gitignore: bool = True
    hidden: bool = False
    follow_symlinks: bool = False
    max_file_size: int | None = None
    encoding: str | None = None

    def to_json(self) -> tuple[str | None, str | None]:
        """Return `include_json` and `exclude_json`; None for what is left at its default."""
        fields = asdict(self)
        fields["include"] = list(self.include)
        exclude = list(fields.pop("exclude"))
        defaults = asdict(Selection()) | {"include": []}
        changed = {name: value for name, value in fields.items() if value != defaults[name]}
        return (
            canonical_json(changed) if changed else None,
            canonical_json(exclude) if exclude else None,
        )

    @classmethod
    def from_json(cls, include_json: str | None, exclude_json: str | None) -> "Selection":
        """Read what `to_json` wrote."""
        fields = json.loads(include_json) if include_json else {}
        fields["include"] = tuple(fields.get("include", ()))
        return cls(exclude=tuple(json.loads(exclude_json) if exclude_json else ()), **fields)


def coarse_dim(dim: int, trained: Sequence[int]) -> int:
    """Return the width of coarse vectors: 256 if trained, else the next smaller trained size."""
    fitting = [size for size in trained if size <= min(dim, _COARSE_DIM)]
    return max(fitting, default=dim)


def ensure_space(connection: sqlite3.Connection, space: "Space", manifest: "Manifest") -> SpaceRow:
    """Return the row of a space, made if it is new."""
    found = find_space(connection, space.fingerprint)
    if found is not None:
        return found
    identity = canonical_json(asdict(space.identity))
    width = coarse_dim(space.identity.dim, manifest.matryoshka)
    connection.execute(
        "INSERT INTO spaces(fingerprint, identity_json, model, revision, variant, dim, coarse_dim,"
        " created_ms) VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
        (
            space.fingerprint, identity, manifest.name, manifest.revision,
            space.identity.variant, space.identity.dim, width, now_ms(),
        ),
    )  # fmt: skip
    made = find_space(connection, space.fingerprint)
    assert made is not None
    return made


def find_space(connection: sqlite3.Connection, fingerprint: str) -> SpaceRow | None:
    """Return the space whose hash is that of `fingerprint`; the name before it is for people."""
    digest = fingerprint.rpartition("-")[2]
    row = connection.execute(
        f"SELECT {_SPACE} FROM spaces s WHERE s.fingerprint LIKE '%-' || ?", (digest,)
    ).fetchone()
    return None if row is None else SpaceRow(*row)


def space_by_id(connection: sqlite3.Connection, space_id: int) -> SpaceRow:
    """Return one space."""
    row = connection.execute(f"SELECT {_SPACE} FROM spaces s WHERE s.id = ?", (space_id,))
    return SpaceRow(*row.fetchone())


def all_spaces(connection: sqlite3.Connection) -> list[SpaceRow]:
    """Return every space that was ever used here."""
    rows = connection.execute(f"SELECT {_SPACE} FROM spaces s ORDER BY s.id")
    return [SpaceRow(*row) for row in rows]


def ensure_chunker(connection: sqlite3.Connection, spec: "ChunkerSpec") -> ChunkerRow:
    """Return the row of a way to cut, made if it is new."""
    return ensure_chunker_json(connection, spec.fingerprint, spec.canonical_json())


def ensure_chunker_json(
    connection: sqlite3.Connection, fingerprint: str, spec_json: str
) -> ChunkerRow:
    """Return the row of any chunker, made if it is new."""
    connection.execute(
        "INSERT INTO chunkers(fingerprint, spec_json) VALUES(?, ?) ON CONFLICT DO NOTHING",
        (fingerprint, spec_json),
    )
    row = connection.execute(
        "SELECT id, fingerprint, spec_json FROM chunkers WHERE fingerprint = ?", (fingerprint,)
    )
    return ChunkerRow(*row.fetchone())


def chunker_by_id(connection: sqlite3.Connection, chunker_id: int) -> ChunkerRow:
    """Return one chunker."""
    row = connection.execute(
        "SELECT id, fingerprint, spec_json FROM chunkers WHERE id = ?", (chunker_id,)
    )
    return ChunkerRow(*row.fetchone())


def make_collection(
    connection: sqlite3.Connection, name: str, space: SpaceRow, chunker: ChunkerRow
) -> CollectionRow:
    """Make a collection.

    Raises:
        InvalidOption: the name is empty or taken.
    """
    if not name.strip():
        raise InvalidOption("a collection needs a name; give one with -C NAME")
    if not is_unicode(name):
        raise InvalidOption(f"{name!r} is not valid Unicode; choose another name with -C NAME")
    try:
        connection.execute(
            "INSERT INTO collections(name, space_id, chunker_id) VALUES(?, ?, ?)",
            (name, space.id, chunker.id),
        )
    except sqlite3.IntegrityError:
        raise InvalidOption(
            f"there is a collection {name!r} already; choose another name"
        ) from None
    return find_collections(connection, [name])[0]


def find_collections(
    connection: sqlite3.Connection, names: Sequence[str] | None = None
) -> list[CollectionRow]:
    """Return collections by name, in the order of `names`; all of them without.

    Raises:
        InvalidOption: there is no such collection; names those that are there.
    """
    rows = connection.execute(
        f"SELECT co.id, co.name, {_SPACE}, k.id, k.fingerprint, k.spec_json, co.start_update_ms,"
        " co.last_update_ms FROM collections co JOIN spaces s ON s.id = co.space_id"
        " JOIN chunkers k ON k.id = co.chunker_id ORDER BY co.name"
    )
    found = {
        row[1]: CollectionRow(
            row[0], row[1], SpaceRow(*row[2:11]), ChunkerRow(*row[11:14]), row[14], row[15]
        )
        for row in rows
    }
    if names is None:
        return list(found.values())
    unknown = [name for name in names if name not in found]
    if unknown:
        raise InvalidOption(
            f"there is no collection {', '.join(map(repr, unknown))}; "
            f"here are {', '.join(found) or 'none'}"
        )
    return [found[name] for name in dict.fromkeys(names)]


def free_name(name: str, taken: Container[str]) -> str:
    """Return a name for a collection: this one, with a number if it is taken."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name} ({number})"
    return free


def is_unicode(text: str) -> bool:
    """Tell whether a text can be stored: names of files may hold bytes that are no characters."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def ensure_root(connection: sqlite3.Connection, path: str) -> RootRow:
    """Return the root of an absolute path, made if it is new, revived if it was removed.

    Raises:
        InvalidOption: the path is not valid Unicode.
    """
    if not is_unicode(path):
        raise InvalidOption(f"{path!r}: the name of the folder is not valid Unicode; rename it")
    connection.execute(
        "INSERT INTO roots(path) VALUES(?) ON CONFLICT(path) DO UPDATE SET state = 'online'"
        " WHERE state = 'removed'",
        (path,),
    )
    row = connection.execute(f"SELECT {_ROOT} FROM roots r WHERE r.path = ?", (path,))
    return RootRow(*row.fetchone())


def all_roots(connection: sqlite3.Connection) -> list[RootRow]:
    """Return every folder that any collection takes files of, or once took."""
    return [RootRow(*row) for row in connection.execute(f"SELECT {_ROOT} FROM roots r")]


def link_root(
    connection: sqlite3.Connection, collection_id: int, root_id: int, selection: Selection
) -> None:
    """Make a collection take files of a root; a changed selection replaces the old one."""
    include, exclude = selection.to_json()
    connection.execute(
        "INSERT INTO collection_roots VALUES(?, ?, ?, ?) ON CONFLICT(collection_id, root_id)"
        " DO UPDATE SET include_json = excluded.include_json, exclude_json = excluded.exclude_json",
        (collection_id, root_id, include, exclude),
    )


def roots_of(connection: sqlite3.Connection, collection_id: int) -> list[tuple[RootRow, Selection]]:
    """Return the folders of a collection with what it takes of each."""
    rows = connection.execute(
        f"SELECT {_ROOT}, cr.include_json, cr.exclude_json FROM collection_roots cr"
        " JOIN roots r ON r.id = cr.root_id WHERE cr.collection_id = ? ORDER BY r.path",
        (collection_id,),
    )
    return [(RootRow(*row[:5]), Selection.from_json(*row[5:])) for row in rows]


_SPACE = (
    "s.id, s.fingerprint, s.identity_json, s.model, s.revision, s.variant, s.dim, s.coarse_dim,"
    " s.generation"
)
_ROOT = "r.id, r.path, r.volume_id, r.state, r.last_seen_ms"
