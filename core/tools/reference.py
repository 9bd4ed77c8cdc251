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
them (`--tools`, `/tools on`). `/tools` shows what there is, where it comes from and what asks;
`/last` shows the whole last result.

# Tools of MCP servers

```yaml
mcpServers:
  files: {command: npx, args: ["-y", "@modelcontextprotocol/server-filesystem", "."]}
  web: {url: "https://example.org/mcp", headers: {Authorization: "Bearer ${TOKEN}"}}
```

The same as JSON, also in a file of its own (`--mcp-config`), or `--mcp-server files="npx -y ..."`.
It needs `pip install -r requirements-mcp.txt`. Their tools are called `server__tool` and always
ask, unless you allowed them (`--allow files__read_file`, or *always*). Prompts are slash commands
(`/server__prompt name=value`), `/mcp read ADDRESS` attaches a resource, and `/mcp` lists
everything. `--no-mcp` leaves them out.

| what a server does | what happens |
|---|---|
| lists a tool that no client can use | that one is left out, by name; its other tools are offered |
| says that its tools changed | the next turn offers what is there now, and says what has changed |
| forgets the session (404) | a new one is begun and the call made there, once |
| asks for a sign-in (401) | no sign-in in a browser: put a token into `headers`, as above |
| dies | it is started again once, which is said with its last words; then `/mcp restart NAME` |
| is not ready after 3 s | the chat begins without it; its tools are offered when it is |
| lists over 200 tools, or pages without end | the first 200, or 50 pages, are offered; it is said |
| sends more than 8 MB in one line | it is ended, with that reason |
| pours out lines | 2,000 are read at once, then 1,000 a second; it waits, the chat does not |
| does not end with the chat | the chat does not wait; it is ended after a second |
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
