"""Where bytes go: whole files, sidecars, closed pipes, terminals, full disks."""

import hashlib
import json
import os
import resource
import stat
import subprocess
import sys
import time

import pytest


def test_a_file_appears_whole_with_its_manifest(embed, tmp_path):
    (tmp_path / "a.txt").write_text("hello")
    done = embed("a.txt", "-o", "out.jsonl")
    assert done.code == 0
    assert done.stdout == b""
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "a.txt", "out.jsonl", "out.jsonl.manifest.json",
    ]  # fmt: skip
    manifest = json.loads((tmp_path / "out.jsonl.manifest.json").read_text())
    assert set(manifest) == {
        "format", "tool", "command", "space", "options", "machine", "start", "end", "inputs",
        "counts", "failures", "output",
    }  # fmt: skip
    data = (tmp_path / "out.jsonl").read_bytes()
    assert manifest["output"] == {
        "file": "out.jsonl", "size": len(data), "sha256": hashlib.sha256(data).hexdigest(),
    }  # fmt: skip
    assert manifest["inputs"] == [
        {"path": "a.txt", "size": 5, "sha256": hashlib.sha256(b"hello").hexdigest()}
    ]
    assert manifest["command"] == ["a.txt", "-o", "out.jsonl"]
    assert manifest["space"]["fingerprint"] == json.loads(data)["space"]
    assert manifest["counts"]["vectors"] == 1


def test_a_failed_run_leaves_the_old_file_alone(embed, tmp_path):
    (tmp_path / "out.npy").write_bytes(b"old")
    done = embed("text", "a", "-f", "npy", "-o", "out.npy", "--max-tokens", "2")
    assert done.code == 2
    assert (tmp_path / "out.npy").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["out.npy"]


def test_output_to_a_folder_or_below_a_missing_one_is_one_line(embed, tmp_path):
    (tmp_path / "d").mkdir()
    done = embed("text", "a", "-o", "d")
    assert (done.code, "folder" in done.error) == (1, True)
    done = embed("text", "a", "-o", "missing/out.json")
    assert (done.code, "missing: no such folder" in done.error) == (1, True)


@pytest.mark.skipif(sys.platform == "win32", reason="no lock on Windows")
def test_two_runs_do_not_write_one_file(command, environment, embed, tmp_path):
    process = subprocess.Popen(
        [*command, "text", "--lines", "-o", "out.jsonl", "--batch-size", "1"],
        stdin=subprocess.PIPE, cwd=tmp_path, env=environment,
    )  # fmt: skip
    process.stdin.write(b"row\n")
    process.stdin.flush()
    partial = tmp_path / "out.jsonl.partial"
    while not partial.exists() or not partial.stat().st_size:
        time.sleep(0.01)
    done = embed("text", "a", "-f", "jsonl", "-o", "out.jsonl")
    assert (done.code, "another run" in done.error) == (1, True)
    process.stdin.close()
    assert process.wait(60) == 0
    assert embed("text", "a", "-f", "jsonl", "-o", "out.jsonl").code == 0


def test_a_link_as_output_keeps_being_a_link(embed, tmp_path):
    (tmp_path / "link").symlink_to("real")
    assert embed("text", "a", "-o", "link").code == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").exists()


def test_dash_is_stdout(embed):
    assert embed("text", "a", "-o", "-").stdout == embed("text", "a").stdout


def test_a_closed_pipe_ends_quietly_with_0(command, environment, tmp_path):
    process = subprocess.Popen(
        [*command, "text", "--lines", "--batch-size", "1"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        cwd=tmp_path, env=environment,
    )  # fmt: skip
    process.stdin.write(b"row\n" * 2000)
    process.stdin.close()
    assert process.stdout.readline().startswith(b'{"id":"0"')
    process.stdout.close()
    assert process.wait(60) == 0
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.parametrize("arguments", [["--help"], ["text", "--help"], ["--version"]])
def test_help_into_a_closed_pipe_ends_quietly_with_0(command, environment, arguments):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*command, *arguments], stdout=writer, stderr=subprocess.PIPE, env=environment, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("format", ["npy", "npz", "blob", "parquet", "arrow"])
def test_bytes_to_a_terminal_are_refused(command, environment, tmp_path, format):
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [*command, "text", "a", "-f", format],
        stdout=theirs, stderr=subprocess.PIPE, cwd=tmp_path, env=environment, check=False,
    )  # fmt: skip
    os.close(theirs)
    os.close(ours)
    assert done.returncode == 2
    assert b"terminal" in done.stderr
    assert b"-o FILE" in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_one_line_and_1(command, environment, tmp_path):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*command, "text", "a"], stdout=full, stderr=subprocess.PIPE,
            cwd=tmp_path, env=environment, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.decode().strip() == (
        "embed: error: stdout: No space left on device. "
        "Free some space, or choose another place with -o"
    )


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("format", ["json", "npy"])
def test_a_device_is_written_directly_and_may_be_full(embed, format):
    done = embed("text", "a", "-f", format, "-o", "/dev/full")
    assert done.code == 1
    assert "/dev/full: No space left" in done.error
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


@pytest.mark.parametrize("format", ["jsonl", "npy", "npz", "parquet"])
def test_a_file_that_cannot_grow_is_one_line_and_1(command, environment, tmp_path, format):
    """A limit of the process on file sizes stands for the full disk."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    # Python 3.11 would leave a cut .pyc of whatever it compiles under the limit.
    environment = environment | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*command, "text", "--lines", "-f", format, "-o", f"out.{format}"],
        input=b"row\n" * 300, stderr=subprocess.PIPE, cwd=tmp_path, env=environment,
        preexec_fn=limit, check=False,
    )  # fmt: skip
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 1, done.stderr
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("embed: error: ")
    assert not (tmp_path / f"out.{format}").exists()
    left = sorted(p.name for p in tmp_path.iterdir())
    assert left == (["out.jsonl.partial", "out.jsonl.partial.json"] if format == "jsonl" else [])


def test_stdout_is_utf8_and_newline_whatever_the_code_page(embed_process):
    done = embed_process("text", "ü", "--store-text", "-f", "jsonl", PYTHONIOENCODING="cp1252")
    assert "ü".encode() in done.stdout
    assert done.stdout.endswith(b"\n")
    assert b"\r" not in done.stdout


@pytest.mark.parametrize("format", ["jsonl", "csv", "npy", "npz"])
def test_two_runs_give_the_same_bytes(embed, tmp_path, format):
    (tmp_path / "a.txt").write_text("word " * 900)
    first, second = (embed("a.txt", "-f", format).stdout for _ in range(2))
    assert first == second


@pytest.mark.slow
def test_vectors_of_many_rows_do_not_stay_in_memory(command, environment, tmp_path):
    """20,000 rows with vectors are about 13 MB of output; the peak must not grow with them."""
    script = (
        "import resource, sys\n"
        "from embedge.cli import run\n"
        "code = run(sys.argv[1:])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)\n"
        "sys.exit(code)\n"
    )
    peaks = []
    for rows in (500, 20_000):
        data = "".join(f"row {n}\n" for n in range(rows)).encode()
        done = subprocess.run(
            [sys.executable, "-c", script, "text", "--lines"],
            input=data, capture_output=True, cwd=tmp_path, env=environment, check=True,
        )  # fmt: skip
        assert done.stdout.count(b"\n") == rows
        peaks.append(int(done.stderr))
    assert peaks[1] - peaks[0] < 25_000  # KiB; holding the records would take far more
