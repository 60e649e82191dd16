"""schemathesis holds `/openapi.json` and the server together: valid and invalid requests."""

import subprocess
import sys

import pytest

schemathesis = pytest.importorskip(
    "schemathesis", reason="schemathesis comes with the extra [integration]"
)


@pytest.mark.slow
def test_the_server_does_what_its_description_says(server_url, tmp_path):
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", f"{server_url}/openapi.json",
        "--checks", "all", "--max-examples", "25", "--seed", "1", "--no-color",
        "--phases", "examples,coverage,fuzzing", "--request-timeout", "120",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
