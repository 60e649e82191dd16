"""Above a million vectors an approximate search stands in, and its recall is stated."""

import pytest

from embedge import Embedder, open_index
from embedge.runtime.index import approximate, vector_search
from embedge.runtime.index.approximate import graph_path
from embedge.runtime.index.rows import find_collections

# Not imported here: ONNX Runtime has to be loaded first.
pytestmark = pytest.mark.skipif(not approximate.is_possible(), reason="needs the extra [ann]")


@pytest.fixture
def index(tmp_path, tiny_bundle, monkeypatch):
    """An index whose threshold is low; its vectors are clustered as texts are."""
    monkeypatch.setattr(approximate, "THRESHOLD", 500)
    monkeypatch.setattr(vector_search, "THRESHOLD", 500)
    root = tmp_path / "docs"
    root.mkdir()
    for number in range(700):
        words = f"river {number % 7} house {number % 11} garden {number}"
        (root / f"{number}.txt").write_text(words)
    with Embedder(tiny_bundle, cache_dir=tmp_path) as embedder:
        with open_index(tmp_path / "index.db", embedder=embedder) as opened:
            opened.add(root, confirm=True)
            yield opened


def space_of(index):
    with index.reading() as connection:
        return find_collections(connection)[0].space


def test_graph_is_built_at_the_end_of_a_run_and_its_recall_is_stated(index):
    space = space_of(index)
    assert graph_path(index.path, space).stat().st_mode & 0o777 == 0o600
    recall = index.status().recall[space.fingerprint]
    assert 0.9 <= recall <= 1.0


def test_search_through_the_graph_finds_what_the_exact_scan_finds(index, monkeypatch):
    through = [hit.path for hit in index.search("river 3 house 5", mode="vector")]
    monkeypatch.setattr(vector_search, "THRESHOLD", 10_000)
    exact = [hit.path for hit in index.search("river 3 house 5", mode="vector")]
    assert len(set(through) & set(exact)) >= 9


def test_texts_that_came_after_the_graph_are_found(index, tmp_path):
    before = graph_path(index.path, space_of(index)).stat().st_mtime_ns
    (tmp_path / "docs" / "new.txt").write_text("computer memory vector")
    index.update()
    assert graph_path(index.path, space_of(index)).stat().st_mtime_ns == before
    hits = index.search("computer memory vector", mode="vector", limit=1)
    assert hits[0].path.endswith("new.txt")


def test_deletion_makes_the_graph_invalid_until_the_next_run(index, tmp_path):
    (tmp_path / "docs" / "1.txt").unlink()
    index.update()
    index.gc(grace_days=0)
    assert index.status().recall == {}
    hits = index.search("river 1 house 1 garden 1", mode="vector", limit=5)
    assert not any(hit.path.endswith("/1.txt") for hit in hits)
    index.update()
    assert index.status().recall
