"""`embed index import --localdocs` and `export --localdocs`."""

import json
import sqlite3

import pytest

from embedge.runtime.index.localdocs_export import create_tables


@pytest.fixture
def source(tmp_path):
    """A LocalDocs database of one folder that is there and one that is not."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "lease.txt").write_text("How to renew the lease.\n")
    peer = sqlite3.connect(tmp_path / "localdocs_v3.db")
    create_tables(peer)
    folders = [(1, f"{tmp_path}/docs"), (2, f"{tmp_path}/usb")]
    peer.executemany("INSERT INTO folders VALUES(?, ?)", folders)
    peer.execute("INSERT INTO collections(id, name) VALUES(1, 'mine')")
    peer.executemany("INSERT INTO collection_items VALUES(1, ?)", [(1,), (2,)])
    documents = [(1, 1, 5, f"{tmp_path}/docs/lease.txt"), (2, 2, 5, f"{tmp_path}/usb/boat.pdf")]
    peer.executemany("INSERT INTO documents VALUES(?, ?, ?, ?)", documents)
    peer.execute(
        "INSERT INTO chunks(document_id, chunk_text, file, page) VALUES(2, 'The boat', 'b', 7)"
    )
    peer.commit()
    peer.close()
    return tmp_path / "localdocs_v3.db"


def test_an_import_says_what_it_took_and_what_is_away(embed, source):
    done = embed("index", "import", "--localdocs", source, "--db", "i.db")
    assert done.code == 0
    assert done.text == (
        "mine: 2 folders, 2 documents of LocalDocs; 1 files read, 2 passages embedded, 0 known\n"
    )
    assert "/usb cannot be reached; its passages came from LocalDocs" in done.stderr
    found = json.loads(embed("search", "boat", "--db", "i.db", "-f", "json").text)
    assert found[0]["path"].endswith("/usb/boat.pdf")
    assert (found[0]["page"], found[0]["available"]) == (7, False)


def test_an_import_as_json(embed, source):
    done = embed("index", "import", "--localdocs", source, "--db", "i.db", "--json", "-q")
    report = json.loads(done.text)
    assert report["taken"]["collections"] == ["mine"]
    assert report["update"]["files_new"] == 1


def test_an_export_is_the_apps_file_and_says_what_to_do(embed, source, tmp_path):
    embed("index", "import", "--localdocs", source, "--db", "i.db")
    done = embed("index", "export", "--localdocs", "out", "--db", "i.db")
    assert done.code == 0
    assert "1 collections, 2 folders, 2 documents, 2 passages, 0 vectors" in done.text
    assert "close GPT4All" in done.stderr
    assert (tmp_path / "out" / "localdocs_v3.db").exists()
    again = embed("index", "export", "--localdocs", "out", "--db", "i.db")
    assert (again.code, "is there already" in again.error) == (2, True)


def test_our_vectors_come_with_a_warning(embed, source):
    embed("index", "import", "--localdocs", source, "--db", "i.db")
    done = embed(
        "index", "export", "--localdocs", "out", "--vectors", "ours", "--db", "i.db", "--json"
    )
    assert json.loads(done.text)["vectors"] == 2
    assert "only a changed build uses these vectors" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["export"], "either a new FILE or --localdocs DIR"),
        (["export", "x.db", "--localdocs", "out"], "either a new FILE or --localdocs DIR"),
        (["export", "x.db", "--vectors", "ours"], "--vectors belongs to --localdocs"),
        (["export", "--localdocs", "out", "--vectors", "all"], "--vectors 'all'"),
        (["import"], "--localdocs DB"),
        (["import", "--localdocs", "none.db"], "no such file"),
    ],
)
def test_what_cannot_work_is_a_usage_error(embed, source, words, message):
    embed("index", "import", "--localdocs", source, "--db", "i.db")
    done = embed("index", *words, "--db", "i.db")
    assert (done.code, message in done.error) == (2, True)
