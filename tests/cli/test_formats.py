"""Every format reads back to the float32 values that were computed."""

import base64
import csv
import io
import json

import numpy as np
import pytest

ROWS = 'hello\n\ncomma, "quotes" and ünïcode\n'


@pytest.fixture
def expected(embed):
    """The vectors of ROWS as jsonl gives them."""
    done = embed("text", "--lines", stdin=ROWS)
    assert done.code == 0
    return np.array([record["embedding"] for record in done.records], dtype=np.float32)


@pytest.fixture
def written(embed):
    """Write ROWS with `-f FORMAT` to stdout and return the bytes."""

    def write(format, *more):
        done = embed("text", "--lines", "-f", format, *more, stdin=ROWS)
        assert done.code == 0, done.stderr
        return done.stdout

    return write


def test_printed_digits_are_the_shortest_that_read_back_to_the_same_float32():
    from embedge.cli.output.numbers import digits

    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 20_000, dtype=np.uint64).astype(np.uint32)
    values = bits.view(np.float32)
    values = values[np.isfinite(values)]
    for value, text in zip(values, digits(values), strict=True):
        assert np.float32(json.loads(text)) == value
        significant = text.lstrip("-").partition("e")[0].replace(".", "").strip("0")
        if len(significant) > 1:
            shorter = f"{float(value):.{len(significant) - 2}e}"
            assert np.float32(shorter) != value


def test_jsonl_equals_the_vectors_of_python(expected, tiny_bundle):
    from embedge import Embedder

    with Embedder(str(tiny_bundle), threads=1) as embedder:
        vectors = embedder.encode(ROWS.splitlines(), own_prefix=False)
    np.testing.assert_array_equal(expected, vectors)


def test_json_of_several_texts_is_an_array_of_records(expected, written):
    records = json.loads(written("json"))
    vectors = np.array([record["embedding"] for record in records], dtype=np.float32)
    np.testing.assert_array_equal(expected, vectors)


def test_csv_has_its_columns_and_reads_back(expected, written):
    data = written("csv")
    assert not data.startswith(b"\xef\xbb\xbf")
    rows = list(csv.reader(io.StringIO(data.decode(), newline="")))
    assert rows[0][:13] == [
        "id", "path", "chunk", "char_start", "char_end", "line_start", "line_end", "page",
        "n_tokens", "truncated", "space", "task", "error",
    ]  # fmt: skip
    assert rows[0][13:] == [f"e{i}" for i in range(32)]
    vectors = np.array([[float(cell) for cell in row[13:]] for row in rows[1:]], dtype=np.float32)
    np.testing.assert_array_equal(expected, vectors)


def test_npy_is_one_array_without_pickle(expected, written):
    array = np.load(io.BytesIO(written("npy")), allow_pickle=False)
    assert array.dtype == np.float32
    np.testing.assert_array_equal(expected, array)


def test_npz_has_its_arrays_without_pickle(expected, written):
    archive = np.load(io.BytesIO(written("npz")), allow_pickle=False)
    assert set(archive) == {
        "embeddings", "ids", "paths", "chunk", "char_start", "char_end", "n_tokens", "truncated",
        "space", "task",
    }  # fmt: skip
    np.testing.assert_array_equal(expected, archive["embeddings"])
    assert archive["ids"].tolist() == ["0", "1", "2"]
    assert archive["truncated"].dtype == np.bool_
    assert str(archive["task"]) == "document"


@pytest.mark.parametrize("precision", ["float32", "float16", "ubinary"])
def test_npy_rows_have_the_type_of_the_precision(written, precision):
    array = np.load(io.BytesIO(written("npy", "--precision", precision)), allow_pickle=False)
    dtype, width = {"float32": ("f4", 32), "float16": ("f2", 32), "ubinary": ("u1", 4)}[precision]
    assert array.dtype == np.dtype(dtype)
    assert array.shape == (3, width)


def test_hex_base64_and_blob_are_the_same_little_endian_bytes(expected, written):
    raw = expected.astype("<f4").tobytes()
    assert written("blob") == raw
    assert b"".join(map(bytes.fromhex, written("hex").decode().splitlines())) == raw
    assert b"".join(map(base64.b64decode, written("base64").splitlines())) == raw


def test_openai_body(expected, written):
    body = json.loads(written("openai"))
    assert body["object"] == "list"
    assert [item["index"] for item in body["data"]] == [0, 1, 2]
    assert all(item["object"] == "embedding" for item in body["data"])
    vectors = np.array([item["embedding"] for item in body["data"]], dtype=np.float32)
    np.testing.assert_array_equal(expected, vectors)
    assert body["usage"]["prompt_tokens"] == body["usage"]["total_tokens"] > 0
    assert body["model"] == "tiny"


@pytest.mark.parametrize("format", ["parquet", "arrow"])
def test_tables_have_metadata_and_fixed_size_lists(expected, written, format):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import ipc, parquet

    data = pa.BufferReader(written(format))
    table = parquet.read_table(data) if format == "parquet" else ipc.open_file(data).read_all()
    assert table.column("id").to_pylist() == ["0", "1", "2"]
    column = table.column("embedding").combine_chunks()
    assert column.type.list_size == 32
    vectors = column.flatten().to_numpy().reshape(3, 32)
    np.testing.assert_array_equal(expected, vectors)
    metadata = table.schema.metadata
    assert metadata[b"embedge.space"].startswith(b"tiny-")
    assert json.loads(metadata[b"embedge.manifest"])["command"][0] == "text"


BROKEN = b"good\n\xff\nlast\n"


@pytest.mark.parametrize(("format", "lines"), [("hex", ["x", "", "x"]), ("base64", ["x", "", "x"])])
def test_a_failed_input_is_an_empty_line(embed, format, lines):
    done = embed("text", "--lines", "-f", format, stdin=BROKEN)
    assert done.code == 3
    assert ["x" if line else "" for line in done.text.splitlines()] == lines


def test_a_failed_input_has_no_row_in_arrays_and_is_listed_beside_them(embed, tmp_path):
    done = embed("text", "--lines", "-f", "npy", "-o", "out.npy", stdin=BROKEN)
    assert done.code == 3
    assert np.load(tmp_path / "out.npy").shape == (2, 32)
    manifest = json.loads((tmp_path / "out.npy.manifest.json").read_text())
    counts = manifest["counts"]
    assert (counts["vectors"], counts["failed"], counts["truncated"]) == (2, 1, 0)
    assert [failure["id"] for failure in manifest["failures"]] == ["1"]


def test_a_failed_input_in_tables_csv_and_openai(embed):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = embed("text", "--lines", "-f", "csv", stdin=BROKEN).text.split("\r\n")
    assert rows[2].startswith("1,-,,,,,,,,,,,encoding,,")
    data = embed("text", "--lines", "-f", "parquet", stdin=BROKEN).stdout
    table = parquet.read_table(pa.BufferReader(data))
    assert table.column("error").to_pylist() == [None, "encoding", None]
    assert table.column("embedding").to_pylist()[1] is None
    body = json.loads(embed("text", "--lines", "-f", "openai", stdin=BROKEN).text)
    assert [item["index"] for item in body["data"]] == [0, 2]


@pytest.mark.parametrize("format", ["jsonl", "json", "csv", "npy", "npz", "openai", "parquet"])
def test_no_rows_give_a_valid_empty_output(embed, format):
    done = embed("text", "--lines", "-f", format, stdin=b"")
    assert done.code == 0
    if format == "json":
        assert json.loads(done.text) == []
    if format == "npy":
        assert np.load(io.BytesIO(done.stdout)).shape == (0, 32)
    if format == "npz":
        assert np.load(io.BytesIO(done.stdout))["embeddings"].shape == (0, 32)
