"""Our graphs beside what one would run instead, same texts, in turns, in one run.

    python benchmarks/full_size.py CHECKPOINT
    embed export CHECKPOINT FP32 && embed quantize FP32 INT8 --no-measure
    python benchmarks/peers.py --int8 INT8 --fp32 FP32 --checkpoint CHECKPOINT --work FOLDER

Peers; each says how it is installed and is left out with a line where it is missing:

* `peer_graphs.py`: our int8 and fp32, all 8 experts computed, ONNX Runtime's `quantize_dynamic`
  (per tensor) on our fp32 graph, its MoE and QMoE operators
* `peer_openvino.py`: our graph in standard operators, in fp32, bf16, and OpenVINO's own int8
* `peer_torch.py`: plain PyTorch in fp32 and bf16; sentence-transformers
* `peer_llama.py`: llama.cpp with F32, BF16, Q8_0 and Q4_K_M weights

Before anything is timed, every peer embeds a few texts, and its cosine to our fp32 graph is
printed; below 0.9 it does not compute this model and is left out. Ratios are formed round by
round against the first peer; the median and its range are printed. All of them together need
about 12 GB of memory and 15 GB on disk; `--only` and `--without` choose.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import peer_graphs
import peer_llama
import peer_openvino
import peer_torch
from machine import describe
from peer_contract import Peer, Rows, Setup, agreement
from peer_turns import PeerProcess, Work, make_files, random_rows, table_rows, take_turns
from speed import SHAPES

from embedge.models.bundle import open_bundle
from embedge.runtime.bench.texts import TextMaker
from embedge.runtime.tokens import Tokens

PEERS: dict[str, Peer] = {
    **peer_graphs.PEERS, **peer_openvino.PEERS, **peer_torch.PEERS, **peer_llama.PEERS
}  # fmt: skip
REFERENCE = "fp32"
LEAST_COSINE = 0.9
_CHECKED_TEXTS = 12


def packaged_rows(bundle: Path, count: int) -> Rows:
    """Token ids of `count` packaged texts of mixed, log-normal lengths, as `embed bench` has."""
    opened = open_bundle(bundle)
    tokens = Tokens.from_file(opened.tokenizer_path, opened.manifest.identity.max_tokens)
    texts = TextMaker(tokens, 0).mixed(count)
    room = tokens.max_tokens - tokens.n_special
    return [
        np.array([*tokens.head, *tokens.ids(text)[:room].tolist(), *tokens.tail], np.int64)
        for text in texts
    ]


def planned_work(options: argparse.Namespace) -> list[Work]:
    """The rows of the table: shapes, then mixed lengths, then single queries."""
    vocabulary = open_bundle(options.fp32).manifest.architecture["vocabulary"]
    assert isinstance(vocabulary, int)
    planned = []
    for shape in options.shapes:
        texts, tokens = (int(number) for number in shape.split("x"))
        rows = random_rows(texts, tokens, vocabulary - 50)
        planned.append(Work(shape, [rows] * options.rounds, rows))
    if options.mixed:
        rows = packaged_rows(options.int8, options.mixed + 16)
        slices = [list(part) for part in np.array_split(np.arange(options.mixed), options.slices)]
        parts = [[rows[i] for i in part] for part in slices]
        planned.append(Work(f"{options.mixed} mixed", parts, rows[options.mixed :]))
    if options.queries:
        rows = random_rows(options.queries, 16, vocabulary - 50)
        planned.append(
            Work("1x16", [rows] * options.rounds, rows[: options.queries // 2], one_by_one=True)
        )
    return planned


def open_peers(names: list[str], setup: Setup, rows: Rows) -> tuple[dict[str, PeerProcess], Any]:
    """Open those that can run and compute the model; returns them, and what was found out."""
    reference: np.ndarray | None = None
    opened: dict[str, PeerProcess] = {}
    found: dict[str, Any] = {}
    for name in [REFERENCE, *(name for name in names if name != REFERENCE)]:
        peer = PEERS[name]
        refusal = peer.missing() or make_files(name, peer, setup)
        process = None if refusal else PeerProcess(name, peer, setup)
        if process is not None and process.refusal is None:
            vectors = process.ask("vectors", rows=rows)["vectors"]
            reference = vectors if reference is None else reference
            found[name] = agreement(vectors, reference)
            if not found[name]["mean_cosine"] >= LEAST_COSINE:
                refusal = f"does not compute this model: {found[name]}, left out"
        refusal = refusal or (process.refusal if process else None)
        if refusal is not None:
            found[name] = {"left_out": refusal}
        print(f"{name}: {json.dumps(found[name])}", flush=True)
        if process is not None and (refusal is not None or name not in names):
            process.close()
        elif process is not None:
            opened[name] = process
    return {name: opened[name] for name in names if name in opened}, found


def main() -> None:
    options = parse()
    options.work.mkdir(parents=True, exist_ok=True)
    setup = Setup(
        options.int8, options.fp32, options.checkpoint, options.work, options.threads
    )  # fmt: skip
    print(json.dumps(describe()))
    names = [name for name in options.only or PEERS if name not in options.without]
    processes, found = open_peers(names, setup, packaged_rows(options.int8, _CHECKED_TEXTS))
    if options.prepare:
        return
    rows: list[dict[str, Any]] = []
    for work in planned_work(options):
        seconds = take_turns(
            processes, work, options.limit_s, options.whole,
            lambda line: print(line, flush=True),
        )  # fmt: skip
        for row in table_rows(work, seconds, next(iter(processes))):
            print(json.dumps(row), flush=True)
            rows.append(row)
    memory = {name: process.ask("memory")["peak_rss"] for name, process in processes.items()}
    for name, peak in memory.items():
        print(f"{name}: peak RSS {peak / 1e6:.0f} MB")
    for process in processes.values():
        process.close()
    if options.json:
        record = {
            "machine": describe(), "agreement": found, "rows": rows, "peak_rss": memory
        }  # fmt: skip
        options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--int8", type=Path, required=True)
    parser.add_argument("--fp32", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", action="append", choices=list(PEERS), default=[])
    parser.add_argument("--without", action="append", choices=list(PEERS), default=[])
    parser.add_argument(
        "--shapes", nargs="*", default=[f"{n}x{s}" for n, s in SHAPES if n > 1]
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=5, help="of shapes and of single queries")
    parser.add_argument("--mixed", type=int, default=2000, help="texts of mixed lengths, 0: none")
    parser.add_argument("--slices", type=int, default=10, help="rounds that those are cut into")
    parser.add_argument("--queries", type=int, default=20, help="of 16 tokens, in every round")
    parser.add_argument(
        "--limit-s", type=float, default=float("inf"),
        help="a peer that spent so long on one row of the table sits out the rest of its rounds",
    )  # fmt: skip
    parser.add_argument("--whole", action="append", default=[], help="peers without that limit")
    parser.add_argument("--prepare", action="store_true", help="make all files, check, and end")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
