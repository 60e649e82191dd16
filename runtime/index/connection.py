"""Connections to the index file: made private, one schema version, foreign keys, WAL.

The file holds people's texts, so it is created with mode 0600 whatever the umask; SQLite gives
its `-wal` and `-shm` files the same mode.
"""

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from embedge.models.errors import IndexDamaged, InvalidOption
from embedge.models.places import data_dir
from embedge.runtime.index.grams import GRAMS_VERSION, embed_grams
from embedge.runtime.index.meta import read_meta, write_meta

APPLICATION_ID = 0x656D6264
"""`embd`, in the header of every index."""

SCHEMA_VERSION = 1
MIGRATIONS: Mapping[int, str] = {}
"""Statements that lead from a schema version to the next one."""

FILE_NAME = "index.db"
_BUSY_MS = 5000
_TOOL, _GRAMS = "tool_version", "grams"  # keys of `meta`
_LEAST_SQLITE = (3, 37, 0)  # STRICT tables


def default_path() -> Path:
    """Return where the user's index lies; `EMBED_DB` overrides it.

    Raises:
        InvalidOption: the system names no home folder.
    """
    chosen = os.environ.get("EMBED_DB")
    return Path(chosen).expanduser().absolute() if chosen else data_dir() / FILE_NAME


def now_ms() -> int:
    """Return milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def connect_writer(path: Path) -> sqlite3.Connection:
    """Open the index for writing; a missing or empty file gets the schema, an old one the new.

    The caller holds the writer's lock (`locking.py`).

    Raises:
        IndexDamaged: the file is no index, is damaged, or comes from a newer version.
        OSError: it cannot be created.
    """
    make_private_folder(path.parent)
    make_private_file(path)
    _require_sqlite()
    address = f"file:{quote(str(path.absolute()))}"  # as an address, so that ATTACH takes others
    connection = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
    try:
        with damage_named(path):
            _prepare_writer(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    """Open an existing index for reading only; also while another process writes.

    A folder that cannot be written is no obstacle.

    Raises:
        IndexDamaged: the file is no index, is damaged, or comes from a newer version.
        FileNotFoundError: there is none.
    """
    if not path.is_file():
        raise FileNotFoundError(2, "there is no index here", str(path))
    address = f"file:{quote(str(path.absolute()))}?mode=ro"
    frozen = not os.access(path.parent, os.W_OK) and not path.with_name(path.name + "-wal").exists()
    if frozen:  # without its -shm file SQLite reads only what is declared unchanging
        address += "&immutable=1"
    try:
        connection = sqlite3.connect(
            address, uri=True, isolation_level=None, check_same_thread=False
        )
    except sqlite3.Error as error:
        raise IndexDamaged(f"{path} cannot be opened: {error}") from error
    try:
        with damage_named(path):
            connection.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
            _check_identity(connection, path)
            version = _version(connection)
        if version == 0:
            raise IndexDamaged(f"{path} is empty. Fill it with `embed index add FOLDER`.")
        if version < SCHEMA_VERSION:
            raise IndexDamaged(
                f"{path} has schema {version}, this version reads {SCHEMA_VERSION}. "
                "`embed index update` converts it and keeps a copy."
            )
    except BaseException:
        connection.close()
        raise
    return connection


def is_outdated(path: Path) -> bool:
    """Tell whether an existing file has an older schema, which a writer converts.

    Raises:
        IndexDamaged: the file is no index, is damaged, or comes from a newer version.
    """
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        with damage_named(path):
            connection.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
            _check_identity(connection, path)
            return 0 < _version(connection) < SCHEMA_VERSION
    finally:
        connection.close()


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Write everything in the block, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Let every query in the block see the same state, whatever a writer does meanwhile."""
    if connection.in_transaction:
        yield connection
        return
    connection.execute("BEGIN")
    try:
        yield connection
    finally:
        connection.execute("ROLLBACK")


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Turn SQLite's word for a broken file into ours.

    Raises:
        IndexDamaged: with the way out.
    """
    try:
        yield
    except sqlite3.ProgrammingError:  # a mistake of ours, not of the file
        raise
    except sqlite3.OperationalError as error:
        raise OSError(None, f"SQLite: {error}", str(path)) from error
    except sqlite3.DatabaseError as error:
        raise IndexDamaged(
            f"{path} is no readable index ({error}). Run `embed index verify`, bring back a copy, "
            "or remove the file and add the folders again."
        ) from error


def make_private_folder(folder: Path) -> None:
    """Create a folder and what is missing above it, each with mode 0700 whatever the umask."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)
        each.chmod(0o700)


def make_private_file(path: Path) -> None:
    """Create an empty file with mode 0600 whatever the umask; an existing one stays as it is."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    os.close(handle)
    path.chmod(0o600)


def uses_wal(connection: sqlite3.Connection) -> bool:
    """Tell whether readers and a writer work side by side (not on network file systems)."""
    return str(connection.execute("PRAGMA journal_mode").fetchone()[0]) == "wal"


def _prepare_writer(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
    _check_identity(connection, path)
    if _version(connection) == 0:
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
    if connection.execute("PRAGMA journal_mode=WAL").fetchone()[0] != "wal":
        connection.execute("PRAGMA journal_mode=DELETE")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.create_function("embed_grams", 1, embed_grams, deterministic=True)
    version = _version(connection)
    if version == 0:
        _create(connection)
    elif version < SCHEMA_VERSION:
        _migrate(connection, path, version)
    _refresh_grams(connection)


def _require_sqlite() -> None:
    """Refuse a Python whose SQLite is too old.

    Raises:
        InvalidOption: names both versions.
    """
    if sqlite3.sqlite_version_info < _LEAST_SQLITE:
        wanted = ".".join(map(str, _LEAST_SQLITE[:2]))
        raise InvalidOption(
            f"an index needs SQLite {wanted} or newer; this Python has {sqlite3.sqlite_version}. "
            "Use a newer Python."
        )


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _check_identity(connection: sqlite3.Connection, path: Path) -> None:
    application = int(connection.execute("PRAGMA application_id").fetchone()[0])
    n_tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if n_tables and application != APPLICATION_ID:
        raise IndexDamaged(
            f"{path} is a database of another program; name an index, or a new file, with --db"
        )
    version = _version(connection)
    if version > SCHEMA_VERSION:
        newer = read_meta(connection, _TOOL)
        writer = f"embedge {newer}" if newer else "a newer embedge"
        raise IndexDamaged(
            f"{path} has schema {version}, this version reads {SCHEMA_VERSION}. "
            f"Install {writer} or newer to use it."
        )


def _create(connection: sqlite3.Connection) -> None:
    from embedge import __version__

    schema = (files("embedge.runtime.index") / "schema.sql").read_text("utf-8")
    meta = ((_GRAMS, GRAMS_VERSION), (_TOOL, __version__), ("created_ms", str(now_ms())))
    with transaction(connection):
        for statement in _statements(schema):
            connection.execute(statement)
        for key, value in meta:
            write_meta(connection, key, value)


def _migrate(connection: sqlite3.Connection, path: Path, version: int) -> None:
    from embedge import __version__

    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    copy = path.with_name(f"{path.name}.bak-v{version}")
    copy.unlink(missing_ok=True)
    make_private_file(copy)
    shutil.copyfile(path, copy)
    with transaction(connection):
        for step in range(version, SCHEMA_VERSION):
            for statement in _statements(MIGRATIONS[step]):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        write_meta(connection, _TOOL, __version__)


def _refresh_grams(connection: sqlite3.Connection) -> None:
    """Build the table of pairs anew when their definition has changed."""
    if read_meta(connection, _GRAMS) == GRAMS_VERSION:
        return
    with transaction(connection):
        connection.execute("INSERT INTO chunks_gram(chunks_gram) VALUES('delete-all')")
        connection.execute(
            "INSERT INTO chunks_gram(rowid, grams) SELECT id, embed_grams(text) FROM chunks "
            "WHERE embed_grams(text) <> ''"
        )
        write_meta(connection, _GRAMS, GRAMS_VERSION)


def _statements(script: str) -> Iterator[str]:
    """Split a script; `executescript` would commit before it starts."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement
