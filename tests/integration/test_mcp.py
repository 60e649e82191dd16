"""`embed mcp` in a process of its own, asked by the SDK's own client."""

import json
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

pytest.importorskip("mcp", reason="mcp comes with the extras [mcp] and [integration]")

import anyio
from mcp import Client, MCPError, StdioServerParameters

from embedge.runtime.index import open_index

pytestmark = pytest.mark.filterwarnings("default")  # the SDK's own


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    notes = tmp_path_factory.mktemp("home") / "notes"
    notes.mkdir()
    (notes / "lease.md").write_text("# Lease\n\nThe lease renews by email.\n")
    (notes / "bees.txt").write_text("Bees make honey.")
    with open_index(notes.parent / "index.db") as index:
        index.add(notes)
    return notes


@asynccontextmanager
async def client_of(folder, database="index.db"):
    code = "from embedge.cli import main; main()"
    server = StdioServerParameters(
        command=sys.executable,
        args=["-c", code, "mcp", "--db", str(folder.parent / database)],
        env={"PATH": os.environ["PATH"], "HOME": str(folder.parent)},
    )
    async with Client(server) as client:
        yield client


def ask(folder, question, **options):
    """Start the server, ask, stop it; returns what the question gave."""

    async def session():
        with anyio.fail_after(120):
            async with client_of(folder, **options) as client:
                return await question(client)

    return anyio.run(session)


def test_tools_have_schemas_and_say_that_they_only_read(folder):
    async def question(client):
        return (await client.list_tools()).tools

    tools = ask(folder, question)
    assert [tool.name for tool in tools] == ["search", "get_passage", "index_status", "embed"]
    assert all(tool.input_schema["additionalProperties"] is False for tool in tools)
    assert all(tool.annotations.read_only_hint for tool in tools)


def test_a_search_leads_to_a_passage_and_the_others_answer(folder):
    async def question(client):
        found = await client.call_tool("search", {"query": "how do I renew the lease", "limit": 1})
        (hit,) = found.structured_content["hits"]
        passage = await client.call_tool(
            "get_passage", {"path": hit["path"], "chunk": hit["chunk"], "context": 1}
        )
        status = await client.call_tool("index_status", {})
        vectors = await client.call_tool("embed", {"texts": ["lease"], "task": "query"})
        return found, passage, status, vectors

    found, passage, status, vectors = ask(folder, question)
    assert found.content[0].text.startswith(f"1. {folder}/lease.md:")
    assert "renews by email" in passage.structured_content["passages"][0]["text"]
    assert json.loads(passage.content[0].text) == passage.structured_content
    assert status.structured_content["collections"][0]["name"] == "notes"
    assert len(vectors.structured_content["embeddings"][0]) == 384


def test_indexed_files_are_resources_and_nothing_else_is(folder):
    async def question(client):
        resources = (await client.list_resources()).resources
        texts = {each.name: await client.read_resource(each.uri) for each in resources}
        with pytest.raises(MCPError, match="no file of the index"):
            await client.read_resource("file:///etc/passwd")
        return resources, texts

    resources, texts = ask(folder, question)
    assert {each.name for each in resources} == {"lease.md", "bees.txt"}
    assert texts["bees.txt"].contents[0].text == "Bees make honey."
    assert texts["lease.md"].contents[0].mime_type == "text/markdown"
    assert Path(folder / "lease.md").as_uri() in {str(each.uri) for each in resources}


def test_a_wrong_call_is_an_answer_and_the_session_goes_on(folder):
    async def question(client):
        wrong = [
            await client.call_tool("search", {"query": "x", "limit": 0}),
            await client.call_tool("search", {}),
            await client.call_tool("embed", {"texts": ["x"], "dim": 9999}),
            await client.call_tool("get_passage", {"path": "/etc/passwd", "chunk": 0}),
            await client.call_tool("delete", {}),
        ]
        right = await client.call_tool("search", {"query": "honey", "mode": "text"})
        return wrong, right

    wrong, right = ask(folder, question)
    assert [each.is_error for each in wrong] == [True] * 5
    assert "search['limit']: 0 is less than the minimum of 1" in wrong[0].content[0].text
    assert "outside 1 to 384" in wrong[2].content[0].text
    assert not right.is_error
    assert len(right.structured_content["hits"]) == 1


def test_without_an_index_the_tools_say_how_to_make_one(folder):
    async def question(client):
        found = await client.call_tool("search", {"query": "lease"})
        vectors = await client.call_tool("embed", {"texts": ["lease"]})
        return found, vectors, (await client.list_resources()).resources

    found, vectors, resources = ask(folder, question, database="none.db")
    assert found.is_error
    assert "embed index add" in found.content[0].text
    assert not vectors.is_error
    assert resources == []
