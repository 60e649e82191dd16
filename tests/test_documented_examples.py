"""What README.md, docs/python.md and docs/index.md print runs as printed, on the bundled model."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# These need the network or the reader's own files; their forms are tested in tests/models.
ELSEWHERE = ("embed models pull", "embed export", "embed text hi -m nomic")


def _blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text("utf-8"), re.S)


def _commands():
    for block in _blocks("README.md", "sh"):
        for line in block.splitlines():
            command = line.partition("#")[0].strip()
            if "embed " in command and "pip" not in command:
                if not command.startswith(ELSEWHERE):
                    yield command


@pytest.fixture
def folder(tmp_path):
    """A folder with the files that the examples name."""
    (tmp_path / "docs").mkdir()
    for name in ("README.md", "docs/python.md"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "notes.txt").write_text("one note\nanother note\n")
    (tmp_path / "rows.jsonl").write_text('{"key": "a", "body": "x"}\n{"key": "b", "body": "y"}\n')
    return tmp_path


def _run(arguments, folder):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "HOME": str(folder), "PYTHONWARNINGS": "error"}
    done = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("command", list(_commands()))
def test_readme_command_runs(command, folder):
    output = _run(["bash", "-o", "pipefail", "-c", command], folder)
    words = shlex.split(command)
    target = words[words.index("-o") + 1] if "-o" in words else None
    assert (folder / target).stat().st_size if target else output


@pytest.mark.parametrize("page", ["README.md", "docs/python.md", "docs/index.md"])
def test_python_examples_run(page, folder):
    blocks = _blocks(page, "python")
    assert blocks
    for block in blocks:
        assert _run([sys.executable, "-c", block], folder)


def test_readme_prints_one_test_command():
    text = (ROOT / "README.md").read_text("utf-8")
    assert re.findall(r"^pip install .*&& pytest$", text, re.M) == [
        "pip install '.[test]' && pytest"
    ]


def test_readme_output_is_that_of_its_command(folder):
    """The first record on the first screen is what `embed` prints for that text."""
    shown = re.search(r"```text\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S)
    assert shown is not None
    wanted = shown.group(1).splitlines()[0]
    got = _run(["embed", "README.md"], folder).splitlines()[0]
    assert got.startswith(wanted[:70])
