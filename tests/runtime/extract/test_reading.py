import errno
import io
import os
import sys
import threading
from pathlib import Path

import pytest

from embedge.models.errors import InputError
from embedge.runtime.extract import extract, extract_found, reader
from embedge.runtime.walk import FoundFile, walk


def failure(*arguments: object, **options: object) -> InputError:
    with pytest.raises(InputError) as caught:
        extract(*arguments, **options)
    return caught.value


def test_a_file_is_read_and_spelled_as_its_record(tmp_path):
    file = tmp_path / "a.md"
    file.write_bytes(b"# A\n")
    assert extract(file).title == "A"
    assert "docs/a.md" in str(failure(tmp_path / "none", path="docs/a.md"))


def test_absence_is_not_found_or_vanished(tmp_path):
    assert failure(tmp_path / "none").code == "not_found"
    assert failure(tmp_path / "none", was_listed=True).code == "vanished"
    assert failure(tmp_path / ("x" * 300)).code == "not_found"
    assert failure(Path("nul\0byte")).code == "not_found"


def test_a_folder_is_no_file(tmp_path):
    assert failure(tmp_path).code == "is_directory"


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.EACCES, "permission"), (errno.EPERM, "permission"), (errno.EIO, "vanished"),
     (errno.ESTALE, "vanished"), (errno.ELOOP, "not_found")],
)  # fmt: skip
def test_refusals_of_the_system_have_their_code(tmp_path, monkeypatch, number, code):
    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "open", refuse)
    error = failure(tmp_path / "a.txt")
    assert error.code == code
    assert os.strerror(number) in str(error)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_a_permission_error(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("x")
    file.chmod(0)
    assert failure(file).code == "permission"


def test_the_size_limit_is_inclusive_and_names_its_flag(tmp_path):
    file = tmp_path / "a.txt"
    file.write_bytes(b"x" * 100)
    assert extract(file, max_file_size=100).text == "x" * 100
    for source in (file, b"x" * 100):
        error = failure(source, max_file_size=99)
        assert error.code == "too_large"
        assert "--max-file-size" in str(error)


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path, monkeypatch):
    file = tmp_path / "a.txt"
    file.write_bytes(b"x" * 100)
    real = reader._read_stream

    def grow(stream: io.FileIO, shown: str, limit: int) -> bytes:
        data = real(stream, shown, limit)
        with file.open("ab") as more:
            more.write(b"y")
        return data

    monkeypatch.setattr(reader, "_read_stream", grow)
    assert failure(file).code == "changed_while_reading"


def test_a_read_that_fails_half_way_is_an_error_record(tmp_path, monkeypatch):
    file = tmp_path / "a.txt"
    file.write_bytes(b"x")

    def fail(*_arguments: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(reader, "_read_stream", fail)
    assert failure(file).code == "vanished"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_is_read_to_its_end(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"from a pipe",), daemon=True)
    writer.start()
    assert extract(pipe).text == "from a pipe"
    writer.join()


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no endless device on this system")
def test_an_endless_device_is_read_to_the_limit():
    assert failure(Path("/dev/zero"), max_file_size=1 << 20).code == "too_large"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
def test_files_that_report_no_size_are_read(tmp_path):
    assert "Pid:" in extract(Path("/proc/self/status")).text


def test_standard_input_is_plain_text(monkeypatch):
    class Stdin:
        buffer = io.BytesIO(b'{"a": 1}')

    monkeypatch.setattr(sys, "stdin", Stdin())
    (found,) = walk(["-"])
    assert isinstance(found, FoundFile)
    document = extract_found(found)
    assert (document.text, document.kind) == ('{"a": 1}', "text")


def test_a_found_file_that_is_gone_has_vanished(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    (found,) = walk([str(tmp_path)])
    (tmp_path / "a.txt").unlink()
    with pytest.raises(InputError) as caught:
        extract_found(found)
    assert caught.value.code == "vanished"
