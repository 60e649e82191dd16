"""What docs/deployment/ holds is what the command takes, as far as it can be run here."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from embedge.cli.app import build_app

FOLDER = Path(__file__).parents[3] / "docs" / "deployment"
PAGE = (FOLDER.parent / "deployment.md").read_text("utf-8")
UNIT = (FOLDER / "embed.service").read_text("utf-8")
DOCKERFILE = (FOLDER / "Dockerfile").read_text("utf-8")


def _options(command):
    return {
        name for p in get_command(build_app("serve")).commands[command].params for name in p.opts
    }


def _variables(text):
    return set(re.findall(r"\bEMBED_[A-Z_]+\b", text))


def test_every_option_and_variable_that_is_named_exists():
    known = {
        variable
        for parameter in get_command(build_app("serve")).commands["serve"].params
        for variable in ([parameter.envvar] if isinstance(parameter.envvar, str) else
                         parameter.envvar or [])
    }  # fmt: skip
    text = PAGE + UNIT + DOCKERFILE
    assert _variables(text) - known == set()
    for line in re.findall(r"embed(?:ge)? serve ([^\n`]*)", text):
        options = re.findall(r"--[a-z-]+", line)
        assert set(options) - _options("serve") == set(), line


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)
def test_systemd_accepts_the_unit(tmp_path):
    program = tmp_path / "embed"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "embed.service"
    unit.write_text(UNIT.replace("/opt/embedge/bin/embed", str(program)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    complaints = [line for line in done.stderr.splitlines() if "embed.service" in line]
    assert complaints == []
    assert done.returncode == 0, done.stderr


def test_the_unit_counts_a_stop_as_a_success_and_waits_longer_than_the_server():
    from embedge.runtime.serve.options import ServeOptions

    assert "SuccessExitStatus=143" in UNIT
    assert int(re.search(r"TimeoutStopSec=(\d+)", UNIT)[1]) > ServeOptions().stop_timeout_s


def test_the_image_runs_as_an_ordinary_user_offline_and_with_a_key_only(embed_serve_code):
    users = re.findall(r"^USER (\S+)", DOCKERFILE, re.M)
    assert users
    assert users[-1] not in ("0", "root")
    assert "EMBED_OFFLINE=1" in DOCKERFILE
    command = re.search(r"^CMD \[(.*)\]", DOCKERFILE, re.M)[1]
    assert embed_serve_code(re.findall(r'"([^"]+)"', command)) == 2  # refused without a key


@pytest.fixture
def embed_serve_code(monkeypatch, capsys):
    from embedge.cli import run

    def code(words):
        monkeypatch.delenv("EMBED_API_KEY", raising=False)
        result = run([*words, "--port", "0"])
        assert "--api-key" in capsys.readouterr().err
        return result

    return code


def test_every_copied_and_named_file_exists():
    for target in re.findall(r"\]\((deployment/[^)]+)\)", PAGE):
        assert (FOLDER.parent / target).exists(), target
    for path in re.findall(r"docs/deployment/\S+?(?=[\s`]|$)", PAGE + DOCKERFILE):
        assert (FOLDER.parents[1] / path).exists(), path


def test_the_health_check_of_the_image_asks_the_server(start, monkeypatch):
    script = re.search(r'"(import urllib[^"]+)"', DOCKERFILE)[1]
    running = start()
    local = script.replace(":8017", f":{running.port}")
    subprocess.run([sys.executable, "-c", local], check=True, timeout=60)
    gone = subprocess.run(
        [sys.executable, "-c", script.replace(":8017", ":9")], check=False, capture_output=True
    )
    assert gone.returncode != 0


def test_the_recipe_of_the_frozen_build_is_python():
    for name in ("embed.spec", "embed_main.py"):
        compile((FOLDER / name).read_text("utf-8"), name, "exec")
