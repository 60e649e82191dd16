"""`embed search` as it is typed: formats, filters, other names."""

import csv
import io
import json

import pytest


@pytest.fixture
def indexed(embed, environment, tmp_path):
    root = tmp_path / "docs"
    root.mkdir()
    (root / "lease.md").write_text("# Lease\n\n## Renewal\n\nHow to renew the lease of a house.\n")
    (root / "river.txt").write_text("The river, and the night.\n")
    environment["EMBED_DB"] = str(tmp_path / "index.db")
    assert embed("index", "add", root).code == 0
    return root


def test_table_is_for_people(embed, indexed):
    outcome = embed("search", "renew", "the", "lease", "-n", "1")
    place, snippet = outcome.text.splitlines()
    assert str(indexed / "lease.md") in place
    assert "[docs]" in place
    assert "renew the lease" in snippet


def test_json_and_json_lines_hold_the_same(embed, indexed):
    lines = embed("search", "lease", "-f", "jsonl").records
    assert json.loads(embed("search", "lease", "-f", "json").text) == lines
    assert json.loads(embed("search", "lease", "--json").text) == lines
    assert lines[0]["path"] == str(indexed / "lease.md")
    assert [each["rank"] for each in lines] == [1, 2]


def test_csv_reads_back(embed, indexed):
    rows = list(csv.DictReader(io.StringIO(embed("search", "lease", "-f", "csv").text, newline="")))
    lines = embed("search", "lease", "-f", "jsonl").records
    assert [row["text"] for row in rows] == [line["text"] for line in lines]
    assert rows[0]["available"] == "true"
    assert json.loads(rows[0]["also_in"]) == []


def test_markdown_is_for_prompts(embed, indexed):
    text = embed("search", "renew", "-f", "md", "-n", "1").text
    assert text.startswith(f"## 1. {indexed / 'lease.md'}, lines 1 to 5 (Lease")
    assert "How to renew the lease of a house." in text


def test_files_are_one_path_per_line(embed, indexed):
    paths = embed("search", "lease", "-f", "files").text.splitlines()
    assert paths == [str(indexed / "lease.md"), str(indexed / "river.txt")]


def test_query_is_another_name_of_search(embed, indexed):
    assert embed("query", "lease", "-f", "json").text == embed("search", "lease", "-f", "json").text


@pytest.mark.parametrize("mode", ["hybrid", "vector", "text"])
def test_each_mode_explains_itself(embed, indexed, mode):
    (first, *_) = embed("search", "lease", "--mode", mode, "--explain", "-f", "jsonl").records
    assert (first["explain"]["rank_vector"] is None) == (mode == "text")
    assert (first["explain"]["rank_text"] is None) == (mode == "vector")
    assert "(score" in embed("search", "lease", "--mode", mode, "--explain").text


def test_all_gives_every_hit_above_a_cosine(embed, indexed):
    everything = embed("search", "lease", "--all", "--min-score", "-1", "-f", "jsonl").records
    assert len(everything) == 2
    assert embed("search", "lease", "--min-score", "0.9999", "-f", "jsonl").records == []


def test_filters(embed, indexed):
    only = embed("search", "lease river", "--path", "*.txt", "-f", "files").text
    assert only == f"{indexed / 'river.txt'}\n"
    assert embed("search", "lease", "-C", "nope").code == 2


def test_no_hit_is_said_on_stderr_and_is_no_failure(embed, indexed):
    outcome = embed("search", "zzz", "--mode", "text")
    assert (outcome.code, outcome.text) == (0, "")
    assert outcome.stderr == "embed: no hits\n"


def test_wrong_values_are_usage_errors(embed, indexed):
    assert "did you mean vector" in embed("search", "x", "--mode", "vectors").error
    assert "did you mean json" in embed("search", "x", "-f", "jso").error
    assert embed("search", "  ").code == 2
    assert embed("search", "x", "-n", "0").code == 2


def test_without_an_index_the_error_names_the_command_that_makes_one(embed, tmp_path):
    outcome = embed("search", "x", "--db", tmp_path / "none.db")
    assert outcome.code == 2
    assert "embed index add FOLDER" in outcome.error


def test_search_by_words_loads_no_model(embed, indexed, environment, tmp_path):
    environment["EMBED_MODEL"] = "no-such-model"
    assert embed("search", "lease", "--mode", "text").code == 0


def test_unknown_model_that_was_typed_is_exit_5(embed, indexed):
    assert embed("search", "lease", "-m", "no-such-model").code == 5
