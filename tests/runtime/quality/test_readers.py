"""Layouts: recognised by their files, read as written, refused with file and line."""

import pytest

from embedge.models.errors import InputError, InvalidOption
from embedge.runtime.quality.discover import find_tasks
from embedge.runtime.quality.pairs import ScoredPair


def only_task(place, **options):
    (task,) = find_tasks([place], **options).tasks
    return task


def test_every_layout_of_a_tree_is_found_in_order(tree):
    found = find_tasks([tree])
    assert [(task.kind, task.name, task.group) for task in found.tasks] == [
        ("retrieval", "pack/retrieval/miracl/miracl-v1.0-sw", "pack/retrieval/miracl"),
        ("retrieval", "pack/retrieval/parallel/de", "pack/retrieval/parallel"),
        ("retrieval", "pack/retrieval/parallel/en", "pack/retrieval/parallel"),
        ("retrieval", "pack/retrieval/science", "pack/retrieval/science"),
        ("bitext", "pack/bitext/de-en", "pack/bitext"),
        ("sts", "pack/sts/stsb/de.test", "pack/sts/stsb.test"),
        ("sts", "pack/sts/stsb/en.test", "pack/sts/stsb.test"),
    ]
    assert found.ignored == []


def test_a_task_has_one_name_whether_its_folder_or_the_one_above_is_given(tree):
    alone = only_task(tree / "retrieval" / "science")
    above = only_task(tree / "retrieval", only=["*/science"])
    assert alone.name == above.name == "retrieval/science"
    assert only_task(tree / "bitext" / "de-en.tsv").name == "bitext/de-en"


def test_a_task_given_twice_counts_once(tree):
    places = [tree / "retrieval" / "science", tree / "retrieval", tree / "retrieval"]
    names = [task.name for task in find_tasks(places, only=["*science"]).tasks]
    assert names == ["retrieval/science"]


@pytest.mark.parametrize("packed", [False, True])
def test_beir_joins_titles_and_leaves_out_queries_without_judgement(beir, tmp_path, packed):
    task = only_task(beir(tmp_path / "set", packed=packed))
    assert list(task.texts()) == [
        ("query", "long river"),
        ("query", "computer house"),
        ("document", "river the long river in the green night"),
        ("document", "a small house for the computer memory"),
        ("document", "language word number and vector model"),
        ("document", "der die und ist nicht"),
    ]
    assert task.qrels() == {"q1": {"d1": 1, "d4": 0}, "q2": {"d2": 2, "d3": 1}}


def test_beir_reads_the_published_folder_of_judgements(beir, tmp_path):
    folder = beir(tmp_path / "set")
    (folder / "qrels").mkdir()
    (folder / "qrels.tsv").rename(folder / "qrels" / "test.tsv")
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq3\td1\t1\n")
    assert set(only_task(folder).qrels()) == {"q1", "q2"}


@pytest.mark.parametrize("corpus", [None, "miracl-v1.0-sw", "miracl-v1.0-sw/corpus"])
def test_miracl_finds_its_corpus_beside_or_inside(miracl, tmp_path, corpus):
    task = only_task(miracl(tmp_path / "miracl", "sw", corpus=corpus))
    assert task.languages == ("sw",)
    assert task.qrels() == {"1#0": {"d1": 1, "d2": 0}, "2#0": {"d2": 1}}
    assert [text for role, text in task.texts() if role == "query"] == [
        "long river", "computer house",
    ]  # fmt: skip
    assert [document for document, _ in task.corpus()] == ["d1", "d2", "d3", "d4"]


def test_miracl_without_a_corpus_says_where_it_belongs(miracl, tmp_path):
    folder = miracl(tmp_path, "sw", corpus="elsewhere")
    with pytest.raises(InputError, match=r"has no corpus.*miracl-corpus-v1\.0-sw beside it"):
        find_tasks([folder])


def test_bitext_takes_its_languages_from_the_file_name(bitext, tmp_path):
    task = only_task(bitext(tmp_path / "de-en.tsv"))
    assert task.languages == ("de", "en")
    assert task.read()[1] == ("der Fluss", "the river")


def test_sts_reads_named_columns_in_any_order(tmp_path):
    path = tmp_path / "de.dev.tsv"
    path.write_text("sentence2\tscore\trow\tsentence1\nb\t2.5\t17\ta\n")
    task = only_task(path)
    assert (task.languages, task.split) == (("de",), "dev")
    assert task.read() == {"17": ScoredPair(2.5, "a", "b")}


def test_quotes_and_unicode_line_breaks_are_part_of_a_sentence(tmp_path):
    path = tmp_path / "de-en.tsv"
    path.write_text('"so\u2028so"\t"yes\n', encoding="utf-8", newline="\n")
    assert only_task(path).read() == [('"so\u2028so"', '"yes')]


def test_cross_lingual_retrieval_asks_one_language_and_searches_the_other(tree):
    found = find_tasks([tree], cross_lingual="de", only=["*parallel*"])
    crossed = [task for task in found.tasks if len(task.languages) == 2]
    assert [(task.name, task.languages) for task in crossed] == [
        ("pack/retrieval/parallel/de-en", ("de", "en")),
        ("pack/retrieval/parallel/en-de", ("en", "de")),
    ]
    assert {task.group for task in crossed} == {"pack/retrieval/parallel (cross-lingual)"}


def test_cross_lingual_corpus_is_that_of_the_second_language(tree):
    english = tree / "retrieval" / "parallel" / "en" / "corpus.jsonl"
    english.write_text(english.read_text().replace("river", "RIVER"))
    task = only_task(tree, cross_lingual="all", only=["*parallel/de-en"])
    texts = dict(task.texts())
    assert texts["query"] == "computer house"
    assert any("RIVER" in text for role, text in task.texts() if role == "document")
    assert not any("RIVER" in text for role, text in task.texts() if role == "query")


def test_tasks_with_other_judgements_are_not_crossed(tree):
    (tree / "retrieval" / "parallel" / "en" / "qrels.tsv").write_text("q1\td1\t1\n")
    names = [task.name for task in find_tasks([tree], cross_lingual="all").tasks]
    assert not [name for name in names if "parallel/de-en" in name]


def test_cross_lingual_similarity_joins_rows(sts, tmp_path):
    sts(tmp_path / "en.test.tsv", rows=6, word="house")
    sts(tmp_path / "de.test.tsv", rows=4, word="haus")
    task = only_task(tmp_path, cross_lingual="all", only=["*/en-de.test"])
    pairs = task.read()
    assert len(pairs) == 4
    assert pairs["3"] == ScoredPair(3.0, "the house 3", "a haus of 21")


def test_cross_lingual_without_parallel_data_says_what_is_needed(bitext, tmp_path):
    bitext(tmp_path / "de-en.tsv")
    with pytest.raises(InvalidOption, match="no two tasks are parallel with 'de' on one side"):
        find_tasks([tmp_path], cross_lingual="de")


def test_other_tables_are_ignored_and_reported(tmp_path, bitext):
    bitext(tmp_path / "de-en.tsv")
    (tmp_path / "notes.tsv").write_text("a\tb\tc\n")
    found = find_tasks([tmp_path])
    assert [task.languages for task in found.tasks] == [("de", "en")]
    assert found.ignored == [tmp_path / "notes.tsv"]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("corpus.jsonl", '{"_id": "d1"}\n', r"corpus\.jsonl, line 1 has no string fields"),
        ("corpus.jsonl", '{"_id": "d1", "text": "a"}\n{broken\n', r"corpus\.jsonl, line 2 is not"),
        ("queries.jsonl", "[1]\n", r"queries\.jsonl, line 1 is no JSON object"),
        ("qrels.tsv", "q1\td1\n", r"qrels\.tsv, line 1 has 2 columns"),
        ("qrels.tsv", "q1\td1\t0.5\n", r"line 1 has relevance '0\.5'"),
        ("qrels.tsv", "q1\td1\t0\n", "no query has a relevant document"),
        ("qrels.tsv", "q7\td1\t1\n", "1 judged queries have no text, first 'q7'"),
        ("corpus.jsonl", b"\xff\xfe\n", r"corpus\.jsonl is no UTF-8"),
    ],
)
def test_broken_retrieval_files_are_named_with_their_line(beir, tmp_path, file, content, message):
    folder = beir(tmp_path / "set")
    (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message):
        list(only_task(folder).texts())


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("row\tscore\tsentence1\tsentence2\n1\tx\ta\tb\n", "line 2 has score 'x'"),
        ("row\tscore\tsentence1\tsentence2\n1\t1\ta\tb\n1\t2\tc\td\n", "line 3 repeats row '1'"),
        ("row\tscore\tsentence1\tsentence2\n", "has a header but no rows"),
        ("a\tb\nc\n", "line 2 has 1 columns, expected 2"),
    ],
)
def test_broken_pairs_are_named_with_their_line(tmp_path, lines, message):
    path = tmp_path / "de.test.tsv"
    path.write_text(lines)
    with pytest.raises(InputError, match=message):
        list(only_task(path).texts())


def test_a_truncated_archive_is_an_error_not_a_shorter_corpus(beir, tmp_path):
    folder = beir(tmp_path / "set", packed=True)
    path = folder / "corpus.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(InputError, match=r"corpus\.jsonl\.gz is damaged"):
        list(only_task(folder).texts())


def test_a_missing_place_and_an_empty_one_are_told_apart(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        find_tasks([tmp_path / "none"])
    with pytest.raises(InvalidOption, match="no task in BEIR, MIRACL, bitext or STS layout"):
        find_tasks([tmp_path])


def test_a_pattern_that_matches_nothing_shows_some_names(tree):
    with pytest.raises(InvalidOption, match=r"matches nothing\*; there are .*science"):
        find_tasks([tree / "retrieval" / "science"], only=["nothing*"])
