"""Each exit code once, with the one line that says what to do."""

import json
import shutil

import numpy as np
import pytest

from embedge.cli import EXTRA_OF, run
from embedge.cli.records import Record


def test_0_all_inputs_done(embed):
    assert embed("text", "hello").code == 0


def test_1_a_run_that_cannot_go_on(embed):
    done = embed("text", "hello", "-o", "missing/out.json")
    assert (done.code, done.error) == (1, "missing: no such folder; make it first")


@pytest.mark.parametrize(
    ("arguments", "way_out"),
    [
        (["text", "a", "--format", "jsnl"], "did you mean jsonl?"),
        (["text", "a", "--variant", "int4"], "did you mean int8?"),
        (["text", "a", "--task", "queri"], "choose one of document, query"),
        (["text", "a", "--precision", "double"], "choose one of float32"),
        (["text", "a", "--long-text", "cut"], "choose one of chunk, mean"),
        (["text", "a", "--progress", "fancy"], "choose one of auto, bar, json, none"),
        (["text", "a", "--max-memory", "much"], "write it like 800MB"),
        (["text", "a", "--task", "query", "--prefix", "x"], "give one of them"),
        (["text", "a", "--prefix", "x", "--no-prefix"], "give one of them"),
        (["text", "a", "--lines"], "texts as arguments do not go with it"),
        (["text", "--lines", "--field", "x"], "give one of them"),
        (["text", "--id-field", "x"], "needs --field"),
        (["text", "a", "b", "--id", "x"], "exactly one text"),
        (["text", "a", "--metadata", "[1]"], "not an object"),
        (["text", "a", "--metadata", "{"], "not JSON"),
        (["text", "a", "-d", "33"], "choose at most 32"),
        (["text", "a", "--modle", "x"], "Did you mean --model?"),
        (["text", "a", "-d", "many"], "--dim"),
        (["texts", "a"], "Did you mean `embed text`?"),
        (["some words"], 'embed text "some words"'),
        (["nowhere.md"], "embed text"),
        (["-m", "x", "a"], "after a command"),
        (["files"], "name one"),
        (["similar", "a"], "at least two"),
        (["chunk", "x", "--max-tokens", "9999"], "model's limit"),
    ],
)
def test_2_usage_errors_name_the_way_out(embed, arguments, way_out):
    done = embed(*arguments)
    assert done.code == 2
    assert done.stdout == b""
    assert way_out in done.error


def test_2_no_text_and_a_terminal(embed, monkeypatch):
    monkeypatch.setattr("embedge.cli.text._stdin_is_terminal", lambda: True)
    done = embed("text")
    assert (done.code, "embed text" in done.error) == (2, True)


def test_2_no_arguments_print_the_help(embed):
    done = embed()
    assert done.code == 2
    assert "Usage: embed" in done.stderr


@pytest.mark.parametrize(("package", "extra"), sorted(EXTRA_OF.items()))
def test_2_a_missing_extra_is_one_line_with_the_command_that_installs_it(
    capsys, monkeypatch, package, extra
):
    def dispatch(arguments):
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    monkeypatch.setattr("embedge.cli._dispatch", dispatch)
    assert run(["export"]) == 2
    expected = (
        f"embed: error: this command needs {package}, which is not installed. "
        f"Run: pip install 'embedge[{extra}]'\n"
    )
    assert capsys.readouterr().err == expected


def test_3_some_inputs_failed(embed, tmp_path):
    (tmp_path / "a.txt").write_text("text")
    assert embed("files", "a.txt", "nowhere").code == 3


def test_4_a_damaged_model(embed, tiny_bundle, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(tiny_bundle, broken)
    with (broken / "weights.bin").open("r+b") as file:
        file.write(b"\xff\xff\xff\xff")
    done = embed("text", "a", "-m", "broken")
    assert done.code == 4
    assert "weights.bin" in done.error


def test_5_a_model_that_is_not_here(embed):
    done = embed("text", "a", "-m", "nomic-embed-text-v9")
    assert done.code == 5
    assert "embed models pull" in done.error


def test_6_another_space(embed, tmp_path, monkeypatch):
    """A run that stopped after its first block is continued at another size."""
    from embedge.cli import embed_command

    def stop(job, embedder, session, callback, arguments):
        session.writer.write(record)
        raise OSError(28, "No space left on device")

    (tmp_path / "rows").write_text("row\n" * 300)
    arguments = ["text", "-i", "rows", "--lines", "-o", "out.jsonl", "--batch-size", "1"]
    record = Record({"id": "0", "path": "rows", "n_tokens": 3, "truncated": False}, np.ones(2))
    with monkeypatch.context() as patch:
        patch.setattr(embed_command, "_loop", stop)
        assert embed(*arguments).code == 1
    done = embed(*arguments, "--resume", "-d", "16")
    assert done.code == 6
    assert "dim is 32, here 16" in done.error or "dim is 16, here 32" in done.error


def test_7_memory_that_is_too_small(embed):
    done = embed("text", "a", "--max-memory", "1MB")
    assert done.code == 7
    assert "MB" in done.error


def test_json_gives_errors_in_one_form(embed):
    done = embed("text", "a", "-m", "nowhere-model", "--json")
    body = json.loads(done.stderr)
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "exit_code"}
    assert (body["error"]["code"], body["error"]["exit_code"]) == ("model_not_found", 5)
    usage = json.loads(embed("text", "a", "--nonsense", "--json").stderr)
    assert (usage["error"]["code"], usage["error"]["exit_code"]) == ("usage", 2)
    variable = json.loads(embed("text", "a", "--nonsense", EMBED_JSON="1").stderr)
    assert variable == usage


def test_json_behind_two_dashes_is_a_text(embed):
    done = embed("text", "--nonsense", "--", "--json")
    assert done.error.startswith("embed text has no option")


def test_vv_adds_the_traceback(embed):
    done = embed("text", "a", "-m", "nowhere-model", "-vv")
    assert done.code == 5
    assert "Traceback" in done.stderr
    assert "embed: error: " in done.stderr


def test_a_bug_says_that_it_is_one(capsys, monkeypatch):
    def dispatch(arguments):
        raise RuntimeError("unforeseen")

    monkeypatch.setattr("embedge.cli._dispatch", dispatch)
    assert run(["text"]) == 1
    error = capsys.readouterr().err
    assert "RuntimeError: unforeseen" in error
    assert "Traceback" not in error
