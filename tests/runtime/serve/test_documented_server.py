"""What docs/server.md prints runs: curl commands, and the example app."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "server.md").read_text("utf-8")
BLOCKS = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, re.S))
CURLS = re.findall(r"^curl .*?(?=^curl |^embed |\Z)", BLOCKS, re.M | re.S)

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@pytest.fixture(scope="module")
def bundled_server(tmp_path_factory):
    from embedge import Embedder

    def open_model():
        return Embedder(threads=1, cache_dir=tmp_path_factory.mktemp("cache"))

    return open_model


@needs_curl
def test_every_curl_example_is_answered(start, bundled_server):
    assert len(CURLS) >= 10
    running = start(model=bundled_server)
    for command in CURLS:
        line = command.replace("localhost:8017", f"localhost:{running.port}")
        line = line.replace("curl ", "curl -sS --fail-with-body ", 1)
        done = subprocess.run(["bash", "-c", line], capture_output=True, check=False, text=True)
        assert done.returncode == 0, command + done.stdout + done.stderr
        if "/metrics" not in command:
            assert json.loads(done.stdout) is not None


def test_the_page_names_every_route_and_method(server, start):
    for path in server.get("/openapi.json").json["paths"]:
        assert f"{path}`" in PAGE, path
    from embedge.runtime.serve.stdio_methods import Methods

    for method in Methods.table(object.__new__(Methods)):
        assert f"`{method}`" in PAGE, method


def test_the_desktop_app_finds_the_right_note(tmp_path):
    app = ROOT / "docs" / "examples" / "desktop_app.py"
    assert len(app.read_text("utf-8").splitlines()) <= 65
    (tmp_path / "home.txt").write_text("The lease renews by email in March.\n")
    (tmp_path / "bees.txt").write_text("Bees make honey in summer.\n")
    command = tmp_path / "embed"
    command.write_text(
        f"#!{sys.executable}\nimport sys\nsys.argv[0] = 'embed'\n"
        "from embedge.cli import main\nmain()\n"
    )
    command.chmod(0o755)
    done = subprocess.run(
        [sys.executable, str(app), str(tmp_path)],
        input="how do I extend my rental contract\nWoher kommt Honig?\n",
        capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path,
        env=os.environ | {"EMBED_COMMAND": str(command), "XDG_CACHE_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second, third = done.stdout.splitlines()
    assert first.startswith("2 passages, embedge-mini")
    assert "home.txt" in second
    assert "bees.txt" in third
