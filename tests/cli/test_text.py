"""`embed text`: arguments, files, stdin, rows; prefixes; ids."""

import json
import subprocess

import numpy as np
import pytest


def assert_same_vector(expected, actual):
    """Neighbours in a batch may move the last digit of fp32."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)


def test_one_text_prints_a_bare_array_of_the_models_size(embed):
    done = embed("text", "hello")
    assert done.code == 0
    vector = np.array(json.loads(done.text), dtype=np.float32)
    assert vector.shape == (32,)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)


def test_a_text_has_the_vector_that_python_gives(embed, tiny_bundle):
    from embedge import Embedder

    with Embedder(str(tiny_bundle), threads=1) as embedder:
        expected = embedder.encode("hello there")
    printed = json.loads(embed("text", "hello there").text)
    np.testing.assert_array_equal(expected, np.array(printed, dtype=np.float32))


def test_several_texts_print_one_record_per_line_in_order(embed):
    done = embed("text", "b", "a", "-c", "c")
    assert done.code == 0
    assert [record["id"] for record in done.records] == ["0", "1", "2"]
    assert list(done.records[0]) == [
        "id", "path", "n_tokens", "truncated", "task", "dim", "precision", "space", "embedding",
    ]  # fmt: skip
    alone = json.loads(embed("text", "a").text)
    assert_same_vector(done.records[1]["embedding"], alone)


@pytest.mark.parametrize("arguments", [["text"], ["text", "-"], ["text", "-i", "-"]])
def test_stdin_is_one_text(embed, arguments):
    done = embed(*arguments, stdin="two\nlines")
    assert done.code == 0
    assert json.loads(done.text) == json.loads(embed("text", "two\nlines").text)


def test_a_file_is_one_text_with_its_path(embed, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfhello")
    done = embed("text", "-i", "a.txt", "-f", "jsonl")
    assert done.code == 0
    assert done.records[0]["path"] == "a.txt"
    assert done.records[0]["embedding"] == json.loads(embed("text", "hello").text)


def test_lines_are_texts_and_a_blank_line_is_an_empty_text(embed):
    done = embed("text", "--lines", stdin="hello\r\n\nlast\u2028same")
    assert done.code == 0
    assert [record["id"] for record in done.records] == ["0", "1", "2"]
    assert_same_vector(done.records[0]["embedding"], json.loads(embed("text", "hello").text))


def test_a_field_of_json_lines_is_the_text_and_broken_rows_keep_their_place(embed):
    rows = [
        '{"t": "hello", "n": "x"}', "not json", '{"n": 1}', '{"t": 5, "n": 2}', "[1]", "",
        '{"t": "last", "n": 7}',
    ]  # fmt: skip
    done = embed("text", "--field", "t", "--id-field", "n", stdin="\n".join(rows))
    assert done.code == 3
    codes = [record.get("error", {}).get("code") for record in done.records]
    assert codes == [None, "bad_row", "bad_row", "bad_row", "bad_row", None, None]
    assert [record["id"] for record in done.records] == ["x", "1", "2", "3", "4", "5", "7"]
    assert "row 1" in done.stderr


def test_a_row_that_is_not_utf8_is_one_failed_input(embed):
    done = embed("text", "--lines", stdin=b"one\n\xff\xfe\nthree\n")
    assert done.code == 3
    assert [record.get("error", {}).get("code") for record in done.records] == [
        None, "encoding", None,
    ]  # fmt: skip


def test_encoding_is_honoured_for_rows(embed):
    done = embed("text", "--lines", "--encoding", "latin-1", stdin="f\xfcr".encode("latin-1"))
    assert done.records[0]["embedding"] == json.loads(embed("text", "für").text)


def test_a_row_over_the_size_limit_fails_and_the_next_one_is_read(embed):
    done = embed("text", "--lines", "--max-file-size", "10", stdin="x" * 50 + "\nshort\n")
    assert [record.get("error", {}).get("code") for record in done.records] == ["too_large", None]


def test_arguments_keep_their_own_prefix_but_contents_do_not(embed):
    own = embed("text", "search_query: hello", "-f", "jsonl", "-q").records[0]
    asked = embed("text", "hello", "--task", "query", "-f", "jsonl").records[0]
    assert own["task"] == "query"
    assert own["embedding"] == asked["embedding"]
    content = embed("text", "-f", "jsonl", stdin="search_query: hello").records[0]
    assert content["task"] == "document"
    assert content["embedding"] != asked["embedding"]


def test_prefix_flags(embed):
    query = embed("text", "hello", "--task", "query").text
    assert embed("text", "hello", "--prefix", "search_query: ").text == query
    assert embed("text", "hello", "--prepend", "search_query: ").text == query
    plain = embed("text", "hello", "--task", "none").text
    assert embed("text", "hello", "--no-prefix").text == plain
    assert embed("text", "hello", "--task", "passage").text == embed("text", "hello").text
    custom = embed("text", "hello", "--prefix", "my: ", "-f", "jsonl").records[0]
    assert custom["task"].startswith("custom:")


def test_a_flag_wins_over_the_variable_of_its_opposite(embed):
    query = embed("text", "hello", "--task", "query").text
    assert embed("text", "hello", "--task", "query", EMBED_PREFIX="x: ").text == query
    none = embed("text", "hello", "--no-prefix").text
    assert embed("text", "hello", "--no-prefix", EMBED_TASK="query").text == none


def test_id_and_metadata_are_in_the_record(embed):
    done = embed("text", "hello", "--id", "mine", "--metadata", '{"a": [1]}', "-f", "jsonl")
    assert done.records[0]["id"] == "mine"
    assert done.records[0]["metadata"] == {"a": [1]}


def test_store_text_adds_the_text(embed):
    done = embed("text", "a", "b", "--store-text")
    assert [record["text"] for record in done.records] == ["a", "b"]


def test_long_text_modes(embed):
    text = "word " * 2000
    mean = embed("text", "-f", "jsonl", stdin=text).records[0]
    assert mean["n_windows"] > 1
    assert mean["truncated"] is False
    cut = embed("text", "-f", "jsonl", "--long-text", "truncate", stdin=text).records[0]
    assert cut["truncated"] is True
    chunks = embed("text", "--long-text", "chunk", stdin=text).records
    assert len(chunks) > 1
    assert [chunk["id"] for chunk in chunks] == [f"0#{n}" for n in range(len(chunks))]
    assert chunks[0]["n_chunks"] == len(chunks)


def test_a_text_over_the_limit_is_one_failed_input_with_long_text_error(embed):
    done = embed("text", "--lines", "--long-text", "error", stdin="short\n" + "w " * 900 + "\nend")
    assert done.code == 3
    assert [record.get("error", {}).get("code") for record in done.records] == [
        None, "too_long", None,
    ]  # fmt: skip


def test_dim_and_precision(embed):
    assert len(json.loads(embed("text", "hello", "-d", "16").text)) == 16
    assert len(json.loads(embed("text", "hello", "--truncate-dim", "16").text)) == 16
    packed = embed("text", "hello", "--precision", "ubinary", "-f", "jsonl").records[0]
    assert len(packed["embedding"]) == 4
    assert packed["dim"] == 32
    half = embed("text", "hello", "--precision", "float16").text
    full = np.array(json.loads(embed("text", "hello").text), dtype=np.float32)
    np.testing.assert_array_equal(
        full.astype(np.float16), np.array(json.loads(half), dtype=np.float16)
    )


def test_no_normalize_is_another_space(embed):
    unit = embed("text", "hello", "-f", "jsonl").records[0]
    raw = embed("text", "hello", "-f", "jsonl", "--no-normalize").records[0]
    assert raw["space"] != unit["space"]
    assert np.linalg.norm(raw["embedding"]) != pytest.approx(1, abs=1e-3)


def test_fail_fast_stops_behind_the_first_failed_input(embed):
    done = embed("text", "--lines", "--fail-fast", stdin=b"a\n\xff\nb\n")
    assert done.code == 3
    assert ["error" in record for record in done.records] == [False, True]


def test_a_missing_input_file_is_a_failed_input(embed):
    done = embed("text", "-i", "nowhere.txt", "-f", "jsonl")
    assert done.code == 3
    assert done.records[0]["error"]["code"] == "not_found"


def test_an_empty_text_is_a_text(embed):
    assert embed("text", "").code == 0
    assert embed("text", stdin=b"").code == 0


def test_what_looks_like_an_option_is_a_text_behind_two_dashes(embed):
    assert "put -- before it" in embed("text", "-5").error
    assert embed("text", "--", "-5").code == 0


def test_names_and_texts_that_are_no_unicode_are_shown_in_valid_utf8(embed):
    done = embed("text", b"a\xff", "--id", b"\xfe", "-f", "csv")
    assert done.code == 0
    assert done.text.split("\r\n")[1].startswith("\\xfe,")
    done = embed("text", "-i", b"no\xff", "-f", "jsonl")
    assert done.records[0]["path"] == "no\\xff"
    row = '{"t": "\\ud800x", "n": "\\udc00"}'
    done = embed("text", "--field", "t", "--id-field", "n", "--store-text", stdin=row)
    assert (done.records[0]["id"], done.records[0]["text"]) == ("\ufffd", "\ufffdx")


@pytest.mark.parametrize(("arguments", "code"), [(["text"], 2), (["files", "-"], 3)])
def test_a_closed_stdin_is_no_crash(command, environment, tmp_path, arguments, code):
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *command, *arguments],
        capture_output=True, cwd=tmp_path, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == code
    assert b"Traceback" not in done.stderr


def test_a_row_of_exactly_the_limit_fits(embed):
    done = embed("text", "--lines", "--max-file-size", "5", stdin="12345\r\n123456\n12345")
    assert ["error" in record for record in done.records] == [False, True, False]


def test_an_untrained_size_works_with_a_warning(embed):
    done = embed("text", "hello", "-d", "20")
    assert (done.code, len(json.loads(done.text))) == (0, 20)
    assert "warning: dim 20 is no trained size of tiny (32, 16)" in done.stderr
    assert embed("text", "hello", "-d", "20", "-q").stderr == ""
