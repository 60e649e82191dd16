"""A new file takes its name only when it is whole."""

import os
import sys
from pathlib import Path

import pytest

from embedge.models.durable import PRIVATE, new_file


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("many_writers", [True, False])
def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path, many_writers: bool) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with new_file(path, many_writers=many_writers) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("many_writers", [True, False])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_exception_leaves_what_was_there(
    tmp_path: Path, many_writers: bool, error: type[BaseException]
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail() -> None:
        with new_file(path, many_writers=many_writers) as temporary:
            temporary.write_bytes(b"ne")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_what_a_killed_writer_left_is_cleared_away_where_only_one_writes(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    kept = new_file(path, many_writers=False)
    kept.__enter__().write_bytes(b"half")
    assert names(tmp_path) == [".a.zip.partial"]  # as a killed process would leave it
    with new_file(path, many_writers=False) as temporary:
        assert temporary.read_bytes() == b""
        temporary.write_bytes(b"whole")
    assert names(tmp_path) == ["a.zip"]


def test_many_writers_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    with new_file(path) as first, new_file(path) as second:
        assert first != second
        first.write_bytes(b"1")
        second.write_bytes(b"2")
    assert path.read_bytes() == b"1"  # left last


@pytest.mark.skipif(sys.platform == "win32", reason="no permission bits")
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o377])
def test_a_private_file_is_private_and_readable_whatever_the_umask(
    tmp_path: Path, umask: int
) -> None:
    before = os.umask(umask)
    try:
        with new_file(tmp_path / "a", mode=PRIVATE) as temporary:
            assert temporary.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
