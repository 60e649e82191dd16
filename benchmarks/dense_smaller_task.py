"""Write a BEIR task with fewer documents: all judged ones, and the first of the others.

    python benchmarks/dense_smaller_task.py path/to/scifact tasks/scifact-1k --documents 1000

Scores rise, because fewer documents compete; engines still compare with each other.
"""

import argparse
import json
import shutil
from pathlib import Path


def write_smaller(task: Path, out: Path, documents: int) -> None:
    """Copy queries and judgements, and as many documents as asked for, in their order."""
    rows = (task / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]
    judged = {row.split("\t")[1] for row in rows}
    lines = (task / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    ids = [json.loads(line)["_id"] for line in lines]
    others = [name for name in ids if name not in judged]
    kept = judged | set(others[: max(0, documents - len(judged))])
    out.mkdir(parents=True)
    chosen = [line for line, name in zip(lines, ids, strict=True) if name in kept]
    (out / "corpus.jsonl").write_text("\n".join(chosen) + "\n", encoding="utf-8")
    for name in ("queries.jsonl", "qrels.tsv"):
        shutil.copyfile(task / name, out / name)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("task", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--documents", type=int, default=1000)
    arguments = parser.parse_args()
    write_smaller(arguments.task, arguments.out, arguments.documents)


if __name__ == "__main__":
    main()
