"""What an assistant may ask of the index, and that it gets nothing else."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from embedge import Embedder, InputError, InvalidOption
from embedge.runtime.index import open_index
from embedge.runtime.serve.mcp_tools import TOOLS, McpTools, path_of, uri_of

PAGE = "\n\n".join(
    f"# Part {n}\n\n" + f"Sentence {n} about leases and bees. " * 60 for n in range(4)
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    notes = tmp_path / "my notes"
    notes.mkdir()
    (notes / "lease.md").write_text(PAGE)
    (notes / "bees ü.txt").write_text("Bees make honey.")
    (notes / "noise.bin").write_bytes(bytes(range(256)))
    (tmp_path / "secret.txt").write_text("not indexed")
    return notes


@pytest.fixture
def tools(folder: Path, tiny_bundle: Path, tmp_path: Path) -> Iterator[McpTools]:
    database = tmp_path / "index.db"
    with open_index(database, model=str(tiny_bundle)) as index:
        index.add(folder)
    opened = McpTools(lambda: open_index(database), lambda: Embedder(tiny_bundle))
    yield opened
    opened.close()


def test_a_hit_leads_to_its_passage_and_neighbours(tools):
    hits = tools.call("search", {"query": "leases", "mode": "text", "path": "*.md"})["hits"]
    assert {Path(hit["path"]).name for hit in hits} == {"lease.md"}
    hit = next(hit for hit in hits if hit["chunk"] == 1)
    arguments = {"path": hit["path"], "chunk": hit["chunk"]}
    (only,) = tools.call("get_passage", arguments)["passages"]
    assert only["text"] == hit["text"]
    around = tools.call("get_passage", arguments | {"context": 1})["passages"]
    assert [each["chunk"] for each in around] == [0, 1, 2]
    joined = "".join(each["text"] for each in around)
    assert "".join(joined.split()) in "".join(PAGE.split())  # overlaps are there once


def test_a_passage_that_is_not_there_is_an_error(tools, folder):
    for arguments in (
        {"path": str(folder / "lease.md"), "chunk": 99},
        {"path": str(folder.parent / "secret.txt"), "chunk": 0},
    ):
        with pytest.raises(InvalidOption, match="holds no passage"):
            tools.call("get_passage", arguments)


def test_the_state_names_folders_and_failed_files(tools, folder):
    (collection,) = tools.call("index_status", {})["collections"]
    assert collection["roots"][0]["path"] == str(folder)
    errors = tools.call("index_status", {"errors": True})["errors"]
    assert [Path(each["path"]).name for each in errors] == ["noise.bin"]


def test_texts_are_embedded_for_their_task(tools, tiny_bundle):
    answer = tools.call("embed", {"texts": ["bees", "honey"], "task": "query", "dim": 16})
    with Embedder(tiny_bundle, dim=16) as embedder:
        assert np.array_equal(
            np.float32(answer["embeddings"]), embedder.encode_query(["bees", "honey"])
        )
        assert answer["space"] == embedder.space.fingerprint
    assert answer["dim"] == 16


def test_resources_are_the_files_that_were_read(tools, folder):
    files = tools.files()
    assert {Path(each.path).name for each in files} == {"lease.md", "bees ü.txt"}
    for each in files:
        assert path_of(uri_of(each.path)) == each.path
        text, media_type = tools.read(uri_of(each.path))
        assert text == Path(each.path).read_text()
        assert media_type.startswith("text/")


@pytest.mark.parametrize(
    "address",
    [
        "file://{folder}/../secret.txt",
        "file://{folder}/%2e%2e/secret.txt",
        "file://{folder}/noise.bin",
        "file://{folder}/",
        "file:///etc/passwd",
        "file://elsewhere{folder}/lease.md",
        "https://example.org/lease.md",
        "lease.md",
        "",
    ],
)
def test_no_other_file_can_be_read(tools, folder, address):
    with pytest.raises(InputError) as failure:
        tools.read(address.format(folder=folder))
    assert failure.value.code in ("not_found", "binary")


def test_a_file_that_went_away_is_no_resource(tools, folder):
    (folder / "bees ü.txt").unlink()
    with pytest.raises(InputError, match="no file of the index"):
        tools.read(uri_of(str(folder / "bees ü.txt")))


def test_an_unknown_tool_is_named_with_those_there_are(tools):
    with pytest.raises(InvalidOption, match="search, get_passage, index_status, embed"):
        tools.call("delete_everything", {})
    assert [form.name for form in TOOLS] == ["search", "get_passage", "index_status", "embed"]
