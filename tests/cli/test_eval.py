"""`embed eval`: one table out of folders, in three forms."""

import json
import signal
import subprocess

import pytest


@pytest.fixture
def pack(tmp_path):
    """A retrieval task and a similarity task."""
    folder = tmp_path / "pack" / "tiny"
    folder.mkdir(parents=True)
    documents = {"d1": "the long river", "d2": "a small house"}
    rows = [json.dumps({"_id": d, "title": "", "text": t}) for d, t in documents.items()]
    (folder / "corpus.jsonl").write_text("\n".join(rows) + "\n")
    queries = [json.dumps({"_id": "q1", "text": "river"})]
    (folder / "queries.jsonl").write_text("\n".join(queries) + "\n")
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    lines = [f"{i}\t{i}.0\tword {i}\tword {i * i}" for i in range(5)]
    header = "row\tscore\tsentence1\tsentence2"
    (tmp_path / "pack" / "en.test.tsv").write_text("\n".join([header, *lines]) + "\n")
    return tmp_path / "pack"


def test_the_table_has_averages_and_tasks_with_differences(embed, pack):
    done = embed("eval", pack, "--dims", "32,16", "--baseline", "bm25")
    assert done.code == 0, done.stderr
    header = next(line for line in done.text.splitlines() if line.startswith("| task"))
    assert [cell.strip() for cell in header.strip("|").split("|")] == [
        "task", "measure", "items", "fp32 32", "fp32 16", "BM25",
    ]  # fmt: skip
    assert "| pack/tiny" in done.text
    assert "| pack/en.test" in done.text
    assert done.stderr == ""


def test_json_names_machine_versions_choices_and_spaces(embed, pack):
    report = json.loads(embed("eval", pack, "--json", "--sts-task", "none").text)
    assert report["choices"]["sts_task"] == "none"
    assert report["configurations"][0]["space"].startswith("tiny-")
    assert report["machine"]["versions"]["onnxruntime"]
    assert {task["name"] for task in report["tasks"]} == {"pack/tiny", "pack/en.test"}
    assert str(pack.parent) not in json.dumps(report["machine"])


def test_markdown_writes_the_printed_table(embed, pack, tmp_path):
    done = embed("eval", pack, "--markdown", "table.md")
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == done.text


def test_a_second_run_takes_its_vectors_from_the_cache_and_prints_the_same(embed, pack):
    first = embed("eval", pack)
    second = embed("eval", pack, "--progress", "json")
    assert second.text == first.text
    events = [json.loads(line) for line in second.stderr.splitlines()]
    assert events[-1]["event"] == "done"
    assert events[-1]["tokens_done"] == 0


def test_no_cache_leaves_no_vectors(embed, pack, environment, tmp_path):
    embed("eval", pack, "--cache-dir", tmp_path / "cache", "--no-cache")
    assert not list((tmp_path / "cache").glob("eval/*"))
    embed("eval", pack, "--cache-dir", tmp_path / "cache")
    assert len(list((tmp_path / "cache").glob("eval/*.sqlite"))) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--dims", "big"], 2, "--dims 'big': 'big' is no size"),
        (["--baseline", "bm26"], 2, "--baseline 'bm26' is unknown; did you mean bm25?"),
        (["--variants", "int8"], 2, "none of --variants int8"),
        (["--sts-task", "x"], 2, "--sts-task 'x' is unknown"),
        (["--tasks", "nothing"], 2, "no task in"),
        (["-m", "absent-model"], 5, "absent-model"),
    ],
)
def test_what_cannot_work_is_said_in_one_line(embed, pack, arguments, code, message):
    done = embed("eval", pack, *arguments)
    assert (done.code, message in done.error) == (code, True), done.stderr


def test_a_broken_file_is_named_with_its_line(embed, pack):
    (pack / "tiny" / "corpus.jsonl").write_text('{"_id": "d1", "text": "a"}\n{oops\n')
    done = embed("eval", pack)
    assert done.code == 3
    assert "corpus.jsonl, line 2 is not JSON" in done.error


@pytest.mark.slow
def test_a_killed_run_goes_on_from_its_last_block_and_prints_the_same(
    embed, environment, command, tmp_path
):
    lines = [f"der Fluss {i}\tthe river {i * 3} in the night" for i in range(2000)]
    (tmp_path / "de-en.tsv").write_text("\n".join(lines) + "\n")
    undisturbed = embed("eval", "de-en.tsv", "--no-cache")
    running = subprocess.Popen(
        [*command, "eval", "de-en.tsv", "--progress", "json"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert running.stderr is not None
    for line in running.stderr:
        if json.loads(line).get("chunks_done", 0) > 1500:
            break
    running.kill()
    running.stderr.close()
    assert running.wait() == -signal.SIGKILL
    resumed = embed("eval", "de-en.tsv", "--progress", "json")
    last = json.loads(resumed.stderr.splitlines()[-1])
    assert 512 <= last["chunks_reused"] < 4000
    assert resumed.text == undisturbed.text


def test_record_writes_a_copy_that_carries_its_scores_and_the_same_vectors(embed, pack, tmp_path):
    done = embed("eval", pack, "--dims", "32,16", "--baseline", "bm25", "--record", "scored")
    assert done.code == 0, done.stderr
    manifest = json.loads((tmp_path / "scored" / "embedge.json").read_text(encoding="utf-8"))
    scores = manifest["measured"]["evaluation"]
    assert {group["measure"] for group in scores.values()} == {"nDCG@10", "Spearman"}
    retrieval = next(group for group in scores.values() if group["kind"] == "retrieval")
    assert set(retrieval["points"]) == {"fp32", "bm25"}
    assert set(retrieval["points"]["fp32"]) == {"32", "16"}
    assert "Measured with `embed eval`" in (tmp_path / "scored" / "card.md").read_text("utf-8")
    assert "evaluation" in embed("models", "show", tmp_path / "scored").text
    assert embed("models", "verify", tmp_path / "scored").code == 0
    old, new = (embed("text", "a river", *m).text for m in ([], ["-m", tmp_path / "scored"]))
    assert old == new


def test_record_keeps_the_scores_of_earlier_runs(embed, pack, tmp_path):
    embed("eval", pack, "--tasks", "pack/tiny", "--record", "one")
    embed("eval", pack, "-m", "one", "--tasks", "pack/en.test", "--record", "two")
    manifest = json.loads((tmp_path / "two" / "embedge.json").read_text(encoding="utf-8"))
    assert {g["kind"] for g in manifest["measured"]["evaluation"].values()} == {"retrieval", "sts"}


@pytest.mark.parametrize("several", [["-m", "a", "-m", "b"], []])
def test_what_cannot_be_recorded_is_said_before_the_work(embed, pack, tmp_path, several):
    if not several:
        (tmp_path / "out").mkdir()
    done = embed("eval", pack, *several, "--record", "out")
    assert done.code == 2
    assert "--record out" in done.error


def test_an_untrained_size_is_warned_of_with_the_scores_around_it(embed, pack, tmp_path):
    embed("eval", pack, "--dims", "32,16", "--record", "scored")
    warned = embed("text", "a river", "-m", tmp_path / "scored", "-d", "20").stderr
    assert "dim 20 is no trained size of tiny (32, 16)" in warned
    assert "measured around it: pack" in warned
    assert " at 32, " in warned
    assert " at 16)" in warned
    assert "measured around it" not in embed("text", "a river", "-d", "20").stderr
