"""From a query to hits: lists, fusion, filters, equal texts, odd queries."""

from pathlib import Path

import pytest

from embedge import InvalidOption, open_index
from embedge.runtime.index.fusion import fuse
from embedge.runtime.index.snippets import LENGTH, make_snippet


@pytest.fixture
def searched(index, folder):
    index.add(folder)
    return index


def test_a_hit_says_exactly_where_its_text_stands(searched, folder):
    for hit in searched.search("vector of words", limit=20):
        text = Path(hit.path).read_text()
        assert text[hit.char_start : hit.char_end] == hit.text
        assert text.count("\n", 0, hit.char_start) + 1 == hit.line_start
        assert hit.collection == "docs"
        assert hit.available


def test_hits_have_frozen_names(searched):
    (hit,) = searched.search("renew the lease", limit=1)
    assert list(hit.as_dict()) == [
        "rank", "score", "cosine", "collection", "path", "chunk", "char_start", "char_end",
        "line_start", "line_end", "page", "heading", "text", "snippet", "available", "space",
        "also_in",
    ]  # fmt: skip
    (hit,) = searched.search("renew the lease", limit=1, explain=True)
    assert list(hit.as_dict()["explain"]) == [
        "rank_vector", "rank_text", "coarse", "bm25", "terms"
    ]  # fmt: skip


def test_fusion_adds_the_inverse_of_sixty_plus_rank():
    """By hand: b is second and first, 1/62 + 1/61; a is first only, 1/61."""
    ranked = fuse([[b"a", b"b"], [b"b", b"c"]], {}, {})
    assert ranked == [(b"b", 1 / 62 + 1 / 61), (b"a", 1 / 61), (b"c", 1 / 62)]


def test_ties_go_to_the_higher_cosine_then_to_the_earlier_chunk():
    ranked = fuse([[b"a"], [b"b"], [b"c"]], {b"b": 0.9, b"a": 0.1, b"c": 0.1}, {b"a": 7, b"c": 3})
    assert [key for key, _ in ranked] == [b"b", b"c", b"a"]


def test_explanation_gives_the_ranks_that_make_the_score(searched):
    for hit in searched.search("renew the lease", limit=10, explain=True):
        ranks = (hit.explain.rank_vector, hit.explain.rank_text)
        expected = sum(1 / (60 + rank) for rank in ranks if rank is not None)
        assert hit.score == pytest.approx(expected, abs=1e-6)
        if hit.explain.coarse is not None:
            assert hit.explain.coarse == pytest.approx(hit.cosine, abs=0.02)
        assert hit.explain.terms == ("renew", "the", "lease")


def test_cosines_are_those_of_the_embedder(searched, embedder):
    query = embedder.encode("vector of words", task="query", own_prefix=False)
    hits = searched.search("vector of words", mode="vector", limit=5)
    texts = [hit.text for hit in hits]
    vectors = embedder.encode(texts, task="document", own_prefix=False)
    for hit, vector in zip(hits, vectors, strict=True):
        assert hit.cosine == pytest.approx(float(vector @ query), abs=1e-3)  # float16
    assert [hit.cosine for hit in hits] == sorted((hit.cosine for hit in hits), reverse=True)


def test_a_query_that_looks_like_a_prefix_is_a_query(searched, embedder):
    plain = searched.search("search_document: river", mode="vector", limit=3)
    assert [hit.rank for hit in plain] == [1, 2, 3]


def test_equal_texts_are_one_hit_that_names_the_other_places(index, tmp_path):
    root = tmp_path / "copies"
    root.mkdir()
    for name in ("a.txt", "b.txt", "c.txt"):
        (root / name).write_text("The garden of words.")
    index.add(root)
    index.add(root, "second")
    (hit,) = index.search("garden")
    assert hit.path.endswith("a.txt")
    assert [place.path.rpartition("/")[2] for place in hit.also_in] == [
        "b.txt", "c.txt", "a.txt", "b.txt", "c.txt"
    ]  # fmt: skip
    assert [place.collection for place in hit.also_in] == ["copies"] * 2 + ["second"] * 3


@pytest.mark.parametrize("mode", ["hybrid", "vector", "text"])
def test_a_search_sees_only_its_collections(searched, tmp_path, mode):
    root = tmp_path / "small"
    root.mkdir()
    (root / "x.txt").write_text("A lease on a garden.")
    searched.add(root)
    hits = searched.search("renew the lease", mode=mode, collections=["small"], limit=50)
    assert [hit.path.rpartition("/")[2] for hit in hits] == ["x.txt"]
    (root / "y.txt").write_text("The other lease.")
    searched.update()
    hits = searched.search("renew the lease", mode=mode, collections=["small"], limit=50)
    assert {hit.path.rpartition("/")[2] for hit in hits} == {"x.txt", "y.txt"}
    assert len(searched.search("renew the lease", mode=mode, limit=50)) > 2


@pytest.mark.parametrize("mode", ["hybrid", "vector", "text"])
def test_a_pattern_selects_files(searched, folder, mode):
    for pattern, names in (("*.md", {"a.md"}), ("sub/", {"c.txt"}), (f"{folder}/b.txt", {"b.txt"})):
        hits = searched.search("the river and the lease", mode=mode, path=pattern, limit=50)
        assert {hit.path.rpartition("/")[2] for hit in hits} == names
    assert searched.search("river", mode=mode, path="*.nothing") == []


def test_least_cosine_holds_for_hits_by_words_too(searched):
    hits = searched.search("renew the lease", limit=50)
    floor = sorted(hit.cosine for hit in hits)[len(hits) // 2]
    kept = searched.search("renew the lease", limit=50, min_score=floor)
    assert {hit.text for hit in kept} == {hit.text for hit in hits if hit.cosine >= floor}
    assert all(
        hit.cosine >= floor
        for hit in searched.search("renew the lease", mode="text", min_score=floor)
    )
    assert searched.search("renew the lease", min_score=1.0) == []


def test_text_is_found_by_words_before_it_is_embedded(index, folder, monkeypatch):
    from embedge.models.errors import Cancelled
    from embedge.runtime.index import update as module

    def stop(*_):
        raise Cancelled("before the first batch")

    monkeypatch.setattr(module, "embed_pending", stop)
    with pytest.raises(Cancelled):
        index.add(folder)
    hits = index.search("renew the lease", limit=3)
    assert hits[0].path.endswith("a.md")
    assert hits[0].cosine is None
    assert index.search("renew the lease", mode="vector") == []
    assert index.search("renew the lease", min_score=-1.0) == []


def test_index_without_texts_finds_nothing(index, tmp_path):
    (tmp_path / "none").mkdir()
    index.add(tmp_path / "none")
    assert index.search("anything") == []


@pytest.mark.parametrize(
    "query",
    ['"', '""', "'", "AND OR NOT", "NEAR(a b)", "a*", "^a", "text:", "-a", "(", "{a b}", "\0", "🚀",
     "?!", "…", "\ud800", 'say "lease" AND (renew', " ".join(["the lease of words"] * 200), "%_"],
)  # fmt: skip
def test_no_query_is_read_as_syntax_and_none_fails(searched, query):
    for mode in ("hybrid", "text", "vector"):
        searched.search(query, mode=mode, limit=5)


def test_quotes_and_operators_in_a_query_are_only_words(searched):
    hits = searched.search('"lease" AND (renew', mode="text", limit=1)
    assert hits[0].path.endswith("a.md")


def test_white_space_asks_for_nothing(searched):
    assert searched.search("  \n ") == []


def test_wrong_options_are_refused(searched):
    with pytest.raises(InvalidOption, match="mode 'fuzzy' is unknown"):
        searched.search("x", mode="fuzzy")
    with pytest.raises(InvalidOption, match="limit 0 is below 1"):
        searched.search("x", limit=0)
    with pytest.raises(InvalidOption, match="no collection 'nope'; here are docs"):
        searched.search("x", collections=["nope"])


def test_collections_of_two_spaces_are_fused_by_rank(
    database, folder, tmp_path, tiny_bundle, tiny_learned_bundle
):
    other = tmp_path / "other"
    other.mkdir()
    (other / "x.txt").write_text("The lease of the garden.")
    with open_index(database, model=str(tiny_bundle), cache_dir=tmp_path) as index:
        index.add(folder)
    with open_index(database, model=str(tiny_learned_bundle), cache_dir=tmp_path) as index:
        index.add(other)
    with open_index(database, cache_dir=tmp_path) as index:
        hits = index.search("renew the lease", limit=50, explain=True)
        assert len({hit.space for hit in hits}) == 2
        tops = [hit for hit in hits if hit.explain.rank_vector == 1]
        assert len(tops) == 2


def test_vectors_without_text_do_not_crowd_out_the_living(index, tmp_path, monkeypatch):
    """All candidates of the first scan are texts of a file that is gone."""
    from embedge.runtime.index import search as module

    root = tmp_path / "files"
    root.mkdir()
    (root / "gone.txt").write_text("\n\n".join(f"Garden of words {n}." for n in range(400)))
    (root / "here.txt").write_text("A computer.")
    index.add(root)
    (root / "gone.txt").unlink()
    index.update()
    monkeypatch.setattr(module, "CANDIDATES", 3)
    hits = index.search("garden of words", mode="vector", limit=1)
    assert [hit.path.rpartition("/")[2] for hit in hits] == ["here.txt"]


def test_snippet_is_the_place_with_most_of_the_words():
    text = "Nothing here. " * 40 + "To renew the lease, write a letter. " + "More words. " * 40
    snippet = make_snippet(text, ["renew", "lease"])
    assert "renew the lease" in snippet
    assert len(snippet) <= LENGTH + 2
    assert snippet.startswith("…")
    assert snippet.endswith("…")


def test_snippet_of_a_short_text_is_all_of_it():
    assert make_snippet("  One\n two ", ["x"]) == "One two"


def test_snippet_without_words_starts_after_what_the_passage_repeats():
    text = "Repeated words. " * 5 + "New words start here. " * 30
    assert make_snippet(text, [], overlap_chars=80).startswith("…New words")
