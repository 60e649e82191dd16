r"""How often the encoding of a text without a mark is told right, wrong, or left to the user.

    python benchmarks/encoding_guess.py TASKS/opensource-guide TASKS/xquad

Each folder holds one folder per language with a `corpus.jsonl` (BEIR). Passages are joined to
texts of 100 to 20,000 characters, written in the legacy encoding of their language, and read back;
what the encoding lacks is left out first. Texts that are valid UTF-8 do not count.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from embedge.runtime.extract.encoding_guess import guess_encoding

ENCODINGS = {
    "de": ["cp1252"], "es": ["cp1252"], "fr": ["cp1252"], "it": ["cp1252"], "nl": ["cp1252"],
    "pt": ["cp1252"], "pl": ["cp1250"], "ro": ["cp1250"], "ru": ["cp1251", "koi8_r", "cp866"],
    "el": ["cp1253"], "tr": ["cp1254"], "ar": ["cp1256"], "th": ["cp874"], "zh": ["gb18030"],
    "ja": ["cp932", "euc_jp"], "ko": ["cp949"],
}  # fmt: skip
SIZES = (100, 400, 2_000, 20_000)
SAMPLES = 12


def main() -> None:
    """Print one row per size, and the wrong ones."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+")
    corpora = [
        corpus
        for folder in parser.parse_args().folders
        for corpus in sorted(folder.glob("*/corpus.jsonl"))
    ]
    print("| characters | right | left to the user | wrong |\n|---|---|---|---|")
    wrong: Counter[tuple[str, str | None]] = Counter()
    for size in SIZES:
        counts: Counter[str] = Counter()
        for corpus in corpora:
            for encoding in ENCODINGS.get(corpus.parent.name, []):
                for text, data in samples(corpus, encoding, size):
                    guess = guess_encoding(data)
                    verdict = judge(text, data, guess)
                    counts[verdict] += 1
                    wrong[(encoding, guess)] += verdict == "wrong"
        print(f"| {size:,} | {counts['right']} | {counts['open']} | {counts['wrong']} |")
    print({key: count for key, count in wrong.items() if count})


def samples(corpus: Path, encoding: str, size: int) -> Iterator[tuple[str, bytes]]:
    """Yield up to `SAMPLES` texts of `size` characters and their bytes."""
    whole = "\n".join(json.loads(line)["text"] for line in corpus.open(encoding="utf-8"))
    found = 0
    for start in range(0, len(whole) - size, size):
        data = whole[start : start + size].encode(encoding, "ignore")
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            found += 1
            yield data.decode(encoding), data
        if found == SAMPLES:
            return


def judge(text: str, data: bytes, guess: str | None) -> str:
    """Return `right`, `wrong`, or `open` for no guess."""
    if guess is None:
        return "open"
    return "right" if data.decode(guess, "replace") == text else "wrong"


if __name__ == "__main__":
    main()
