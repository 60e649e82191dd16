"""Coverage-guided fuzzing of everything that is read from outside.

    pip install atheris
    python benchmarks/reliability/fuzz.py TARGET [--seconds 300]

Targets: manifest, safetensors, tokenizer, config, files, text (`fuzz_targets.py` says what each may
do). The first input is a valid one. A wrong answer ends the run with its traceback and leaves the
input in the working folder as `crash-...`. `tests/test_fuzz.py` feeds the same targets with
damaged valid files on every test run.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

TARGETS = ("manifest", "safetensors", "tokenizer", "config", "files", "text")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=300)
    options = parser.parse_args()
    try:
        import atheris
    except ModuleNotFoundError:
        sys.exit("the package atheris is not installed: pip install atheris")
    # Only what is imported in here reports its branches: our modules and the standard library's
    # readers, loaded by a first run over a valid input.
    with atheris.instrument_imports(include=["embedge", "json", "zipfile", "html", "csv"]):
        import fuzz_targets

        target, first = fuzz_targets.TARGETS[options.target], fuzz_targets.seed(options.target)
        target(first)
    with tempfile.TemporaryDirectory() as corpus:
        (Path(corpus) / "valid").write_bytes(first)
        arguments = [sys.argv[0], corpus, f"-max_total_time={options.seconds}", "-max_len=20000"]
        atheris.Setup(arguments, target)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
