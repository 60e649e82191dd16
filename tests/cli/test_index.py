"""`embed index` as it is typed."""

import json
import re
import signal
import subprocess
import sys

import pytest


@pytest.fixture
def docs(tmp_path):
    root = tmp_path / "docs"
    root.mkdir()
    (root / "lease.md").write_text("# Lease\n\nHow to renew the lease of the house.\n")
    (root / "river.txt").write_text("The river and the night.\n")
    return root


@pytest.fixture
def indexed(embed, docs, environment, tmp_path):
    environment["EMBED_DB"] = str(tmp_path / "index" / "index.db")
    assert embed("index", "add", docs).code == 0
    return docs


def test_add_and_update_say_what_they_did(embed, docs, environment, tmp_path):
    environment["EMBED_DB"] = str(tmp_path / "new" / "index.db")
    first = embed("index", "add", "docs")
    assert first.code == 0
    assert re.fullmatch(
        r"docs: 2 files \(2 new\), 2 passages embedded, 0 reused, 0 errors, \d+\.\d s\n", first.text
    )
    assert first.stderr == ""
    second = json.loads(embed("index", "update", "--json").text)
    assert (second["files_seen"], second["chunks_embedded"]) == (2, 0)


def test_index_lies_in_the_data_folder_unless_named(embed, docs, environment):
    embed("index", "add", docs)
    status = json.loads(embed("index", "status", "--json").text)
    assert status["path"].startswith(environment["XDG_DATA_HOME"])
    assert status["path"].endswith("embedge/index.db")
    assert embed("search", "lease", "--db", "other.db").code == 2


def test_a_variable_that_names_a_model_is_no_reason_to_refuse(
    embed, indexed, environment, tiny_learned_bundle
):
    environment["EMBED_MODEL"] = str(tiny_learned_bundle)
    assert embed("search", "lease").code == 0
    assert embed("index", "update").code == 0
    (indexed.parent / "more").mkdir()
    (indexed.parent / "more" / "a.txt").write_text("Other words.")
    embed("index", "add", "more")
    status = json.loads(embed("index", "status", "--json").text)
    models = {each["name"]: each["model"] for each in status["collections"]}
    assert models == {"docs": "tiny", "more": "tiny-learned"}


def test_another_model_that_was_typed_is_exit_6_with_the_command_that_moves(
    embed, indexed, tiny_learned_bundle
):
    for words in (("search", "lease"), ("index", "update")):
        outcome = embed(*words, "-m", tiny_learned_bundle)
        assert outcome.code == 6
        assert "embed index update -C docs --to MODEL" in outcome.error
    outcome = embed("index", "update", "--to", tiny_learned_bundle, "--yes")
    assert (outcome.code, "2 passages embedded" in outcome.text) == (0, True)
    assert embed("search", "lease", "-m", tiny_learned_bundle).code == 0


def test_much_to_embed_without_a_terminal_needs_yes(
    embed, docs, environment, tmp_path, monkeypatch
):
    from embedge.runtime.index import results

    monkeypatch.setattr(results, "CONSENT_CHUNKS", 1)
    environment["EMBED_DB"] = str(tmp_path / "index.db")
    outcome = embed("index", "add", docs)
    assert outcome.code == 2
    assert "2 passages" in outcome.error
    assert "--yes" in outcome.error
    assert embed("index", "ls").text == ""
    assert embed("index", "add", docs, "--yes").code == 0


def test_plan_names_files_passages_tokens_time_and_bytes(embed, indexed):
    (indexed / "new.txt").write_text("Something new about the river.")
    text = embed("index", "plan").text
    assert "files: 1 new, 2 unchanged" in text
    assert "passages: 3, of them 1 to embed, 2 reused" in text
    assert re.search(r"\d+ tokens, about \d+ s, [\d.]+ (bytes|kB) more on disk|\d+ tokens", text)
    plan = json.loads(embed("index", "plan", "--json").text)
    assert plan["to_embed"] == 1
    assert list(plan["collections"][0]) == [
        "collection", "model", "space", "files_new", "files_changed", "files_moved",
        "files_missing", "files_unchanged", "skipped", "offline_roots", "chunks", "to_embed",
        "reused", "tokens", "seconds", "bytes",
    ]  # fmt: skip


def test_files_that_fail_are_exit_3_and_named_by_status(embed, indexed):
    (indexed / "bad.json").write_text("{")
    outcome = embed("index", "update")
    assert outcome.code == 3
    assert "embed index status --errors" in outcome.stderr
    listed = embed("index", "status", "--errors").text
    assert "bad.json: error, format" in listed
    assert embed("index", "update").code == 0


def test_ls_shows_state_and_passages(embed, indexed):
    (indexed / "river.txt").unlink()
    embed("index", "update")
    lines = embed("index", "ls").text.splitlines()
    assert [line.split()[:2] for line in lines] == [["read", "1"], ["missing", "1"]]
    entries = json.loads(embed("index", "ls", "--json").text)
    assert [entry["state"] for entry in entries] == ["read", "missing"]


def test_flags_choose_files_and_stay_chosen(embed, docs, environment, tmp_path):
    environment["EMBED_DB"] = str(tmp_path / "index.db")
    embed("index", "add", docs, "--include", "*.md")
    (docs / "other.txt").write_text("Other words.")
    (docs / "other.md").write_text("Other words.")
    assert json.loads(embed("index", "update", "--json").text)["files_new"] == 1
    assert embed("search", "river", "--mode", "text").text == ""


def test_drive_that_is_away_is_a_warning(embed, indexed, tmp_path):
    indexed.rename(tmp_path / "away")
    outcome = embed("index", "update")
    assert outcome.code == 0
    assert str(indexed) in outcome.stderr
    assert "(away)" in embed("search", "lease").text
    moved = embed("index", "add", tmp_path / "away", "--replaces", indexed)
    assert "0 passages embedded" in moved.text


def test_rm_gc_verify_and_copies(embed, indexed, environment, tmp_path):
    assert (
        embed("index", "verify", "--deep").text == "ok  2 passages, 2 vectors, 2 embedded again\n"
    )
    assert embed("index", "export", "copy.db").code == 0
    assert embed("index", "export", "copy.db").code == 2
    assert "2 files" in embed("index", "rm", "docs").text
    assert "newly marked" in embed("index", "gc", "--dry-run", "--grace", "0d").text
    assert "removed 2 vectors" in embed("index", "gc", "--grace", "0d").text
    assert embed("index", "gc", "--grace", "soon").code == 2
    assert "docs: 2 files, 2 passages, 2 vectors" in embed("index", "import", "copy.db").text
    assert embed("search", "lease", "-f", "files").text.splitlines()[0] == str(indexed / "lease.md")


def test_damaged_index_is_exit_6(embed, indexed, tmp_path):
    database = tmp_path / "index" / "index.db"
    database.write_bytes(b"\xff" * 4096)
    for words in (("search", "x"), ("index", "update"), ("index", "verify")):
        assert embed(*words).code == 6


def test_progress_as_json_lines(embed, docs, environment, tmp_path):
    environment["EMBED_DB"] = str(tmp_path / "index.db")
    outcome = embed("index", "add", docs, "--progress", "json")
    events = [json.loads(line) for line in outcome.stderr.splitlines()]
    assert [events[0]["event"], events[-1]["event"]] == ["start", "done"]
    assert events[-1]["files_done"] == 2


@pytest.mark.parametrize("answer", [True, False])
def test_at_a_terminal_the_plan_is_shown_and_asked_about(
    embed, docs, environment, tmp_path, monkeypatch, answer
):
    import typer

    from embedge.cli import index_flags
    from embedge.runtime.index import results

    monkeypatch.setattr(results, "CONSENT_CHUNKS", 1)
    monkeypatch.setattr(index_flags, "_is_terminal", lambda: True)
    monkeypatch.setattr(typer, "confirm", lambda *_, **__: answer)
    environment["EMBED_DB"] = str(tmp_path / "index.db")
    outcome = embed("index", "add", docs)
    assert "embed: docs (tiny, " in outcome.stderr
    assert "2 to embed" in outcome.stderr
    assert outcome.code == (0 if answer else 130)
    assert bool(embed("index", "ls").text) == answer


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ")
def test_ctrl_c_is_130_and_the_next_run_goes_on(embed, command, environment, tmp_path):
    root = tmp_path / "many"
    root.mkdir()
    for number in range(80):
        text = "\n\n".join(f"Paragraph {number} {part} of the river." for part in range(20))
        (root / f"{number}.txt").write_text(text)
    environment["EMBED_DB"] = str(tmp_path / "index.db")
    words = [*command, "index", "add", "many", "--yes", "--progress", "json"]
    with subprocess.Popen(
        words, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stderr is not None
        assert b'"start"' in child.stderr.readline()
        child.send_signal(signal.SIGINT)
        rest = child.stderr.read()
        assert child.wait(60) == 130
    assert b'"cancelled"' in rest
    assert embed("index", "verify").code == 0
    assert embed("index", "update").code == 0
    (status,) = json.loads(embed("index", "status", "--json").text)["collections"]
    assert (status["files"], status["pending"]) == ({"read": 80}, 0)
