"""Generates docs/tools.md from the registry of tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.tools import Tool, all_tools

HEAD = """# Tools that the model can call

This page is made from the registry (`core/tools/reference.py`); change the tool's docstring
instead. "Free" says whether `--experimental` lets the model call it without approval. After a
"private" result, every network call needs approval, host by host. [security.md](security.md) says
what each kind of tool may do.

| tool | kind | free | private | time limit | what it does |
|---|---|---|---|---:|---|
"""
TAIL = """
# Tools of your own

A tool is one function in a file. Name the file with `--tools-file tools.py`, or under `tools_file`
in the configuration:

```python
from typing import Annotated
from core.tools import tool

@tool(kind="write")
def add_note(text: Annotated[str, "what to remember"]) -> str:
    \"\"\"Write a line into my notes.\"\"\"
    with open("notes.txt", "a") as file:
        file.write(text + "\\n")
    return "noted"
```

The model sees the docstring and the annotations. A tool may be `async`; an exception becomes an
error result. `kind` is `read` (runs without asking), `network`, `write` or `run`;
`private=True` marks results that must not leave unasked; `timeout` is in seconds. A parameter of
the type `ToolContext` gets what the chat knows (roots, store, settings of the search). A package
offers its functions under the entry point group `stream_chat.tools`; they are offered when you name
them (`--tools`, `/tools on`). `/tools` lists tools, their sources and which need approval;
`/last` shows the complete last result.

# Tools of MCP servers

```yaml
mcpServers:
  files: {command: npx, args: ["-y", "@modelcontextprotocol/server-filesystem", "."]}
  web: {url: "https://example.org/mcp", headers: {Authorization: "Bearer ${TOKEN}"}}
```

The same is possible in JSON, in a separate file (`--mcp-config`), and on the command line
(`--mcp-server files="npx ..."`). It needs `pip install -r requirements-mcp.txt`. Their tools are
called `server__tool` and always ask, unless you allowed them (`--allow files__read_file`, or
*always*). Prompts are slash commands (`/server__prompt name=value`), `/mcp read ADDRESS` attaches a
resource, and `/mcp` lists everything. `--no-mcp` leaves them out.

| what a server does | what happens |
|---|---|
| lists a tool that no client can use | it is left out, with a notice; the others are offered |
| announces changed tools | the next turn offers the new list, and a notice says what has changed |
| forgets the session (404) | a new session is started, and the call repeated there once |
| asks for a sign-in (401) | put a token into `headers`: browsers are not supported |
| crashes | it is restarted once, with a notice; then use `/mcp restart NAME` |
| is not ready after 3 s | the chat begins without it; its tools are offered when it is |
| lists over 200 tools, or endless pages | 200, or 50 pages, are offered, with a notice |
| sends more than 8 MB in one line | it is ended, and a notice says why |
| floods the chat with lines | 2,000 are read, then 1,000 a second; only the server waits |
| does not end with the chat | the chat does not wait; the server is killed after a second |
"""


def tools_markdown() -> str:
    """The page about the built-in tools."""
    tools = [made for made in all_tools() if made.source == "built in"]
    return HEAD + "\n".join(map(_row, tools)) + "\n\n" + "\n".join(map(_section, tools)) + TAIL


def _row(made: Tool) -> str:
    told = made.description.split("\n")[0].split(". ")[0].rstrip(".")
    return (f"| [{made.name}](#{made.name}) | {made.kind} | {_yes(made.safe)} | "
            f"{_yes(made.private)} | {made.timeout:g} s | {_cell(told)} |")


def _section(made: Tool) -> str:
    arguments = [f"* `{name}` ({_kind(schema)}{_default(name, schema, made)}){_note(schema)}"
                 for name, schema in made.parameters["properties"].items()]
    return "\n".join([f"## {made.name}", "", made.description, "", *arguments, ""])


def _kind(schema: Mapping[str, Any]) -> str:
    words = {"string": "text", "integer": "whole number", "boolean": "true or false",
             "array": "list"}
    kind = str(schema.get("type", "anything"))
    limits = [f"{word} {schema[key]}"
              for key, word in (("minimum", "from"), ("maximum", "to")) if key in schema]
    return " ".join([words.get(kind, kind), *limits])


def _default(name: str, schema: Mapping[str, Any], made: Tool) -> str:
    if name in made.parameters["required"]:
        return ", required"
    return f", otherwise `{schema['default']}`" if schema.get("default") not in (None, "") else ""


def _note(schema: Mapping[str, Any]) -> str:
    return f": {schema['description']}" if schema.get("description") else ""


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
