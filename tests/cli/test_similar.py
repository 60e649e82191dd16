"""`embed similar`: the cosine matrix."""

import csv
import io
import json

import numpy as np


def test_table_shows_the_matrix_and_the_texts(embed):
    done = embed("similar", "hello", "hello", "other words")
    lines = done.text.splitlines()
    assert done.code == 0
    assert lines[0].split() == ["0", "1", "2"]
    assert lines[1].split() == ["0", "1.0000", "1.0000", lines[1].split()[3], "hello"]
    assert lines[3].endswith("other words")


def test_json_and_csv_hold_the_cosines_of_the_vectors(embed):
    texts = ["hello", "other words", "third"]
    records = embed("text", *texts).records
    vectors = np.array([record["embedding"] for record in records], dtype=np.float64)
    expected = vectors @ vectors.T
    body = json.loads(embed("similar", *texts, "--json").text)
    assert body["texts"] == texts
    assert body["space"] == records[0]["space"]
    assert body["task"] == "document"
    np.testing.assert_allclose(body["similarity"], expected, rtol=0, atol=1e-6)
    rows = list(csv.reader(io.StringIO(embed("similar", *texts, "-f", "csv").text, newline="")))
    assert rows[0] == ["", "0", "1", "2"]
    cells = np.array([row[1:] for row in rows[1:]], dtype=np.float64)
    np.testing.assert_allclose(cells, expected, rtol=0, atol=1e-6)


def test_lines_of_a_file_or_of_stdin_are_texts(embed, tmp_path):
    (tmp_path / "texts").write_text("hello\nother words\n")
    expected = embed("similar", "hello", "other words").text
    assert embed("similar", "-i", "texts", "--lines").text == expected
    assert embed("similar", "--lines", stdin="hello\nother words\n").text == expected
    assert embed("similar", "hello", "-i", "-", stdin="other words").text == expected


def test_a_long_text_is_cut_in_the_table_only(embed):
    lines = embed("similar", "word " * 50, "b").text.splitlines()
    assert len(lines[1]) <= 80
    assert lines[1].endswith("…")


def test_a_missing_file_is_3(embed):
    assert embed("similar", "a", "-i", "nowhere").code == 3
