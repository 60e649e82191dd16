"""Vectors of two spaces never meet, and moving from one to the other loses nothing."""

import shutil

import pytest

from embedge import Embedder, ModelNotFound, SpaceMismatch, open_index
from embedge.models.errors import Cancelled, InvalidOption


@pytest.fixture
def made(database, folder, tiny_bundle, tmp_path):
    """An index made with the small bundle, by its path."""
    with open_index(database, model=str(tiny_bundle), cache_dir=tmp_path / "cache") as index:
        index.add(folder)
    return database


def dump(query):
    tables = ("meta", "spaces", "chunkers", "collections", "files", "chunks", "vectors", "runs")
    return {table: query(f"SELECT * FROM {table}") for table in tables}


def test_a_collection_uses_its_own_model_whatever_the_default_is(made, folder, tmp_path):
    (folder / "new.txt").write_text("Something new about the river.")
    with open_index(made, cache_dir=tmp_path / "cache") as index:
        assert index.search("river", limit=1, mode="vector")
        assert index.update().chunks_embedded == 1


@pytest.mark.parametrize("asked", [{"dim": 16}, {"variant": "int8"}])
def test_another_size_or_variant_is_refused_with_both_fingerprints(
    made, asked, tiny_int8_bundle, tmp_path, query
):
    before = dump(query)
    if "variant" in asked:
        asked = asked | {"model": str(tiny_int8_bundle)}
    with open_index(made, cache_dir=tmp_path / "cache", **asked) as index:
        for act in (lambda: index.search("river"), index.update):
            with pytest.raises(SpaceMismatch) as caught:
                act()
            message = str(caught.value)
            fingerprint = query("SELECT fingerprint FROM spaces")[0][0]
            assert fingerprint in message
            assert "do not compare" in message
            assert "embed index update -C docs --to MODEL" in message
    assert dump(query) == before


def test_an_embedder_of_another_space_is_refused(made, learned_embedder):
    with open_index(made, embedder=learned_embedder) as index:
        with pytest.raises(SpaceMismatch, match="checkpoint_sha256"):
            index.search("river")


def test_a_bundle_of_the_small_size_and_a_full_one_that_is_cut_share_an_index(
    database, folder, embedder, tiny_bundle, tmp_path
):
    with open_index(database, model=str(tiny_bundle), dim=16, cache_dir=tmp_path) as index:
        index.add(folder)
    with Embedder(tiny_bundle, dim=16, cache_dir=tmp_path) as cut:
        with open_index(database, embedder=cut) as index:
            assert index.update().chunks_embedded == 0
            assert index.search("renew the lease", mode="vector", limit=1)


def test_moving_to_another_model_keeps_the_old_vectors_until_gc(
    made, tmp_path, tiny_learned_bundle, query
):
    n_vectors = query("SELECT count(*) FROM vectors")[0][0]
    with open_index(made, cache_dir=tmp_path / "cache") as index:
        report = index.update(to=str(tiny_learned_bundle), confirm=True)
        assert report.chunks_embedded == n_vectors
        assert query("SELECT count(*) FROM vectors") == [(2 * n_vectors,)]
        assert index.search("river", mode="vector", limit=1)
        assert index.update().chunks_embedded == 0
        index.gc(grace_days=0)
    assert query("SELECT count(*) FROM vectors") == [(n_vectors,)]


def test_a_move_that_was_cut_short_serves_the_old_set_and_goes_on(
    made, tmp_path, tiny_learned_bundle, query, monkeypatch
):
    from embedge.runtime.index import embedding

    (old,) = query("SELECT space_id FROM collections")
    encode = embedding.store_vectors

    def fail(*arguments):
        encode(*arguments)
        raise Cancelled("cut short")

    monkeypatch.setattr(embedding, "store_vectors", fail)
    with open_index(made, cache_dir=tmp_path / "cache") as index:
        with pytest.raises(Cancelled):
            index.update(to=str(tiny_learned_bundle), confirm=True)
        assert query("SELECT space_id FROM collections") == [old]
        assert index.search("river", mode="vector", limit=1)
        assert index.status().collections[0].moving_to is not None
        monkeypatch.undo()
        index.update()
        assert query("SELECT space_id FROM collections") != [old]
        assert index.status().collections[0].moving_to is None
        assert index.status().collections[0].pending == 0


def test_much_to_embed_needs_a_yes_and_writes_nothing_without(
    made, tmp_path, tiny_learned_bundle, query, monkeypatch
):
    from embedge.runtime.index import results

    monkeypatch.setattr(results, "CONSENT_CHUNKS", 5)
    before = dump(query)
    asked = []
    with open_index(made, cache_dir=tmp_path / "cache") as index:
        with pytest.raises(InvalidOption, match="needs a yes"):
            index.update(to=str(tiny_learned_bundle))
        assert dump(query) == before
        with pytest.raises(Cancelled, match="declined"):
            index.update(to=str(tiny_learned_bundle), confirm=lambda plan: bool(asked.append(plan)))
        assert dump(query) == before
        assert asked[0].to_embed > 5
        assert (
            index.update(to=str(tiny_learned_bundle), confirm=lambda plan: True).chunks_embedded
            == asked[0].to_embed
        )


def test_adding_much_needs_a_yes_and_writes_nothing_without(index, folder, query, monkeypatch):
    from embedge.runtime.index import results

    monkeypatch.setattr(results, "CONSENT_CHUNKS", 5)
    with pytest.raises(InvalidOption, match="passages"):
        index.add(folder)
    assert query("SELECT count(*) FROM collections") == [(0,)]
    assert query("SELECT count(*) FROM spaces") == [(0,)]
    assert index.add(folder, confirm=True).chunks_embedded > 5


def test_a_plan_says_what_the_update_then_does(index, folder, query, database):
    index.add(folder)
    (folder / "new.txt").write_text("Something new about the river.")
    (folder / "b.txt").rename(folder / "moved.txt")
    (folder / "sub" / "c.txt").unlink()
    (folder / "bad.dat").write_bytes(bytes(range(32)) * 9)
    before = dump(query)
    (plan,) = index.plan().collections
    assert dump(query) == before
    assert (plan.files_new, plan.files_moved, plan.files_missing) == (2, 1, 1)
    assert dict(plan.skipped) == {"binary": 1}
    assert plan.tokens > plan.to_embed == 1
    assert plan.seconds is not None
    report = index.update()
    assert (report.chunks_embedded, report.tokens) == (plan.to_embed, plan.tokens)
    (after,) = index.plan().collections
    assert (after.to_embed, after.files_unchanged, after.reused) == (0, 4, plan.chunks)


def test_a_plan_tells_how_much_the_file_will_grow(index, tmp_path, long_text, query):
    root = tmp_path / "much"
    root.mkdir()
    (root / "first.txt").write_text("The first words.")
    index.add(root)
    before = query("PRAGMA page_count")[0][0]
    for number in range(20):
        (root / f"{number}.txt").write_text(long_text(30, number))
    expected = index.plan().collections[0].bytes
    index.update()
    grown = 4096 * (query("PRAGMA page_count")[0][0] - before)
    assert 0.7 < expected / grown < 1.4


def test_a_plan_for_another_model_counts_every_passage_and_writes_nothing(
    made, tmp_path, tiny_learned_bundle, query
):
    before = dump(query)
    with open_index(made, cache_dir=tmp_path / "cache") as index:
        (plan,) = index.plan(to=str(tiny_learned_bundle)).collections
    assert plan.to_embed == query("SELECT count(*) FROM vectors")[0][0]
    assert plan.model == "tiny-learned"
    assert dump(query) == before


@pytest.fixture
def orphaned(database, folder, tiny_bundle, tmp_path):
    """An index whose model was shipped once and is gone now."""
    bundle = tmp_path / "old-release"
    shutil.copytree(tiny_bundle, bundle)
    with open_index(database, model=str(bundle), cache_dir=tmp_path / "cache") as index:
        index.add(folder)
    shutil.rmtree(bundle)
    with open_index(database, cache_dir=tmp_path / "cache") as index:
        yield index


def test_without_its_model_an_index_is_searched_by_words_and_says_which_is_missing(orphaned):
    assert orphaned.search("renew the lease", mode="text", limit=1)[0].path.endswith("a.md")
    with pytest.warns(UserWarning, match=r"words only.*tiny.*update -C docs --to bundled"):
        assert orphaned.search("renew the lease", limit=1)[0].path.endswith("a.md")
    with pytest.raises(ModelNotFound, match=r"tiny revision .*embed index update -C docs --to"):
        orphaned.search("renew the lease", mode="vector")
    (status,) = orphaned.status().collections
    assert not status.model_available
    assert "--to bundled" in str(status.model_problem)


def test_without_its_model_an_update_of_changed_files_names_the_way_out(orphaned, folder):
    assert orphaned.update().chunks_embedded == 0  # nothing changed: nothing to embed
    (folder / "b.txt").write_text("Other words.")
    with pytest.raises(ModelNotFound, match="embed index update -C docs --to bundled"):
        orphaned.update()
    (folder / "a.md").unlink()
    with pytest.raises(ModelNotFound):
        orphaned.update()
    assert [entry.state for entry in orphaned.ls() if entry.path.endswith("a.md")] == ["missing"]


def test_the_named_command_moves_an_index_whose_model_is_gone(orphaned, tiny_learned_bundle, query):
    n_vectors = query("SELECT count(*) FROM vectors")[0][0]
    report = orphaned.update(to=str(tiny_learned_bundle), confirm=True)
    assert report.chunks_embedded == n_vectors
    assert query("SELECT count(*) FROM vectors") == [(2 * n_vectors,)]
    assert orphaned.search("renew the lease", mode="vector", limit=1)
    assert orphaned.status().collections[0].model_available
