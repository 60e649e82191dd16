"""A corpus in shards is, part after part, what one process writes; a stopped run goes on."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from embedge import Embedder, InputError, InvalidOption, SpaceMismatch
from embedge.cli import run as embed
from embedge.runtime.scale import (
    RowSource,
    ScaleOptions,
    ShardEmbedder,
    embed_corpus,
    run_here,
    shards,
)
from embedge.runtime.walk import walk


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch) -> Path:
    """A folder of documents, some long, some broken; shards of at most three files."""
    docs = tmp_path / "docs"
    (docs / "deep").mkdir(parents=True)
    for number in range(7):
        text = f"# Title {number}\n\n" + f"Sentence {number} about leases. " * (20 + 60 * number)
        (docs / f"{number}.md").write_text(text)
    (docs / "deep" / "bees.html").write_text("<h1>Bees</h1><p>make honey</p>")
    (docs / "empty.txt").write_text("")
    (docs / "noise.txt").write_bytes(bytes(range(256)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shards, "SHARD_FILES", 3)
    monkeypatch.setattr(
        shards.shards_of_files, "__kwdefaults__", {"max_bytes": 4096, "max_files": 3}
    )
    return docs


@pytest.fixture
def rows(tmp_path: Path, monkeypatch) -> Path:
    """JSON Lines with a mark, a blank line, broken rows and no newline at the end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shards, "_BLOCK", 256)
    monkeypatch.setattr(shards, "SHARD_ROWS", 8)
    lines = [json.dumps({"key": f"k{n}", "body": f"row {n} " * (n % 5 + 1)}) for n in range(40)]
    lines[7], lines[8], lines[20] = "", "{torn", '{"key": "k", "body": 5}'
    (tmp_path / "rows.jsonl").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    return tmp_path / "rows.jsonl"


def options(bundle: Path, **changes) -> ScaleOptions:
    return ScaleOptions(model=str(bundle), **changes)


def table_of(out: Path) -> pa.Table:
    return pa.concat_tables(parquet.read_table(part) for part in sorted(out.glob("part-*")))


def single_process(*arguments: str, bundle: Path) -> pa.Table:
    code = embed([*arguments, "-m", str(bundle), "-f", "parquet", "-o", "single.parquet", "-q"])
    assert code in (0, 3)
    return parquet.read_table("single.parquet")


def assert_same(out: Path, expected: pa.Table) -> None:
    got = table_of(out)
    assert got.drop(["embedding"]).to_pylist() == expected.drop(["embedding"]).to_pylist()
    width = expected.schema.field("embedding").type.list_size
    vectors = [
        np.array(t["embedding"].combine_chunks().flatten()).reshape(-1, width)
        for t in (got, expected)
    ]
    assert np.abs(vectors[0] - vectors[1]).max() <= 1e-6


@pytest.mark.parametrize("long_text", ["chunk", "mean", "truncate"])
def test_documents_give_the_rows_of_one_process(corpus, tiny_bundle, long_text):
    chosen = options(tiny_bundle, long_text=long_text, store_text=True)
    report = embed_corpus(walk(["docs"]), Path("out"), chosen, run=run_here)
    assert report.shards > 2
    expected = single_process(
        "files", "docs", "--long-text", long_text, "--store-text", bundle=tiny_bundle
    )
    assert_same(Path("out"), expected)
    assert report.counts.inputs == 10
    assert report.counts.failed == 2
    assert report.counts.vectors == len(expected) - 2


@pytest.mark.parametrize("id_field", [None, "key"])
def test_json_lines_give_the_rows_of_one_process(rows, tiny_bundle, id_field):
    source = RowSource("body", id_field)
    report = embed_corpus(
        walk(["rows.jsonl"]),
        Path("out"),
        options(tiny_bundle, long_text="mean"),
        run=run_here,
        rows=source,
    )
    assert report.shards > 2
    flags = ["--field", "body", *(["--id-field", id_field] if id_field else [])]
    assert_same(Path("out"), single_process("text", "-i", "rows.jsonl", *flags, bundle=tiny_bundle))


def test_rows_can_be_cut_into_passages(tmp_path, monkeypatch, tiny_bundle):
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text(json.dumps({"body": "A long sentence of words. " * 200}))
    embed_corpus(
        walk(["rows.jsonl"]),
        Path("out"),
        options(tiny_bundle),
        run=run_here,
        rows=RowSource("body"),
    )
    flags = ("text", "-i", "rows.jsonl", "--field", "body", "--long-text", "chunk")
    expected = single_process(*flags, bundle=tiny_bundle)
    assert len(expected) > 2
    assert_same(Path("out"), expected)


def test_parquet_rows_are_read_by_row_groups(rows, tiny_bundle):
    table = pa.table({"key": [f"k{n}" for n in range(30)], "body": [f"row {n}" for n in range(30)]})
    parquet.write_table(table, "rows.parquet", row_group_size=4)
    report = embed_corpus(
        walk(["rows.parquet"]),
        Path("out"),
        options(tiny_bundle, long_text="mean"),
        run=run_here,
        rows=RowSource("body", "key"),
    )
    assert report.shards == 4
    got = table_of(Path("out"))
    assert got["id"].to_pylist() == table["key"].to_pylist()
    with Embedder(tiny_bundle) as embedder:
        expected = embedder.encode_document(table["body"].to_pylist())
    vectors = np.array(got["embedding"].combine_chunks().flatten()).reshape(30, 32)
    assert np.abs(vectors - expected).max() <= 1e-6


def test_every_part_carries_the_space_and_a_fixed_size_list(corpus, tiny_bundle):
    chosen = options(tiny_bundle, dim=16, precision="float16")
    embed_corpus(walk(["docs"]), Path("out"), chosen, run=run_here)
    manifest = json.loads(Path("out/manifest.json").read_text())
    with Embedder(tiny_bundle, dim=16) as embedder:
        assert manifest["space"]["fingerprint"] == embedder.space.fingerprint
    for part in manifest["parts"]:
        schema = parquet.read_schema(Path("out") / part["file"])
        assert schema.metadata[b"embedge.space"].decode() == manifest["space"]["fingerprint"]
        assert schema.field("embedding").type == pa.list_(pa.float16(), 16)
    assert manifest["counts"]["failed"] == 2


class Stopped(Exception):
    """Stands for a killed run."""


def run_two(job, left):
    """Embed two shards, then die in the middle of the third."""
    for number, result in enumerate(run_here(job, left)):
        yield result
        if number == 1:
            (job.out / ".part-000002.parquet.0123456789ab").write_bytes(b"torn")
            raise Stopped


def test_a_stopped_run_goes_on_where_it_was(corpus, tiny_bundle):
    with pytest.raises(Stopped):
        embed_corpus(walk(["docs"]), Path("out"), options(tiny_bundle), run=run_two)
    kept = {part: part.stat().st_mtime_ns for part in Path("out").glob("part-*")}
    assert len(kept) == 2
    report = embed_corpus(
        walk(["docs"]), Path("out"), options(tiny_bundle), run=run_here, resume=True
    )
    assert report.embedded_shards == report.shards - 2
    assert {part: part.stat().st_mtime_ns for part in kept} == kept
    assert list(Path("out").glob(".part-*")) == []
    assert_same(Path("out"), single_process("files", "docs", bundle=tiny_bundle))
    again = embed_corpus(
        walk(["docs"]), Path("out"), options(tiny_bundle), run=run_here, resume=True
    )
    assert (again.embedded_shards, again.counts) == (0, report.counts)


def test_only_the_same_run_is_resumed(corpus, tiny_bundle, tiny_learned_bundle):
    first = options(tiny_bundle)
    embed_corpus(walk(["docs"]), Path("out"), first, run=run_here)
    with pytest.raises(InvalidOption, match="--resume"):
        embed_corpus(walk(["docs"]), Path("out"), first, run=run_here)
    for chosen, error in (
        (options(tiny_bundle, dim=16), SpaceMismatch),
        (options(tiny_learned_bundle), SpaceMismatch),
        (options(tiny_bundle, task="query"), InvalidOption),
    ):
        with pytest.raises(error, match="new folder"):
            embed_corpus(walk(["docs"]), Path("out"), chosen, run=run_here, resume=True)
    (corpus / "0.md").write_text("changed")
    with pytest.raises(InvalidOption, match="other files"):
        embed_corpus(walk(["docs"]), Path("out"), first, run=run_here, resume=True)
    Path("full").mkdir()
    Path("full/notes.txt").write_text("mine")
    with pytest.raises(InvalidOption, match="not empty"):
        embed_corpus(walk(["docs"]), Path("full"), first, run=run_here)


def test_rows_that_change_during_the_run_end_it(rows, tiny_bundle):
    def change_first(job, left):
        rows.write_text("{}")
        yield from run_here(job, left)

    with pytest.raises(InputError, match="changed since the run began"):
        embed_corpus(
            walk(["rows.jsonl"]),
            Path("out"),
            options(tiny_bundle, long_text="mean"),
            run=change_first,
            rows=RowSource("body"),
        )
    assert list(Path("out").glob("*part-*")) == []


def test_what_cannot_be_cut_is_named(corpus, tiny_bundle):
    with pytest.raises(InvalidOption, match=r"docs/0\.md: --field reads rows"):
        embed_corpus(
            walk(["docs/0.md"]), Path("o"), options(tiny_bundle), run=run_here, rows=RowSource("x")
        )
    with pytest.raises(InvalidOption, match="stream"):
        embed_corpus(walk(["-"]), Path("o"), options(tiny_bundle), run=run_here)
    with pytest.raises(InvalidOption, match="bulk runs"):
        embed_corpus(
            walk(["docs"]), Path("o"), options(tiny_bundle, long_text="error"), run=run_here
        )


def test_progress_counts_what_an_earlier_run_did(corpus, tiny_bundle):
    with pytest.raises(Stopped):
        embed_corpus(walk(["docs"]), Path("out"), options(tiny_bundle), run=run_two)
    events = []
    report = embed_corpus(
        walk(["docs"]),
        Path("out"),
        options(tiny_bundle),
        run=run_here,
        resume=True,
        progress=events.append,
    )
    done = events[-1]
    assert (events[0].event, done.event, done.status) == ("start", "done", "done")
    assert done.files_done == 10
    assert 0 < done.chunks_reused < done.chunks_done == report.counts.vectors


def test_a_damaged_part_is_named(corpus, tiny_bundle):
    embed_corpus(walk(["docs"]), Path("out"), options(tiny_bundle), run=run_here)
    Path("out/part-000001.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(InvalidOption, match=r"part-000001\.parquet is damaged"):
        embed_corpus(walk(["docs"]), Path("out"), options(tiny_bundle), run=run_here, resume=True)


def test_a_part_that_a_dead_worker_finished_is_not_made_again(corpus, tiny_bundle):
    made = []

    def keep_job(job, left):
        made.append(job)
        yield from run_here(job, left)

    embed_corpus(walk(["docs"]), Path("out"), options(tiny_bundle), run=keep_job)
    worker = ShardEmbedder(made[0])
    assert worker.finished(0).counts.vectors > 0
    assert worker.finished(99) is None
