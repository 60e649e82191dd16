"""`embed files`, `embed PATH`, `embed chunk`: records, order, failures in place."""

import json
import os

import pytest

_FIELDS = [
    "id", "path", "chunk", "n_chunks", "char_start", "char_end", "line_start", "line_end", "page",
    "heading", "n_tokens", "truncated", "task", "dim", "precision", "space", "embedding",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """Good and bad files, in the order of the walk."""
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("# Title\n\nSome text.\n")
    (docs / "b.bin").write_bytes(bytes(range(256)))
    (docs / "c.txt").write_text("search_query: plain\n")
    (docs / "d.txt").write_text("")
    (docs / "e.txt").write_bytes(b"\xef\xbb\xbf" + "für".encode("latin-1"))  # says UTF-8, is not
    (docs / "f.txt").write_text("word " * 1500)
    return docs


def test_records_of_a_folder_come_in_order_with_failures_in_place(embed, folder):
    done = embed("files", "docs")
    assert done.code == 3
    paths = list(dict.fromkeys(record["path"] for record in done.records))
    assert paths == [f"docs/{name}" for name in sorted(os.listdir(folder))]
    errors = {r["path"]: r["error"]["code"] for r in done.records if "error" in r}
    assert errors == {"docs/b.bin": "binary", "docs/d.txt": "empty", "docs/e.txt": "encoding"}
    assert list(done.records[0]) == _FIELDS
    last = [record for record in done.records if record["path"] == "docs/f.txt"]
    assert [record["chunk"] for record in last] == list(range(last[0]["n_chunks"]))
    assert "3 inputs failed" in done.stderr


def test_a_path_is_short_for_files(embed, folder):
    assert embed("docs").stdout == embed("files", "docs").stdout


def test_a_command_wins_over_a_file_of_the_same_name(embed, tmp_path):
    (tmp_path / "text").write_text("a file")
    assert embed("text", "hello", "-f", "jsonl").records[0]["path"] is None
    assert embed("./text").records[0]["path"] == "text"


def test_stdin_is_a_file_called_dash(embed):
    for arguments in (["-"], ["files", "-"]):
        done = embed(*arguments, stdin="hello")
        assert [record["id"] for record in done.records] == ["-#0"]


def test_contents_never_bring_their_own_prefix(embed, folder):
    record = embed("docs/c.txt").records[0]
    assert record["task"] == "document"


def test_chunks_are_what_files_embeds(embed, folder):
    chunks = embed("chunk", "docs").records
    records = embed("files", "docs", "--store-text").records
    assert [r["id"] for r in records] == [c["id"] for c in chunks]
    for chunk, record in zip(chunks, records, strict=True):
        if "error" in chunk:
            assert record == chunk
            continue
        assert all(chunk[name] == record[name] for name in (*_FIELDS[:12], "text"))


def test_chunk_needs_no_graph(embed_process, folder, environment):
    done = embed_process("chunk", "docs/a.md", "--format", "json", "--no-store-text")
    assert done.code == 0
    assert "text" not in json.loads(done.text)[0]


def test_one_vector_per_file_with_long_text_mean(embed, folder):
    records = embed("docs/f.txt", "--long-text", "mean").records
    assert len(records) == 1
    assert records[0]["n_windows"] > 1
    assert (records[0]["chunk"], records[0]["n_chunks"]) == (0, 1)
    assert (records[0]["char_start"], records[0]["char_end"]) == (0, 7500)


def test_filters_and_explicit_files(embed, folder):
    done = embed("docs", "--include", "*.md")
    assert {record["path"] for record in done.records} == {"docs/a.md"}
    done = embed("docs/c.txt", "docs", "--exclude", "*.txt", "--exclude", "*.bin")
    assert {record["path"] for record in done.records} == {"docs/c.txt", "docs/a.md"}


def test_files_of_folders_that_match_can_be_given_several_times(embed, folder):
    done = embed(
        "files", "--files", "docs", "a.*", "--files=docs", "[cf].txt", "--exclude", "f.txt"
    )
    assert [record["path"] for record in done.records] == ["docs/a.md", "docs/c.txt"]
    assert embed("chunk", "--files", "docs", "a.*").records[0]["path"] == "docs/a.md"
    done = embed("files", "--files", "docs")
    assert done.code == 2
    assert "--files docs needs a pattern" in done.error


def test_values_of_other_options_are_never_taken_for_the_flag(embed, folder):
    done = embed("files", "--prefix", "--files", "docs/a.md", "docs/c.txt")
    assert [record["path"] for record in done.records] == ["docs/a.md", "docs/c.txt"]
    assert embed("files", "--", "--files", "docs/a.md").records[0]["path"] == "--files"


def test_the_variable_names_folder_and_pattern(embed, folder):
    done = embed("files", EMBED_FILES="docs a.*")
    assert [record["path"] for record in done.records] == ["docs/a.md"]


def test_encoding_is_honoured(embed, folder):
    assert embed("docs/e.txt", "--encoding", "latin-1").code == 0


def test_missing_folder_huge_and_unreadable_files_are_failed_inputs(embed, folder):
    secret = folder / "secret.txt"
    secret.write_text("x")
    secret.chmod(0)
    big = folder / "big.txt"
    big.write_text("x" * 2000)
    done = embed("files", "nowhere", "docs", "--max-file-size", "1KB", "--include", "*.txt")
    codes = {r["path"]: r["error"]["code"] for r in done.records if "error" in r}
    assert done.code == 3
    assert codes["nowhere"] == "not_found"
    assert codes["docs/big.txt"] == "too_large"
    if os.geteuid() != 0:  # root reads everything
        assert codes["docs/secret.txt"] == "permission"


def test_a_file_that_went_away_after_the_walk_is_a_failed_input(folder, tiny_bundle, monkeypatch):
    from embedge.cli.documents import list_files
    from embedge.cli.options import WalkFlags
    from embedge.cli.output.resume import Finished

    monkeypatch.chdir(folder)
    files = list_files(["a.md", "c.txt"], [], WalkFlags())
    (folder / "a.md").unlink()
    inputs = list(files.inputs(None, Finished(), None))
    assert [getattr(one, "code", None) for one in inputs] == ["vanished", None]


def test_a_file_with_white_space_only_is_empty(embed, tmp_path):
    (tmp_path / "a.txt").write_text(" \n\t\n")
    assert embed("a.txt").records[0]["error"]["code"] == "empty"


def test_fail_fast_ends_the_run(embed, folder):
    done = embed("docs", "--fail-fast")
    assert done.code == 3
    assert [record["path"] for record in done.records] == ["docs/a.md", "docs/b.bin"]


def test_quiet_says_nothing_about_failures(embed, folder):
    done = embed("docs", "-q")
    assert done.code == 3
    assert done.stderr == ""


def test_many_failures_are_summed_up(embed, tmp_path):
    for number in range(14):
        (tmp_path / f"{number:02}.txt").touch()
    lines = embed(".").stderr.splitlines()
    assert len(lines) == 12
    assert "4 more" in lines[10]
    assert "14 inputs failed, 0 vectors" in lines[11]


def test_replay_says_whether_a_run_can_be_repeated(embed, folder, tmp_path):
    assert embed("docs", "-o", "out.jsonl").code == 3
    done = embed("files", "--replay", "out.jsonl.manifest.json", "-q")
    assert done.code == 0
    assert "output bytes match" in done.stderr
    (folder / "c.txt").write_text("other words")
    done = embed("files", "--replay", "out.jsonl.manifest.json", "-q")
    assert done.code == 4
    assert "inputs, output bytes differ" in done.stderr


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"output": {"file": "../stolen.jsonl"}}, "plain file name"),
        ({"output": {"file": ".."}}, "plain file name"),
        ({"output": []}, "plain file name"),
        ({"options": []}, "another command"),
        ({"command": "docs"}, "list of words"),
        ({"command": ["models", "rm", "all", "--yes"]}, "would run `embed models rm"),
        ({"command": ["files", "--replay", "out.jsonl.manifest.json"]}, "would run"),
        ({"command": []}, "would run"),
    ],
)
def test_replay_runs_nothing_that_a_forged_manifest_asks_for(embed, folder, tmp_path, change, said):
    assert embed("docs", "-o", "out.jsonl").code == 3
    manifest = tmp_path / "out.jsonl.manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change))
    before = sorted(tmp_path.rglob("*"))
    done = embed("files", "--replay", "out.jsonl.manifest.json")
    assert (done.code, said in done.error) == (2, True)
    assert sorted(tmp_path.rglob("*")) == before


def test_replay_refuses_what_is_no_manifest(embed, folder):
    assert "cannot be read" in embed("files", "--replay", "nowhere").error
    (folder / "x.json").write_text("{}")
    assert "no manifest" in embed("files", "--replay", "docs/x.json").error
    assert embed("text", "a", "b", "-o", "texts.jsonl").code == 0
    done = embed("files", "--replay", "texts.jsonl.manifest.json")
    assert (done.code, "another command" in done.error) == (2, True)
    assert "leave the paths out" in embed("docs", "--replay", "x").error
