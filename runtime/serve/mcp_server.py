"""`embed mcp`: the tools of `mcp_tools.py` over the Model Context Protocol, on stdio."""

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import PurePosixPath
from typing import Any, TypeVar

import anyio.to_thread
import jsonschema
import mcp_types as types
from mcp import MCPError
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

from embedge.models.errors import EmbedgeError, InvalidOption
from embedge.runtime.serve.mcp_tools import TOOLS, McpTools, ToolForm, uri_of

T = TypeVar("T")

_PAGE = 500  # resources per answer
_INSTRUCTIONS = (
    "Search the user's own documents with `search`; hits name path and chunk, and `get_passage` "
    "reads around them. Everything is computed on this machine."
)


def make_server(tools: McpTools) -> Any:
    """Return an MCP server with the tools, and the indexed files as resources."""
    bridge = _Bridge(tools)
    return Server(
        "embedge",
        version=version("embedge"),
        title="embedge",
        instructions=_INSTRUCTIONS,
        on_list_tools=bridge.list_tools,
        on_call_tool=bridge.call_tool,
        on_list_resources=bridge.list_resources,
        on_read_resource=bridge.read_resource,
    )


async def serve_on_stdio(tools: McpTools) -> None:
    """Answer requests on stdin until it ends; stdout carries only the protocol."""
    server = make_server(tools)
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


class _Bridge:
    """Turns requests of the protocol into calls; computing happens off the event loop."""

    def __init__(self, tools: McpTools) -> None:
        self._tools = tools
        self._listed: list[Any] = []

    async def list_tools(self, _context: Any, _params: Any) -> Any:
        """Answer `tools/list`."""
        return types.ListToolsResult(tools=[_tool(form) for form in TOOLS])

    async def call_tool(self, _context: Any, params: Any) -> Any:
        """Answer `tools/call`; a failure is a result that the model can read."""
        arguments = params.arguments or {}
        try:
            _check(params.name, arguments)
            answer = await _in_thread(lambda: self._tools.call(params.name, arguments))
        except (EmbedgeError, FileNotFoundError) as error:
            return _result(str(error), None, is_error=True)
        text = _hits_text(answer) if params.name == "search" else json.dumps(answer)
        return _result(text, answer)

    async def list_resources(self, _context: Any, params: Any) -> Any:
        """Answer `resources/list`, page by page; a missing index has no files."""
        cursor = getattr(params, "cursor", None)
        if cursor is None:
            try:
                files = await _in_thread(self._tools.files)
            except (EmbedgeError, FileNotFoundError):
                files = []  # the tools say why
            self._listed = [_resource(entry) for entry in files]
        elif not cursor.isdecimal():
            raise MCPError(types.INVALID_PARAMS, f"cursor {cursor!r} is none of ours")
        start = int(cursor or 0)
        end = start + _PAGE
        more = str(end) if end < len(self._listed) else None
        return types.ListResourcesResult(resources=self._listed[start:end], next_cursor=more)

    async def read_resource(self, _context: Any, params: Any) -> Any:
        """Answer `resources/read` with the text of an indexed file."""
        uri = str(params.uri)
        try:
            text, media_type = await _in_thread(lambda: self._tools.read(uri))
        except (EmbedgeError, FileNotFoundError) as error:
            raise MCPError(types.INVALID_PARAMS, str(error), {"uri": uri}) from error
        content = types.TextResourceContents(uri=uri, text=text, mime_type=media_type)
        return types.ReadResourceResult(contents=[content])


async def _in_thread(call: Callable[[], T]) -> T:
    result: T = await anyio.to_thread.run_sync(call)
    return result


def _check(name: str, arguments: object) -> None:
    form = next((each for each in TOOLS if each.name == name), None)
    if form is None:
        return  # the call names the tools there are
    problem = jsonschema.exceptions.best_match(
        jsonschema.Draft202012Validator(form.schema).iter_errors(arguments)
    )
    if problem is not None:
        where = "".join(f"[{part!r}]" for part in problem.absolute_path)
        raise InvalidOption(f"{name}{where}: {problem.message}")


def _tool(form: ToolForm) -> Any:
    return types.Tool(
        name=form.name,
        title=form.title,
        description=form.description,
        input_schema=form.schema,
        annotations=types.ToolAnnotations(
            read_only_hint=True, idempotent_hint=True, open_world_hint=False
        ),
    )


def _resource(entry: Any) -> Any:
    return types.Resource(
        uri=uri_of(entry.path),
        name=PurePosixPath(entry.path).name,
        description=f"{entry.collection}: {entry.n_chunks} passages",
        size=entry.size,
    )


def _result(text: str, structured: dict[str, Any] | None, *, is_error: bool = False) -> Any:
    content = [types.TextContent(type="text", text=text)]
    return types.CallToolResult(content=content, structured_content=structured, is_error=is_error)


def _hits_text(answer: dict[str, Any]) -> str:
    """Return hits as a person, or a model, reads them; the fields are in the structured part."""
    if not answer["hits"]:
        return "no hits"
    blocks = []
    for hit in answer["hits"]:
        lines = "" if hit["line_start"] is None else f":{hit['line_start']}-{hit['line_end']}"
        page = "" if hit["page"] is None else f" page {hit['page']}"
        head = f"{hit['rank']}. {hit['path']}{lines}{page} (chunk {hit['chunk']})"
        blocks.append(f"{head}\n{hit['text']}")
    return "\n\n".join(blocks)
