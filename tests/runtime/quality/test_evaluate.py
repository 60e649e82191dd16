"""Whole evaluations on the tiny model: prefixes, cuts, resuming, several configurations."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embedge import Cancelled, CancelToken, Embedder, InvalidOption, ProgressEvent
from embedge.models.manifest import FileEntry, read_manifest
from embedge.runtime.quality.discover import find_tasks
from embedge.runtime.quality.encoding import EncodeChoices, cut
from embedge.runtime.quality.evaluate import Evaluation, EvaluationPlan, evaluate
from embedge.runtime.quality.measures import retrieval_measures, spearman


@pytest.fixture
def run(tree: Path, tiny_bundle: Path, tmp_path: Path) -> Callable[..., Evaluation]:
    """Evaluate the tree with the tiny model; keyword arguments change the plan."""

    def evaluate_tree(
        *, only=(), cross_lingual=None, progress=None, cancel=None, **changes
    ) -> Evaluation:
        options = {"models": [str(tiny_bundle)], "threads": 1, "cache_dir": tmp_path / "cache"}
        tasks = find_tasks([tree], only=only, cross_lingual=cross_lingual).tasks
        plan = EvaluationPlan(**(options | changes))
        return evaluate(tasks, plan, progress=progress, cancel=cancel)

    return evaluate_tree


def measures(result: Evaluation) -> dict[str, list[dict[str, float] | None]]:
    return {
        name: [outcome and dict(outcome.measures) for outcome in outcomes]
        for name, outcomes in result.outcomes.items()
    }


def test_every_task_has_a_score_for_every_size(run):
    result = run(dims=[32, 16])
    assert [column.label for column in result.configurations] == ["fp32 32", "fp32 16"]
    assert len(result.outcomes) == 7
    for outcomes in result.outcomes.values():
        assert len(outcomes) == 2
        assert all(-1 <= next(iter(outcome.measures.values())) <= 1 for outcome in outcomes)


def test_retrieval_embeds_queries_and_documents_with_their_own_prefix(run, tiny_bundle, tree):
    (task,) = find_tasks([tree], only=["*science"]).tasks
    queries, corpus = dict(task.queries()), dict(task.corpus())
    judged = {query: queries[query] for query in task.qrels()}
    with Embedder(tiny_bundle, threads=1) as embedder:
        found = embedder.encode_query(list(judged.values()))
        documents = embedder.encode_document(list(corpus.values()))
    scores = found @ documents.T
    ranked = {
        query: dict(zip(corpus, map(float, row), strict=True))
        for query, row in zip(judged, scores, strict=True)
    }
    expected = retrieval_measures(task.qrels(), ranked, list(judged))
    (outcome,) = run(only=["*science"]).outcomes[task.name]
    assert outcome.measures == pytest.approx({n: float(v.mean()) for n, v in expected.items()})
    assert outcome.n_items == 2


@pytest.mark.parametrize("sts_task", ["classification", "none"])
def test_similarity_uses_the_prefix_asked_for(run, tiny_bundle, tree, sts_task):
    (task,) = find_tasks([tree], only=["*en.test"]).tasks
    pairs = list(task.read().values())
    with Embedder(tiny_bundle, threads=1) as embedder:
        first, second = (
            embedder.encode([getattr(pair, side) for pair in pairs], task=sts_task)
            for side in ("first", "second")
        )
    cosine = np.sum(first.astype(np.float64) * second, axis=1)
    expected = spearman(np.array([[pair.score for pair in pairs]]), cosine[None])[0]
    result = run(only=["*en.test"], choices=EncodeChoices(sts_task=sts_task))
    (outcome,) = result.outcomes[task.name]
    assert outcome.measures["Spearman"] == pytest.approx(expected)


def test_a_text_that_starts_like_a_prefix_still_gets_one(run, bitext, tree, tiny_bundle, tmp_path):
    text = "search_query: the river"
    (tree / "bitext" / "de-en.tsv").write_text(f"{text}\t{text}\nder Fluss\tthe night\n")
    run(only=["*de-en"])
    with Embedder(tiny_bundle, threads=1) as embedder:
        expected = embedder.encode(text, task="document", own_prefix=False)
    assert any(np.allclose(row, expected, atol=1e-6) for row in cached_vectors(tmp_path))


def cached_vectors(tmp_path: Path) -> np.ndarray:
    import sqlite3

    (path,) = (tmp_path / "cache" / "eval").glob("*.sqlite")
    with sqlite3.connect(path) as db:
        rows = db.execute("SELECT vector FROM vectors").fetchall()
    db.close()
    return np.array([np.frombuffer(row, "<f4") for (row,) in rows])


def test_cutting_full_vectors_gives_the_vectors_of_the_smaller_graph(tiny_bundle):
    texts = ["the long river", "", "42 house"]
    with Embedder(tiny_bundle, threads=1) as full, Embedder(tiny_bundle, dim=16) as small:
        found = cut(full.encode(texts), 16)
        np.testing.assert_allclose(found, small.encode(texts), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_cutting_a_zero_vector_gives_zeros_not_nan():
    assert not cut(np.zeros((1, 4), np.float32), 2).any()


def test_a_second_run_embeds_nothing_and_gives_the_same_table(run):
    events: list[ProgressEvent] = []
    first = run()
    second = run(progress=events.append)
    assert measures(second) == measures(first)
    done = events[-1]
    assert (done.event, done.tokens_done) == ("done", 0)
    assert done.chunks_reused == done.chunks_done == done.chunks_total
    assert done.files_done == done.files_total == 7


def test_a_cancelled_run_goes_on_where_it_stopped_and_gives_the_same_table(run, monkeypatch):
    undisturbed = measures(run(keep_vectors=False))
    monkeypatch.setattr("embedge.runtime.quality.runner._BLOCK_TEXTS", 2)
    cancel = CancelToken()

    def stop_in_the_middle(event: ProgressEvent) -> None:
        if event.chunks_done > 8:
            cancel.cancel()

    monkeypatch.setattr("embedge.runtime.progress.MIN_INTERVAL_S", 0)
    with pytest.raises(Cancelled):
        run(progress=stop_in_the_middle, cancel=cancel)
    events: list[ProgressEvent] = []
    resumed = measures(run(progress=events.append))
    assert 0 < events[-1].chunks_reused < events[-1].chunks_total
    assert resumed.keys() == undisturbed.keys()
    for name, columns in resumed.items():
        assert columns == [pytest.approx(column, abs=1e-9) for column in undisturbed[name]]


def test_without_keeping_vectors_nothing_is_left_behind(run, tmp_path):
    run(only=["*de-en"], keep_vectors=False)
    assert not (tmp_path / "cache" / "eval").exists()


def test_another_build_of_the_same_space_has_its_own_vectors(run, tiny_bundle, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(tiny_bundle, other)
    (other / "tokenizer.json").write_text((other / "tokenizer.json").read_text() + "\n")
    data = (other / "tokenizer.json").read_bytes()
    manifest = read_manifest(other)
    entry = FileEntry(len(data), hashlib.sha256(data).hexdigest())
    manifest = replace(manifest, files={**manifest.files, "tokenizer.json": entry})
    (other / "embedge.json").write_text(manifest.dump())
    result = run(only=["*de-en"], models=[str(tiny_bundle), str(other)])
    first, second = result.configurations
    assert first.space == second.space
    assert len(list((tmp_path / "cache" / "eval").glob(f"{first.space}-*.sqlite"))) == 2


def test_progress_counts_tasks_and_texts_and_never_falls(run, monkeypatch):
    monkeypatch.setattr("embedge.runtime.progress.MIN_INTERVAL_S", 0)
    events: list[ProgressEvent] = []
    run(progress=events.append)
    assert [event.event for event in events][:: len(events) - 1] == ["start", "done"]
    for field in ("files_done", "chunks_done", "tokens_done"):
        counts = [getattr(event, field) for event in events]
        assert counts == sorted(counts)
    assert events[-1].chunks_done == events[0].chunks_total
    assert any(event.eta_s is not None for event in events)


def test_bm25_is_a_column_for_retrieval_only(run):
    result = run(baseline=True)
    assert [column.label for column in result.configurations] == ["fp32", "BM25"]
    for task in result.tasks:
        bm25 = result.outcomes[task.name][1]
        assert (bm25 is None) == (task.kind != "retrieval")
    science = result.outcomes["pack/retrieval/science"][1]
    assert science is not None
    assert science.measures["MRR@10"] == 1  # both queries share words with their document only


def test_a_query_does_not_find_itself_unless_it_is_judged(run, tree):
    folder = tree / "retrieval" / "science"
    for name in ("corpus.jsonl.gz", "queries.jsonl.gz"):
        (folder / name).unlink()
    rows = [{"_id": i, "text": t} for i, t in (("a", "long river"), ("b", "long river night"))]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "corpus.jsonl").write_text(text)
    (folder / "queries.jsonl").write_text(text)
    (folder / "qrels.tsv").write_text("a\tb\t1\n")
    result = run(only=["*science"], baseline=True)
    assert [o.measures["MRR@10"] for o in result.outcomes["pack/retrieval/science"]] == [1, 1]
    (folder / "qrels.tsv").write_text("a\ta\t1\n")
    result = run(only=["*science"], baseline=True)
    assert result.outcomes["pack/retrieval/science"][1].measures["recall@10"] == 1


def test_variants_run_where_a_model_holds_them(run, tiny_bundle, tiny_int8_bundle):
    result = run(
        only=["*de-en"], models=[str(tiny_bundle), str(tiny_int8_bundle)],
        variants=["fp32", "int8", "int8-avx2"], dims=[32, 16],
    )  # fmt: skip
    shown = [(Path(c.model).name, c.variant, c.dim) for c in result.configurations]
    assert shown == [
        ("tiny", "fp32", 32), ("tiny", "fp32", 16),
        ("tiny-int8", "int8", 32), ("tiny-int8", "int8", 16),
        ("tiny-int8", "int8-avx2", 32), ("tiny-int8", "int8-avx2", 16),
    ]  # fmt: skip
    labels = [column.label for column in result.configurations]
    assert labels[::2] == ["fp32 32", "int8 32", "int8-avx2 32"]
    assert len(set(labels)) == 6
    assert len({column.space for column in result.configurations}) == 6


def test_columns_name_the_model_where_variant_and_size_do_not_tell_them_apart(
    run, tiny_bundle, tiny_learned_bundle
):
    result = run(only=["*de-en"], models=[str(tiny_bundle), str(tiny_learned_bundle)])
    labels = [column.label for column in result.configurations]
    assert labels == ["tiny fp32", "tiny-learned fp32"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variants": ["int8"]}, "holds fp32, none of --variants int8"),
        ({"variants": ["int4"]}, "variant 'int4' is unknown"),
        ({"dims": [64]}, "dim 64 is outside 1 to 32"),
    ],
)
def test_what_a_model_lacks_is_refused(run, changes, message):
    with pytest.raises(InvalidOption, match=message):
        run(**changes)


def test_a_variant_that_no_model_holds_is_refused(run):
    with pytest.raises(InvalidOption, match="no model given holds int8"):
        run(variants=["fp32", "int8"])


def test_cross_lingual_tasks_reuse_the_vectors_of_their_languages(run):
    run(only=["*parallel*", "*stsb*"])
    events: list[ProgressEvent] = []
    result = run(only=["*parallel*", "*stsb*"], cross_lingual="all", progress=events.append)
    assert events[-1].tokens_done == 0
    assert {t.name for t in result.tasks if "cross-lingual" in t.group} == {
        "pack/retrieval/parallel/de-en", "pack/retrieval/parallel/en-de",
        "pack/sts/stsb/de-en.test", "pack/sts/stsb/en-de.test",
    }  # fmt: skip
