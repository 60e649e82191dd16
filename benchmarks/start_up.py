"""How long a process takes until it has embedded one text, where the time goes, and peak RSS.

    python benchmarks/start_up.py [BUNDLE] [--runs 15]

Runs `embed text hi` in fresh processes, then one process that times its own steps.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

STEPS = """
import json, sys, time
begun = time.perf_counter()
marks = {}
def mark(name):
    global begun
    now = time.perf_counter()
    marks[name] = now - begun
    begun = now
import embedge
mark("import embedge")
import numpy
mark("import numpy")
from embedge.runtime.engine import load_onnxruntime
load_onnxruntime()
mark("import onnxruntime")
import embedge.runtime.loading
import tokenizers
mark("import tokenizers, runtime")
from embedge.models.bundle import open_bundle
from embedge.models.store import cache_dir, find_model
bundle = open_bundle(find_model(sys.argv[1]), cache_dir=cache_dir())
mark("manifest, hashes from the cache")
from embedge.runtime.cpu import choose_variant, plan_threads
variant = choose_variant(bundle)[0]
mark("choice of the variant")
from embedge.runtime.engine import Engine
engine = Engine(bundle, variant, bundle.manifest.full_dim, plan_threads().threads)
engine.wait()
mark("graph alone")
from embedge.runtime.tokens import Tokens
kept = cache_dir() / "vocabulary" / bundle.manifest.files["tokenizer.json"].sha256
Tokens.from_file(bundle.tokenizer_path, 512, cache=kept)
mark("tokenizer alone")
from embedge import Embedder
embedder = Embedder(sys.argv[1])
mark("graph and tokenizer together")
embedder.encode("hi")
mark("first text")
embedder.encode("hi")
mark("second text")
print(json.dumps(marks))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", nargs="?", default="bundled")
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    embed = shutil.which("embed", path=str(Path(sys.executable).parent)) or "embed"
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "python -c 'import embedge'": [sys.executable, "-c", "import embedge"],
        "embed --help": [embed, "--help"],
        "embed text hi": [embed, "text", "hi", "--model", options.bundle],
    }
    print("| command | median s | min s | max s | CPU s | peak RSS MB |\n|---|---|---|---|---|---|")
    for name, command in commands.items():
        walls, cpus, peaks = zip(*(run(command) for _ in range(options.runs)), strict=True)
        print(
            f"| `{name}` | {statistics.median(walls):.3f} | {min(walls):.3f} | {max(walls):.3f} | "
            f"{statistics.median(cpus):.3f} | {max(peaks) / 1e6:.0f} |"
        )
    marks = [
        json.loads(subprocess.check_output([sys.executable, "-c", STEPS, options.bundle]))
        for _ in range(options.runs)
    ]
    print("\n| step | median ms |\n|---|---|")
    for name in marks[0]:
        print(f"| {name} | {1e3 * statistics.median(mark[name] for mark in marks):.1f} |")


def run(command: list[str]) -> tuple[float, float, int]:
    """Return wall seconds, CPU seconds and peak RSS in bytes of a process."""
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return (
        wall,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    )


if __name__ == "__main__":
    main()
