"""The steps of the Dockerfile and the unit, run one by one where neither is at hand."""

import os
import re
import shlex
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("PyInstaller", reason="runs with the extra [integration], which may install")

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "docs/deployment/Dockerfile").read_text("utf-8").replace("\\\n", " ")
UNIT = (ROOT / "docs/deployment/embed.service").read_text("utf-8")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="both are for Linux"),
]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """What `RUN` of the build stage leaves, in a folder instead of /opt/embedge."""
    prefix = tmp_path_factory.mktemp("opt") / "embedge"
    (step,) = re.findall(r"^RUN (python .*)$", DOCKERFILE, re.M)
    step = step.replace("/opt/embedge", str(prefix)).replace("python ", f"{sys.executable} ", 1)
    done = subprocess.run(step, shell=True, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return prefix


def _serve(command, environment, folder):
    """Run a server and return the process with its port."""
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, cwd=folder, env=environment
    )
    seen = ""
    while "ready:" not in seen:
        line = process.stderr.readline()
        assert line, seen
        seen += line
    return process, int(re.search(r"listening on http://[^ ]*:(\d+)", seen)[1])


def _status(port, path, **headers):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_the_image_serves_with_a_key_and_passes_its_health_check(installed, tmp_path):
    (settings,) = re.findall(r"^ENV (.*)$", DOCKERFILE, re.M)
    text = settings.replace("/opt/embedge", str(installed))
    text = text.replace("/var/lib/embedge", str(tmp_path)).replace("$PATH", os.environ["PATH"])
    environment = dict(pair.split("=", 1) for pair in shlex.split(text))
    program = re.search(r'^ENTRYPOINT \["(.*)"\]', DOCKERFILE, re.M)[1]
    words = re.findall(r'"([^"]+)"', re.search(r"^CMD \[(.*)\]", DOCKERFILE, re.M)[1])
    command = [installed / "bin" / program, *words, "--port", "0"]
    refused = subprocess.run(command, env=environment, check=False, capture_output=True)
    assert refused.returncode == 2
    process, port = _serve(command, environment | {"EMBED_API_KEY": "sesame"}, tmp_path)
    with process:
        assert _status(port, "/v1/models") == 401
        assert _status(port, "/v1/models", Authorization="Bearer sesame") == 200
        check = re.search(r'HEALTHCHECK .*"(import urllib[^"]*)"', DOCKERFILE)[1]
        check = check.replace(":8017", f":{port}")
        subprocess.run([installed / "bin/python", "-c", check], check=True, env=environment)
        process.terminate()
        assert process.wait(30) == 143
    assert list(tmp_path.rglob("*"))  # cache and data lie where the image puts them


def test_the_unit_starts_and_its_stop_counts_as_a_success(installed, tmp_path):
    words = shlex.split(re.search(r"^ExecStart=(.*)$", UNIT, re.M)[1])
    pairs = shlex.split(" ".join(re.findall(r"^Environment=(.*)$", UNIT, re.M)))
    environment = dict(pair.split("=", 1) for pair in pairs)
    environment |= {name: str(tmp_path) for name in environment if name.startswith("XDG_")}
    words[0] = words[0].replace("/opt/embedge", str(installed))
    process, port = _serve([*words, "--port", "0"], environment, tmp_path)
    with process:
        assert _status(port, "/readyz") == 200
        process.terminate()
        wanted = int(re.search(r"^SuccessExitStatus=(\d+)", UNIT, re.M)[1])
        assert process.wait(30) == wanted
