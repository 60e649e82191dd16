"""SIGKILL at random moments of export, quantize, `embed files -o` and `--resume`.

    python benchmarks/reliability/kills.py [--kills 1000] [--seed 1]

Each round starts a real process, kills it at a moment drawn from its whole run time (and a
little more, so that some end by themselves), and looks at what is left on disk:

* export, quantize: the output folder is absent or whole (every hash, and it embeds a text);
  a later undisturbed run succeeds.
* files: the output file is absent or equal to the undisturbed one; never a part of it.
* resume: the same file, but each kill goes on from what the last one left; the end equals an
  undisturbed run byte for byte.

Prints one line per operation and fails at the first wrong state.
"""

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1]))

import checkpoints  # the generator of the tests' small checkpoints
from machine import describe

from embedge import Embedder
from embedge.models.bundle import open_bundle

Command = Sequence[str]


class WrongState(Exception):
    """What is on disk is neither the old nor the new state."""


def run_time(command: Command) -> float:
    """Run undisturbed to the end; return the seconds it took."""
    start = time.monotonic()
    subprocess.run(embed(command), check=True, capture_output=True)
    return time.monotonic() - start


def embed(command: Command) -> list[str]:
    code = "from embedge.cli import main; main()"
    return [sys.executable, "-c", code, *command, "--progress", "none"]


def killed(command: Command, after: float) -> bool:
    """Start, kill after that many seconds; return whether it was still running."""
    process = subprocess.Popen(embed(command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True
    if process.returncode != 0:
        raise WrongState(f"{command} ended by itself with {process.returncode}")
    return False


def check_bundle(out: Path) -> str:
    """Whole or absent."""
    if not out.exists():
        return "absent"
    open_bundle(out, verify="full")
    with Embedder(out, threads=1) as embedder:
        embedder.encode("a text")
    shutil.rmtree(out)
    return "whole"


def check_file(out: Path, expected: bytes) -> str:
    """Whole or absent."""
    if not out.exists():
        return "absent"
    if out.read_bytes() != expected:
        raise WrongState(f"{out} is neither absent nor whole")
    out.unlink()
    return "whole"


def loop(
    name: str, command: Command, kills: int, draw: random.Random, check: Callable[[], str]
) -> None:
    """Kill `kills` runs of the command and check what each leaves."""
    seconds = run_time(command)
    check()
    states: Counter[str] = Counter()
    done = 0
    while done < kills:
        was_running = killed(command, draw.uniform(0, 1.1 * seconds))
        done += was_running
        states[f"{'killed' if was_running else 'finished'}, {check()}"] += 1
    run_time(command)
    if check() != "whole":
        raise WrongState(f"{name}: an undisturbed run after the kills left nothing")
    print(f"{name}: {kills} kills in runs of {seconds:.1f} s: {dict(states)}", flush=True)


def resume_loop(folder: Path, files: Command, kills: int, draw: random.Random) -> None:
    """Kill and resume until a file is whole, again and again."""
    expected_file = folder / "undisturbed.jsonl"
    seconds = run_time([*files, "-o", str(expected_file)])
    expected = expected_file.read_bytes()
    out = folder / "resumed.jsonl"
    command = [*files, "-o", str(out), "--resume"]
    done = whole = 0
    while done < kills:
        done += killed(command, draw.uniform(0, 0.6 * seconds))
        if out.exists():
            check_file(out, expected)
            Path(f"{out}.manifest.json").unlink()
            whole += 1
    run_time(command)
    if check_file(out, expected) != "whole":
        raise WrongState("resume left nothing")
    print(f"files --resume: {done} kills, {whole + 1} files finished, each equal", flush=True)


def write_texts(folder: Path, files: int, draw: random.Random) -> Path:
    words = "river house memory computer ein der die les des на это 的 一 في من के".split()
    folder.mkdir()
    for n in range(files):
        text = "\n\n".join(" ".join(draw.choices(words, k=60)) for _ in range(6))
        (folder / f"{n:03}.txt").write_text(text, encoding="utf-8")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000, help="of all four operations together")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    each = -(-options.kills // 4)
    print(json.dumps(describe()), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = checkpoints.tiny_config()
        side = {"name": "tiny", "license": "MIT", "matryoshka": [32, 16],
                "prompts": checkpoints.PROMPTS}  # fmt: skip
        checkpoint = checkpoints.write_checkpoint(
            folder / "checkpoint", config, checkpoints.random_tensors(config), side_file=side
        )
        fp32, out = folder / "fp32", folder / "out"
        run_time(["export", str(checkpoint), str(fp32)])
        texts = write_texts(folder / "texts", 60, draw)
        lines = folder / "vectors.jsonl"
        files = ["files", str(texts), "-m", str(fp32)]
        command = [*files, "-o", str(lines)]
        run_time(command)
        expected = lines.read_bytes()
        loop("files -o", command, each, draw, lambda: check_file(lines, expected))
        resume_loop(folder, files, each, draw)
        loop("export", ["export", str(checkpoint), str(out)], each, draw, lambda: check_bundle(out))
        loop("quantize", ["quantize", str(fp32), str(out), "--no-measure"], each, draw,
             lambda: check_bundle(out))  # fmt: skip
        leftovers = [p.name for p in folder.iterdir() if p.name.startswith((".", "out"))]
        print(f"left behind beside the outputs: {leftovers}", flush=True)


if __name__ == "__main__":
    main()
