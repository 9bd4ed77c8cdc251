"""Generates pages of docs/ and modules from the code: `make docs` writes them, tests/test_docs.py
compares them.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import wrap

from core.argument_parser import EXAMPLES, USAGE
from core.command_line.shells import flags_of
from core.config import SETTINGS, Settings, rows_by_group
from core.config.setting import Setting
from core.model_manager import Providers, Target
from core.models.facts import ModelFacts, known_facts, short_count, table_date, table_source, yes_no
from core.providers import load_dialect
from core.providers.dated import fact_of
from core.providers.hosts import Host, hosts
from core.providers.parameters import lacks_of
from core.sessions.export import ENDINGS, EXPORTERS
from core.store.schema import MIGRATIONS
from core.tools.reference import tools_markdown
from tests.make_exchange import exchange_page
from tests.make_maps import commands_page, tree_page
from tests.make_picture_limits import pictures_section
from tests.make_tables import new_tables_module

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"

SOCKETS = """\
## A server at a Unix socket

Every provider accepts an address such as `unix:///run/llama.sock`: in `--base-url`, `OLLAMA_HOST`,
and `base_url` or `base_urls` in the configuration file. The path of the API follows a file name
that ends with `.sock` or `.socket`; after any other name, separate it with a colon:

```
stream-chat --provider openai --base-url unix:///run/llama.sock/v1 -m local "why is the sky blue?"
stream-chat --provider openai --base-url unix:///run/llama:/v1 -m local "why is the sky blue?"
OLLAMA_HOST=unix:///run/ollama.sock stream-chat "why is the sky blue?"
```

No proxy is used, since it is this machine. A key for one socket is not sent to another. The web
page accepts such an address only from the configuration file. They are not available on Windows.

"""


def settings_page() -> str:
    lines = ["# Settings", "",
             "This page lists every setting. `make docs` makes it from the rows in `core/config`. "
             "The command line takes",
             "precedence over the environment, the environment over the configuration file, and "
             "the file over the default.", "",
             "The configuration file is `config.yaml` in `~/.config/stream-chat` (macOS: "
             "`~/Library/Application Support/stream-chat`),",
             "or the file that `--config` names. Its keys are the names in the last column; "
             "`${NAME}` and `${NAME:-default}` in a",
             "value are replaced from the environment.", ""]
    for group, rows in rows_by_group():
        lines += [f"## {group}", "", "| option | variable | default | what it does | key in the "
                  "file |", "|---|---|---|---|---|"]
        lines += [_settings_row(row) for row in rows]
        lines.append("")
    return "\n".join(lines)


def _settings_row(row: Setting) -> str:
    value = ("" if row.kind is bool else f" [{row.metavar}]" if row.value_if_bare is not None
             else f" {row.metavar}")
    flags = ", ".join(f"`{flag}{value}`" for flag in row.flags)
    if row.kind is bool and row.in_file:
        flags += f", `--no-{row.flags[-1].removeprefix('--')}`"
    default: object = "" if row.kind is dict or row.default in (None, ()) else row.default
    if isinstance(default, bool):    # not with ==: 1.0 == True
        default = "yes" if default else "no"
    choices = f" ({', '.join(row.choices)})" if row.choices else ""
    variables = ", ".join(f"`{name}`" for name in row.env)
    key = f"`{row.name}`" if row.in_file else ""
    return (f"| {flags} | {variables} | {default} | {row.help}{choices} | "
            f"{key} |".replace("|  |", "| |").replace("|  |", "| |"))


def providers_page() -> str:
    """The providers and dialects that --list-providers shows."""
    lines = ["# Providers", "",
             "This page lists the providers. `make docs` makes it from `core/providers/hosts.py`. "
             "`--list-providers` also shows",
             "what is missing to use each; `--check` tests those that are set up. "
             "[Configuration](configuration.md) explains how to",
             "set keys and add hosts.",
             "",
             "| provider | also called | dialect | runs | address | key | default model |",
             "|---|---|---|---|---|---|---|"]
    lines += [_provider_row(host) for host in hosts()]
    lines += ["", "A model is written `provider/model`. Without a default model, the first one "
              "that the server lists is used. A default",
              "model that its provider has withdrawn is replaced by a listed one, with a notice; "
              "a model that you named is never",
              "replaced. `make facts` shows which default models are withdrawn or will be "
              "(sources: `core/providers/dated.py`).", "",
              *_choosing(), *_capabilities(),
              "## Parameters that a dialect lacks", "",
              "On the command line these are rejected; from the configuration file, or after "
              "`/model`, they are left out.", "",
              "| dialect | lacks |", "|---|---|"]
    dialects = dict.fromkeys(host.dialect for host in hosts())
    lines += [f"| {name} | {', '.join(f'`{field}`' for field in sorted(lacks_of(name)))} |"
              for name in dialects if lacks_of(name)]
    lines += ["", "If a model rejects a parameter, tools, images or thinking, the request is sent "
              "again without it, and a notice says so.",
              "A fallback without such a parameter reports it once. Signed or encrypted reasoning "
              "is sent back only to the origin",
              "that made it.",
              "",
              *pictures_section(),
              *SOCKETS.splitlines(),
              "## Proxies and certificates", "",
              "`HTTP_PROXY`, `HTTPS_PROXY` and `ALL_PROXY` name a proxy: `http://`, `https://`, or "
              "`socks5://`, with",
              "`user:password@` if it requires one. Names in lower case work too, and take "
              "precedence. `NO_PROXY` lists what is",
              "reached without a proxy: a name with all its subdomains (`example.org`), an "
              "address, a network (`10.0.0.0/8`), each",
              "with or without a port, or `*`. No proxy is used for this machine. On macOS and "
              "Windows the system's settings are",
              "used if these variables are not set.", "",
              "The certificates that the system trusts are used, or those in `SSL_CERT_FILE` (or "
              "`SSL_CERT_DIR`).", "",
              "## Adding a dialect", "",
              "A package can provide a dialect: it names a class under the entry point "
              "`stream_chat.providers`, which is created",
              "with an `Endpoint` and has the methods of `core.providers.Provider`: `stream`, "
              "`models`, `close`. It is then a provider",
              "like any other: `--provider NAME`, `-m NAME/MODEL`, `/model`, fallbacks, "
              "`--list-providers`.",
              "[example-provider](example-provider/stream_chat_parrot.py) is a complete package:",
              "",
              "```toml", '[project.entry-points."stream_chat.providers"]',
              'parrot = "stream_chat_parrot:Parrot"', "```", ""]
    return "\n".join(lines)


def _choosing() -> list[str]:
    return [
        "## Which one to use", "",
        "| you want | use | why |", "|---|---|---|",
        "| nothing to leave this computer | `ollama`, `local`, `llamacpp`, `vllm`, `lmstudio` with "
        "`--local-only` | no other model is used then, not even as a fallback |",
        "| to try it without a server or a key | `local`, `demo` | `--provider local --pull` "
        "downloads a small model once; `demo` is scripted |",
        "| the best answers, tools and images | `anthropic`, `openai`, `gemini` | their larger "
        "models; the defaults are their small ones |",
        "| little cost | `openai`, `groq`, `mistral` | see the prices below; `--max-cost` sets a "
        "limit that holds |",
        "| speed | the one that is fastest for you | `/stats` shows the time to the first word and "
        "the tokens per second of each; a pool with `prefer: speed` uses the fastest |",
        "| one key for many models | `openrouter`, `huggingface`, `together` | they forward "
        "requests; the host differs by model |",
        "| several of these at once | a [pool](configuration.md#pools), fallbacks | they share the "
        "load, and if one fails, the next one is used |", "",
        "Each provider's own terms say what it does with your data; [privacy](privacy.md) says "
        "what is sent. `/compare A B`",
        "sends a question to two models.", ""]


def _capabilities() -> list[str]:
    """The shipped facts about the default models; a server's own list takes precedence."""
    settings = Settings({"save": False}, environment={"HOME": "/nowhere"})
    providers = Providers(settings)
    lines = ["## What the default models can do", "",
             "The window is in tokens, prices are in dollars per million tokens read and written, "
             "as of",
             f"{table_date()}, from {table_source()}. The last column links the source of each "
             "default model.",
             "`?` means unknown.", "",
             "| provider | default model | window | tools | images | thinking | in/out | JSON, "
             "schema | counts exactly | checked |",
             "|---|---|---:|---|---|---|---|---|---|---|"]
    for host in hosts():
        if host.default_model and host.server:
            lines.append(_capability_row(host,
                                         known_facts(Target(host.name, host.default_model),
                                                     providers)))
    return [*lines, "", "`--list-models` and `/models show NAME` show these facts for any model, "
            "and what its server reports.", ""]


def _capability_row(host: Host, facts: ModelFacts) -> str:
    fact = fact_of(host.name, "model", host.default_model)
    assert fact is not None
    prices = "?" if facts.input_price is None else f"{facts.input_price:g} / {facts.output_price:g}"
    counts = ("yes" if hasattr(load_dialect(host.dialect), "count") or host.quirks.get("count")
              else "no")
    cells = (f"`{host.name}`", f"`{host.default_model}`", short_count(facts.context_window),
             yes_no(facts.tools), yes_no(facts.vision), yes_no(facts.thinking), prices,
             "no" if "response_format" in lacks_of(host.dialect) else "yes", counts,
             f"[{fact.checked}]({fact.source})" + (" (not confirmed)" if fact.doubt else ""))
    return f"| {' | '.join(cells)} |"


def _provider_row(host: Host) -> str:
    keys = " or ".join(f"`{name}`" for name in host.key_variables)
    address = (f"`{host.base_url}`" if host.base_url else "to be given" if host.dialect == "openai"
               else "")
    cells = (f"`{host.name}`", ", ".join(host.aliases), host.dialect, host.kind, address, keys,
             host.default_model)
    return re.sub(r"\|\s+(?=\|)", "| ", f"| {' | '.join(cells)} |")


def settings_types() -> str:
    """The attributes of Settings, so that a misspelled one fails the type check."""
    lines = ['"""The type of every setting. Made from the rows in `core/config` by `make docs`."""',
             "",
             "from __future__ import annotations", "",
             "from collections.abc import Mapping, Sequence",
             "from typing import Any, Literal", "", "", "class SettingTypes:",
             '    """What Settings holds; the rows of SETTINGS say what each is for."""', "",
             "    prompt: str", "    reads_stdin: bool",
             "    environment: Mapping[str, str]", "    providers: Mapping[str, Any]",
             "    given: frozenset[str]", "    flags: frozenset[str]",
             "    notices: Sequence[str]", "    file: Mapping[str, Any]", ""]
    for row in SETTINGS:
        lines += _attribute(row)
    return "\n".join([*lines, ""])


def _attribute(row: Setting) -> list[str]:
    kind = {list: "tuple[str, ...]", dict: "Mapping[str, object]"}.get(row.kind, row.kind.__name__)
    if row.choices:
        kind = f"Literal[{', '.join(map(_quoted, row.choices))}]"
    line = f"    {row.name}: {kind}{' | None' if row.default is None else ''}"
    if len(line) <= 100:
        return [line]
    begun, words = line.split("[", 1)
    return [f"{begun}[", *wrap(words, 100, initial_indent=" " * 8, subsequent_indent=" " * 8)]


def _quoted(text: str) -> str:
    return f'"{text}"'


def man_page() -> str:
    """stream-chat(1), in the macros of man(7)."""
    usage = [line for line in USAGE.splitlines()[1:] if line]
    lines = ['.\\" Made from the rows in core/config/ by `make docs`.', ".TH STREAM-CHAT 1",
             ".SH NAME",
             "stream-chat \\- a streaming chat for language models that loses nothing",
             ".SH SYNOPSIS",
             ".B stream-chat", "[options] [question ...]", ".SH DESCRIPTION", *map(_roff, usage),
             ".SH OPTIONS"]
    for group, rows in rows_by_group():
        lines.append(f".SS {_roff(group)}")
        for row in rows:
            lines += _man_row(row)
    lines += [".SH EXIT STATUS",
              "0 answered; 1 no answer; 2 wrong usage or configuration; 3 the answer is "
              "incomplete; 130 interrupted.",
              ".SH FILES", ".I ~/.config/stream\\-chat/config.yaml", "the configuration", ".br",
              ".I ~/.local/share/stream\\-chat", "the sessions", ".SH EXAMPLES", ".nf"]
    lines += [_roff(line.strip()) for line in EXAMPLES.splitlines()[1:] if line]
    return "\n".join([*lines, ".fi", ".SH SEE ALSO",
                      r"\fBstream\-chat \-\-help topics\fR lists the pages of the documentation.",
                      ""])


def _man_row(row: Setting) -> list[str]:
    value = ("" if row.kind is bool else f" [{row.metavar}]" if row.value_if_bare is not None
             else f" {row.metavar}")
    flags = ", ".join(f"\\fB{_roff(flag)}\\fR" for flag in flags_of(row))
    text = row.help + (f" ({', '.join(row.choices)})" if row.choices else "")
    env = f" Environment: {', '.join(row.env)}." if row.env else ""
    return [".TP", flags + _roff(value), _roff(f"{text}.{env}")]


def _roff(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped[:1] in (".", "'") else escaped


PAGES: dict[str, Callable[[], str]] = {
    "exchange.md": exchange_page, "stream-chat.1": man_page, "providers.md": providers_page,
    "settings.md": settings_page,
    "tools.md": tools_markdown, "commands.md": commands_page, "tree.md": tree_page}


def formats_module() -> str:
    """The export formats for --help, which loads no exporter."""
    lines = ['"""The endings of exports. Made from `core/sessions/export.py` by `make docs`."""',

             "", "FORMATS: dict[str, tuple[str, ...]] = {"]
    for name in EXPORTERS:
        endings = ", ".join(_quoted(ending) for ending, format in ENDINGS.items() if format == name)
        lines.append(f'    "{name}": ({endings}{"," if endings and ", " not in endings else ""}),')
    return "\n".join([*lines, "}", ""])


def version_module() -> str:
    """The version of the schema, so that a start with an up-to-date database loads no migrations.
    """
    return ('"""The number of migrations. Made from `core/store/schema.py` by `make docs`."""\n\n'
            f"SCHEMA_VERSION = {len(MIGRATIONS)}\n")


MODULES: dict[str, Callable[[], str]] = {"core/config/formats.py": formats_module,
                                         "core/config/types.py": settings_types,
                                         "core/store/new_tables.py": new_tables_module,
                                         "core/store/version.py": version_module}


def main() -> None:
    """Write all generated files.

    The pages are made from the modules, so a changed module is reloaded first.
    """
    before = [(ROOT / name).read_text(encoding="utf-8") for name in MODULES]
    for name, make in MODULES.items():
        (ROOT / name).write_text(make(), encoding="utf-8")
    if before != [(ROOT / name).read_text(encoding="utf-8") for name in MODULES]:
        subprocess.run([sys.executable, "-m", "tests.make_docs"], cwd=ROOT, check=True)
        return
    for name, make in PAGES.items():
        (DOCS / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()
