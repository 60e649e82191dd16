"""Run the real command in a process of its own, on a tiny real model."""

import io
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

COMMAND = [sys.executable, "-c", "from embedge.cli import main; main()"]
_KEPT = ("PATH", "HOME", "TMPDIR", "SYSTEMROOT", "LANG", "LC_ALL", "PYTHONPATH")


@dataclass(frozen=True)
class Outcome:
    """What a finished command left."""

    code: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        return self.stdout.decode("utf-8")

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]

    @property
    def error(self) -> str:
        """The one line of an error, without its head."""
        line = self.stderr.strip()
        assert line.startswith("embed: error: "), self.stderr
        assert "\n" not in line, self.stderr
        return line.removeprefix("embed: error: ")


@pytest.fixture
def environment(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> dict[str, str]:
    """A clean environment: no EMBED_ variable but the model, own cache and settings."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    home = str(tmp_path_factory.mktemp("home"))
    return kept | {
        "EMBED_MODEL": str(tiny_bundle),
        "XDG_CACHE_HOME": home,
        "XDG_DATA_HOME": home,
        "EMBED_THREADS": "1",
    }


Embed = Callable[..., Outcome]


@pytest.fixture
def embed(environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Embed:
    """Run `embed ARGUMENTS` in an empty folder (`tmp_path`) and return what it did.

    In this process, for speed, through the function that the console script calls.
    """

    def run(*arguments: object, stdin: bytes | str = b"", **variables: str) -> Outcome:
        from embedge.cli import run as run_command

        words = [os.fsdecode(_argument(value)) for value in arguments]
        data = stdin.encode() if isinstance(stdin, str) else stdin
        stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        stderr = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        with monkeypatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("default")
            for name in set(os.environ) - set(environment):
                patch.delenv(name)
            for name, value in (environment | variables).items():
                patch.setenv(name, value)
            patch.chdir(tmp_path)
            patch.setattr(sys, "argv", ["embed", *words])
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
            patch.setattr(sys, "stdout", stdout)
            patch.setattr(sys, "stderr", stderr)
            code = run_command(words)
            stderr.flush()
            raw = stdout.buffer.getvalue(), stderr.buffer.getvalue()  # type: ignore[attr-defined]
        return _outcome(code, *raw, words)

    return run


@pytest.fixture
def embed_process(environment: dict[str, str], tmp_path: Path) -> Embed:
    """The same in a process of its own."""

    def run(*arguments: object, stdin: bytes | str = b"", **variables: str) -> Outcome:
        words = [os.fsdecode(_argument(value)) for value in arguments]
        data = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            [*COMMAND, *words],
            input=data, capture_output=True, cwd=tmp_path, env=environment | variables,
            timeout=120, check=False,
        )  # fmt: skip
        return _outcome(done.returncode, done.stdout, done.stderr, words)

    return run


def _outcome(code: int, stdout: bytes, stderr: bytes, words: list[str]) -> Outcome:
    text = stderr.decode("utf-8", "backslashreplace")
    assert "Traceback" not in text or "-vv" in words, text
    return Outcome(code, stdout, text)


@pytest.fixture
def command() -> list[str]:
    """The command's first words, for tests that hold the process in their own hands."""
    return list(COMMAND)


def _argument(value: object) -> str | bytes:
    return value if isinstance(value, bytes | str) else str(value)
