"""Clients of other projects, from the extra [integration], which `.ci/integration` installs.

In an environment without them every file here is skipped with a line that names the extra. The
bundled model is used throughout: no exporter is needed.
"""

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

# Before any of these libraries is imported: none of them is to call home from a test.
os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"
os.environ["ANONYMIZED_TELEMETRY"] = "False"
os.environ["LANGSMITH_TRACING"] = "false"


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `embed serve` with the bundled model, a process of its own."""
    pytest.importorskip("uvicorn", reason="uvicorn comes with the extra [integration]")
    folder = tmp_path_factory.mktemp("server")
    command = [sys.executable, "-c", "from embedge.cli import main; main()"]
    process = subprocess.Popen(
        [*command, "serve", "--port", "0"],
        stderr=subprocess.PIPE, text=True, cwd=folder,
    )  # fmt: skip
    assert process.stderr is not None
    reader = threading.Thread(target=process.stderr.read, daemon=True)
    try:
        seen = ""
        while "ready:" not in seen:
            line = process.stderr.readline()
            assert line, seen
            seen += line
        # Whatever it says later must not fill the pipe.
        reader.start()
        yield seen.partition("listening on ")[2].split()[0]
    finally:
        process.terminate()
        process.wait(30)
        if reader.is_alive():
            reader.join(30)
        process.stderr.close()


@pytest.fixture
def unclosed_sockets_of_clients() -> Iterator[None]:
    """Collect what a client leaves behind while the test's own filter ignores it."""
    yield
    gc.collect()
