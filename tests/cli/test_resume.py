"""`--resume` after kill -9 equals an undisturbed run, byte for byte."""

import json
import random
import subprocess
import time

import pytest


def _run_and_kill(command, environment, folder, arguments, size):
    """Start a run, kill it when its partial file has grown to `size` bytes; False if it ended."""
    process = subprocess.Popen(
        [*command, *arguments], cwd=folder, env=environment,
        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    partial = folder / "out.jsonl.partial"
    while process.poll() is None:
        if partial.exists() and partial.stat().st_size >= size:
            process.kill()
            break
        time.sleep(0.002)
    process.communicate()
    return process.returncode != 0


@pytest.fixture
def rows(tmp_path):
    """2,000 rows of different lengths, some broken."""
    path = tmp_path / "rows.jsonl"
    rng = random.Random(5)
    with path.open("w") as file:
        for number in range(2000):
            text = " ".join(rng.choices(["alpha", "beta", "gamma", "delta"], k=rng.randint(0, 30)))
            row = {"t": text, "n": f"row-{number}"} if number % 97 else {"n": number}
            file.write(json.dumps(row) + "\n")
    return path


BULK = ("text", "-i", "rows.jsonl", "--field", "t", "--id-field", "n", "-o", "out.jsonl")


@pytest.mark.slow
def test_twenty_kills_of_a_bulk_run_change_no_byte(command, environment, embed, tmp_path, rows):
    assert embed(*BULK).code == 3
    undisturbed = (tmp_path / "out.jsonl").read_bytes()
    (tmp_path / "out.jsonl").unlink()
    rng = random.Random(1)
    size, kills = 0, 0
    arguments = [*BULK, "--resume"]
    while kills < 20 and size < len(undisturbed) * 0.9:
        size += rng.randint(1, len(undisturbed) // 12)
        assert _run_and_kill(command, environment, tmp_path, arguments, size)
        kills += 1
    assert kills >= 10
    assert embed(*arguments).code == 3
    assert (tmp_path / "out.jsonl").read_bytes() == undisturbed
    assert not (tmp_path / "out.jsonl.partial").exists()
    assert not (tmp_path / "out.jsonl.partial.json").exists()


@pytest.fixture
def folder(tmp_path):
    """60 files of up to 6 passages, and some that fail."""
    docs = tmp_path / "docs"
    docs.mkdir()
    rng = random.Random(7)
    for number in range(60):
        words = rng.choices(["alpha", "beta.", "gamma", "delta\n\n"], k=rng.randint(0, 1200))
        (docs / f"{number:02}.txt").write_text(" ".join(words) if number % 9 else "")
    return docs


@pytest.mark.slow
def test_kills_of_a_run_over_files_change_no_byte(command, environment, embed, tmp_path, folder):
    arguments = ["docs", "-o", "out.jsonl", "--max-tokens", "64"]
    assert embed(*arguments).code == 3
    undisturbed = (tmp_path / "out.jsonl").read_bytes()
    manifest = json.loads((tmp_path / "out.jsonl.manifest.json").read_text())
    (tmp_path / "out.jsonl").unlink()
    arguments.append("--resume")
    for tenths in (1, 3, 5, 7, 8):
        _run_and_kill(command, environment, tmp_path, arguments, len(undisturbed) * tenths // 10)
    assert embed(*arguments).code == 3
    assert (tmp_path / "out.jsonl").read_bytes() == undisturbed
    resumed = json.loads((tmp_path / "out.jsonl.manifest.json").read_text())
    for name in ("inputs", "counts", "failures", "output", "space", "options"):
        assert resumed[name] == manifest[name]


@pytest.fixture
def killed(command, environment, tmp_path, rows):
    """A real partial file and its state."""
    assert _run_and_kill(command, environment, tmp_path, BULK, 200_000)
    return tmp_path / "out.jsonl.partial"


def test_another_space_is_refused_with_6(embed, killed):
    done = embed(*BULK, "--resume", "-d", "16")
    assert done.code == 6
    assert "dim is 32, here 16" in done.error or "dim is 16, here 32" in done.error


@pytest.mark.parametrize("change", [["--task", "query"], ["--store-text"], ["--batch-size", "7"]])
def test_other_options_are_refused_with_2(embed, killed, change):
    done = embed(*BULK, "--resume", *change)
    assert done.code == 2
    assert "was written with" in done.error


def test_other_rows_are_refused_with_2(embed, killed, rows):
    lines = rows.read_text().splitlines(keepends=True)
    rows.write_text("".join(lines[1:]))
    done = embed(*BULK, "--resume")
    assert done.code == 2
    assert "same input" in done.error


def test_without_resume_a_partial_file_is_started_again(embed, killed, tmp_path):
    assert embed(*BULK).code == 3
    assert len((tmp_path / "out.jsonl").read_bytes().splitlines()) == 2000


def test_a_damaged_partial_file_is_named(embed, killed):
    data = killed.read_bytes()
    killed.write_bytes(b"junk\n" + data)
    done = embed(*BULK, "--resume")
    assert done.code == 1
    assert "line 1 is no record" in done.error


def test_nothing_to_resume_is_a_fresh_start(embed, tmp_path):
    assert embed("text", "a", "-f", "jsonl", "-o", "out.jsonl", "--resume").code == 0
    assert embed("text", "a", "-f", "jsonl", "-o", "out.jsonl", "--resume").code == 0


def test_resume_needs_a_jsonl_file(embed):
    assert "-o FILE" in embed("text", "a", "b", "--resume").error
    done = embed("text", "a", "--resume", "-o", "x.npy", "-f", "npy")
    assert (done.code, "jsonl" in done.error) == (2, True)
