"""What the runtime does to its process: imports, sockets, telemetry, forks."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from embedge import Embedder


def python(code: str, *arguments: object, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True, text=True, timeout=120, check=False, env=env,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_embedge_loads_neither_numpy_nor_onnxruntime() -> None:
    code = """
import sys, embedge
heavy = {"numpy", "onnxruntime", "tokenizers", "typer", "rich", "huggingface_hub"}
print(sorted(heavy & sys.modules.keys()))
"""
    assert python(code) == "[]\n"


def test_embedding_loads_no_library_of_export_or_of_the_command(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    code = """
import sys
from embedge import Embedder
Embedder(sys.argv[1], cache_dir=sys.argv[2]).encode(["a", "b"])
unwanted = {"torch", "onnx", "onnx_ir", "onnxscript", "safetensors", "typer", "rich",
            "huggingface_hub", "asyncio", "concurrent.futures"}
print(sorted(unwanted & sys.modules.keys()))
"""
    assert python(code, tiny_bundle, tmp_path) == "[]\n"


def test_nothing_opens_a_socket(tiny_bundle: Path, tmp_path: Path) -> None:
    """An audit hook sees every socket of the process, whoever opens it in Python."""
    code = """
import sys
def refuse(event, arguments):
    if event.startswith("socket."):
        raise AssertionError(event)
sys.addaudithook(refuse)
from embedge import Embedder
with Embedder(sys.argv[1], cache_dir=sys.argv[2]) as embedder:
    embedder.encode(["the river", "a " * 600])
    list(embedder.stream(["the river"], long_text="chunk"))
print("done")
"""
    assert python(code, tiny_bundle, tmp_path) == "done\n"


TELEMETRY = """
import os, sys
from embedge import Embedder
Embedder(sys.argv[1], cache_dir=sys.argv[2]).encode("a")
from embedge.runtime.engine import telemetry_state
print(os.environ["ORT_DISABLE_TELEMETRY"], telemetry_state())
"""


def bare_environment(home: Path) -> dict[str, str]:
    """No variable that switches telemetry off by itself, and an empty home."""
    hidden = {"CI", "GITHUB_ACTIONS", "TF_BUILD", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"}
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    return kept | {"HOME": str(home)}


def test_telemetry_is_off_before_onnxruntime_loads(tiny_bundle: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    out = python(TELEMETRY, tiny_bundle, tmp_path / "cache", env=bare_environment(home))
    assert out == "1 off: switched off before ONNX Runtime loads\n"
    assert [path for path in home.rglob("*") if "onnxruntime" in str(path)] == []


def test_a_host_that_loaded_onnxruntime_earlier_is_found_out(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    code = "import onnxruntime" + TELEMETRY
    out = python(code, tiny_bundle, tmp_path / "cache", env=bare_environment(home))
    assert out.startswith("1 switched off late: the host program")


def test_a_variable_that_vanishes_later_changes_nothing(tiny_bundle: Path, tmp_path: Path) -> None:
    code = TELEMETRY.replace(
        "\nprint",
        """
del os.environ["ORT_DISABLE_TELEMETRY"]
Embedder(sys.argv[1], cache_dir=sys.argv[2]).encode("a")
print(telemetry_state())
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
print""",
    )
    out = python(code, tiny_bundle, tmp_path / "cache", env=bare_environment(tmp_path))
    assert out.startswith("off: switched off before")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("threads", [1, 2])
def test_a_forked_child_opens_its_own_graph(
    tiny_bundle: Path, tmp_path: Path, threads: int
) -> None:
    """In a fresh process: one that had run other tests holds threads, which forking warns of."""
    code = """
import os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # forking a process with threads: our subject
import numpy as np
from embedge import Embedder
embedder = Embedder(sys.argv[1], cache_dir=sys.argv[2], threads=int(sys.argv[3]))
expected = embedder.encode(["the river", "a"])
read, write = os.pipe()
child = os.fork()
if child == 0:
    os.write(write, embedder.encode(["the river", "a"]).tobytes())
    sys.exit(0)  # with all destructors
assert os.waitpid(child, 0)[1] == 0
found = np.frombuffer(os.read(read, 10_000), dtype=np.float32).reshape(2, -1)
np.testing.assert_array_equal(expected, found)
np.testing.assert_array_equal(expected, embedder.encode(["the river", "a"]))
print("same")
"""
    assert python(code, tiny_bundle, tmp_path, threads) == "same\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_forked_while_a_batch_runs_is_free(tiny_bundle: Path, tmp_path: Path) -> None:
    code = """
import os, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from embedge import Embedder
embedder = Embedder(sys.argv[1], cache_dir=sys.argv[2], threads=2)
running = threading.Event()
def work():
    embedder.encode(["the river " * 50] * 500, progress=lambda event: running.set())
thread = threading.Thread(target=work)
thread.start()
running.wait()
child = os.fork()
if child == 0:
    os._exit(0 if embedder.encode("a").shape == (32,) else 1)
status = os.waitpid(child, 0)[1]
thread.join()
print(status)
"""
    assert python(code, tiny_bundle, tmp_path) == "0\n"


def test_an_unused_embedder_is_collected_with_its_thread(tiny_bundle: Path, tmp_path: Path) -> None:
    import gc
    import threading

    before = threading.active_count()
    embedder = Embedder(tiny_bundle, cache_dir=tmp_path)
    assert np.isfinite(embedder.encode("a")).all()
    workers = [thread for thread in threading.enumerate() if thread.name == "embedge-graph"]
    del embedder
    gc.collect()
    for thread in workers[-1:]:
        thread.join(timeout=20)
    assert threading.active_count() == before
