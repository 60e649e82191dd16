"""The scan gives exact integers, and together with rescoring the true neighbours."""

from importlib.resources import files

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedge.runtime.index import coarse_cache
from embedge.runtime.index.coarse_cache import cache_path, load_coarse
from embedge.runtime.index.coarse_scan import CoarseScan, best_rows
from embedge.runtime.index.connection import connect_writer, transaction
from embedge.runtime.index.rows import find_space
from embedge.runtime.index.vector_search import VectorSearch
from embedge.runtime.index.vectors import quantize_query, quantize_rows, store_vectors


@pytest.fixture(scope="module")
def scan():
    return CoarseScan(threads=2)


def unit(rng, count, dim):
    vectors = rng.standard_normal((count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_scan_graph_is_one_integer_product_with_zero_point_128():
    """The packaged graph, built again from its description."""
    helper, types = onnx.helper, onnx.TensorProto
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", "q", "z"], ["y"])],
        "",
        [
            helper.make_tensor_value_info("x", types.UINT8, ["n", "d"]),
            helper.make_tensor_value_info("q", types.INT8, ["d", "m"]),
        ],
        [helper.make_tensor_value_info("y", types.INT32, ["n", "m"])],
        [helper.make_tensor("z", types.UINT8, [], [128])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 10)], ir_version=8)
    packaged = (files("embedge.runtime.index") / "scan.onnx").read_bytes()
    assert model.SerializeToString(deterministic=True) == packaged
    assert len(packaged) < 128


@pytest.mark.parametrize("width", [1, 3, 16, 255, 256])
def test_integers_equal_a_reference_also_at_the_extremes(scan, width):
    rng = np.random.default_rng(width)
    rows = rng.integers(0, 256, (300, width)).astype(np.uint8)
    rows[0], rows[1] = 255, 0
    for query in (
        rng.integers(-64, 65, width), np.full(width, 64), np.full(width, -64), np.zeros(width)
    ):  # fmt: skip
        codes = query.astype(np.int8)
        expected = (rows.astype(np.int64) - 128) @ codes.astype(np.int64)
        np.testing.assert_array_equal(scan.integer_sums(rows, codes), expected)


def test_row_codes_are_half_a_step_away_at_most():
    """By hand: (0.6, -0.8) has its largest feature at -0.8, so one step is 0.8 / 127."""
    codes, scales = quantize_rows(np.array([[0.6, -0.8, 0.1]], dtype=np.float32), 2)
    np.testing.assert_array_equal(codes, [[128 + 95, 128 - 127]])  # 0.6 / 0.0063 = 95.25
    assert scales[0] == pytest.approx(0.8 / 127)
    vectors = unit(np.random.default_rng(0), 50, 64)
    codes, scales = quantize_rows(vectors, 64)
    restored = (codes.astype(np.float32) - 128) * scales[:, None]
    assert np.abs(restored - vectors).max() <= scales.max() / 2 + 1e-7


def test_query_codes_stay_within_seven_bits():
    codes, scale = quantize_query(np.array([0.6, -0.8], dtype=np.float32), 2)
    np.testing.assert_array_equal(codes, [48, -64])
    assert scale == pytest.approx(0.8 / 64)


def test_vector_of_zeros_scores_zero(scan):
    codes, scales = quantize_rows(np.zeros((1, 8), dtype=np.float32), 8)
    assert scan.scores(codes, scales, np.ones(8, dtype=np.float32)) == [0.0]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 3000), st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_best_rows_are_those_of_a_full_sort(size, count, seed):
    scores = np.random.default_rng(seed).integers(0, 50, size).astype(np.float32)
    expected = np.lexsort((np.arange(size), -scores))[:count]
    np.testing.assert_array_equal(best_rows(scores, count), expected)


@pytest.fixture
def filled(database, embedder):
    """Write vectors straight into an index of one space, without any text."""
    connection = connect_writer(database)
    from embedge.runtime.index.rows import ensure_space

    with transaction(connection):
        space = ensure_space(connection, embedder.space, embedder.loaded.bundle.manifest)

    def fill(vectors, first=0):
        keys = [(first + number).to_bytes(32) for number in range(len(vectors))]
        with transaction(connection):
            widths = (space.dim, space.coarse_dim)
            store_vectors(connection, space.id, widths, keys, vectors, [1] * len(keys))
        return find_space(connection, space.fingerprint)

    yield connection, fill
    connection.close()


def brute_force(vectors, query, count):
    fine = vectors.astype(np.float16).astype(np.float32)
    cosines = fine @ query / np.linalg.norm(fine, axis=1)
    return np.argsort(-cosines, kind="stable")[:count]


def found_rows(connection, database, space, query, count, monkeypatch):
    """Search past the part that maps vectors to texts, which there are none of here."""
    from embedge.runtime.index import vector_search

    monkeypatch.setattr(vector_search, "_live_keys", lambda _c, _i, keys: set(keys))
    search = VectorSearch(database, writable=True)
    found = search.search(connection, space, query, [], count)
    return [int.from_bytes(match.key) for match in found]


def test_top_ten_equals_brute_force_with_as_many_candidates_as_vectors(
    filled, database, monkeypatch
):
    connection, fill = filled
    rng = np.random.default_rng(1)
    vectors = unit(rng, 200, 32)
    space = fill(vectors)
    for query in unit(rng, 20, 32):
        found = found_rows(connection, database, space, query, 200, monkeypatch)
        assert found[:10] == brute_force(vectors, query, 10).tolist()


def test_recall_is_complete_on_clustered_vectors_beyond_the_candidates(
    filled, database, monkeypatch
):
    """Texts are clustered, unlike noise; 5,000 vectors around 100 centres, 200 candidates."""
    connection, fill = filled
    rng = np.random.default_rng(2)
    centres = unit(rng, 100, 32)
    vectors = centres[rng.integers(0, 100, 5000)] + 0.3 * unit(rng, 5000, 32)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    space = fill(vectors)
    hits = 0
    for query in vectors[::250] + 0.1 * unit(rng, 20, 32):
        query = query / np.linalg.norm(query)
        found = found_rows(connection, database, space, query, 200, monkeypatch)[:10]
        hits += len(set(found) & set(brute_force(vectors, query, 10).tolist()))
    assert hits == 20 * 10


def test_cache_is_written_appended_to_and_made_anew_after_deletions(filled, database, monkeypatch):
    monkeypatch.setattr(coarse_cache, "_FEW", 50)
    connection, fill = filled
    vectors = unit(np.random.default_rng(3), 300, 32)
    space = fill(vectors[:200])
    (first,) = load_coarse(connection, database, space, writable=True)
    path = cache_path(database, space)
    assert len(first) == 200
    written = path.read_bytes()
    space = fill(vectors[200:220], 200)
    parts = load_coarse(connection, database, space, (first,), writable=True)
    assert [len(part) for part in parts] == [200, 20]
    assert path.read_bytes() == written
    space = fill(vectors[220:], 220)
    (whole,) = load_coarse(connection, database, space, parts, writable=True)
    assert len(whole) == 300
    assert path.read_bytes() != written
    with transaction(connection):
        connection.execute("DELETE FROM vectors WHERE id <= 100")
    space = find_space(connection, space.fingerprint)
    (left,) = load_coarse(connection, database, space, (whole,), writable=True)
    assert left.ids.tolist() == list(range(101, 301))
    np.testing.assert_array_equal(left.codes, quantize_rows(vectors[100:], 32)[0])


@pytest.mark.parametrize("damage", ["truncate", "flip", "foreign", "empty"])
def test_damaged_cache_is_made_anew(filled, database, damage, monkeypatch):
    monkeypatch.setattr(coarse_cache, "_FEW", 1)
    connection, fill = filled
    vectors = unit(np.random.default_rng(4), 100, 32)
    space = fill(vectors)
    load_coarse(connection, database, space, writable=True)
    path = cache_path(database, space)
    data = bytearray(path.read_bytes())
    if damage == "truncate":
        data = data[:-100]
    elif damage == "flip":
        data[40] ^= 255
    path.write_bytes({"foreign": b"x" * len(data), "empty": b""}.get(damage, bytes(data)))
    (again,) = load_coarse(connection, database, space, writable=True)
    np.testing.assert_array_equal(again.codes, quantize_rows(vectors, 32)[0])
    assert again.ids.tolist() == list(range(1, 101))


def test_read_only_search_writes_no_cache(filled, database, monkeypatch):
    monkeypatch.setattr(coarse_cache, "_FEW", 1)
    connection, fill = filled
    space = fill(unit(np.random.default_rng(5), 100, 32))
    (vectors,) = load_coarse(connection, database, space, writable=False)
    assert len(vectors) == 100
    assert not cache_path(database, space).exists()
