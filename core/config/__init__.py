"""Every setting, declared once: flag, environment variable, configuration key, --help and
docs/settings.md derive from here.

Command line > environment > configuration file > default. No other module reads the environment.
This module is read at every start, so it imports nothing that costs time (measured: `dataclasses`
10 ms, `typing` 6 ms, PyYAML 25 ms).
"""

from __future__ import annotations

import os
import sys

from core.config.formats import FORMATS
from core.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from core.config.types import SettingTypes
else:
    SettingTypes = object    # made from the rows below; only the type check reads it


class Setting:
    """One row: how a setting is named in each place, what it takes and what it is for.

    `kind` is str, int, float, bool, list (repeatable; comma-separated unless `split` is off) or
    dict (key=value, repeatable; a mapping in the file). `group` heads the rows in --help.
    `value_if_bare` is what the flag means alone. `blank` says which blank texts are values: none of
    them (""), "spaces", or "empty" for the empty text as well. `near` names choices by other words
    for them, to suggest the choice. `tokens` allows 32k for 32768.
    """

    __slots__ = ("name", "flags", "kind", "default", "help", "group", "metavar", "env", "choices",
                 "low", "high", "value_if_bare",
                 "in_file", "split", "blank", "near", "tokens")

    def __init__(self, group: str, name: str, kind: type, default: Any, help: str, *,
                 flags: str = "", env: str = "",
                 metavar: str = "", choices: Sequence[str] = (), low: float | None = None,
                 high: float | None = None,
                 value_if_bare: Any = None, in_file: bool = True, split: bool = True,
                 blank: str = "",
                 near: Mapping[str, str] | None = None, tokens: bool = False) -> None:
        self.group, self.name, self.kind, self.default, self.help = group, name, kind, default, help
        self.flags = tuple(flags.split()) if flags else ("--" + name.replace("_", "-"),)
        self.env = tuple(env.split())
        self.metavar = metavar or {int: "N", float: "X", list: "A,B", dict: "KEY=VALUE"}.get(kind,
                                                                                             "TEXT")
        self.choices, self.low, self.high, self.value_if_bare = (tuple(choices), low, high,
                                                                 value_if_bare)
        self.tokens = tokens
        self.in_file, self.split, self.blank, self.near = in_file, split, blank, near or {}


SETTINGS: tuple[Setting, ...] = (
    # ---- which model answers
    Setting("Model", "model", str, None, "model to talk to; may be written provider/model",
            flags="-m --model", env="STREAM_CHAT_MODEL OLLAMA_MODEL", metavar="NAME"),
    Setting("Model", "provider", str, None,
            "provider to ask: ollama, demo, or one of --list-providers",
            flags="-p --provider --api", env="STREAM_CHAT_PROVIDER", metavar="NAME"),
    Setting("Model", "base_url", str, None, "address of the provider's server", metavar="URL",
            env="STREAM_CHAT_BASE_URL"),
    Setting("Model", "ollama_host", str, None,
            "address of the Ollama server, in any form that Ollama accepts",
            env="OLLAMA_HOST", metavar="HOST"),
    Setting("Model", "system", str, None,
            'system prompt ("": none, whatever the configuration says)', flags="-s --system",
            env="STREAM_CHAT_SYSTEM", blank="empty"),
    Setting("Model", "temperature", float, None, "sampling temperature", low=0, high=2),
    Setting("Model", "top_p", float, None, "nucleus sampling", low=0, high=1),
    Setting("Model", "seed", int, None, "seed, where the provider has one"),
    Setting("Model", "max_tokens", int, None, "longest answer, in tokens (4k is 4096)", low=1,
            tokens=True),
    Setting("Model", "stop", list, (), "text at which the answer ends; repeatable", metavar="TEXT",
            split=False,
            blank="spaces"),
    Setting("Model", "think", str, None, "thinking: on, off, or an effort",
            choices=("on", "off", "low", "medium", "high", "max"),
            metavar="HOW", value_if_bare="on"),
    Setting("Model", "num_ctx", int, None,
            "context window to ask the server for, in tokens, such as 32k (Ollama)", low=1,
            tokens=True),
    Setting("Model", "keep_alive", str, None,
            "how long the server keeps the model loaded, e.g. 10m (Ollama)", metavar="TIME"),
    Setting("Model", "option", dict, {},
            "any other option of the provider, passed on as it is; repeatable", blank="empty"),
    Setting("Model", "response_format", str, None,
            "form of the answer: text, json, or a file that holds a JSON schema",
            metavar="FORMAT"),
    Setting("Model", "modelfile", str, None,
            "make a model of this Modelfile first, and talk to it (Ollama)", metavar="FILE",
            in_file=False),
    Setting("Model", "agent", str, None, "respond as this agent of the configuration: its model, "
            "system prompt, options and tools",
            flags="--as", metavar="NAME", in_file=False),
    # ---- the providers
    Setting("Providers", "list_providers", bool, False,
            "list the providers and what is missing to use each", in_file=False),
    Setting("Providers", "list_models", bool, False,
            "list the models of all providers that are set up", in_file=False),
    Setting("Providers", "check", bool, False,
            "ask every provider that is set up whether it answers and knows us", in_file=False),
    Setting("Providers", "pull", str, None,
            "fetch a model for --provider ollama or local, and leave",
            metavar="NAME", in_file=False),
    Setting("Providers", "set_key", str, None,
            "store a provider's key; it is asked for, or read from standard input",
            metavar="NAME", in_file=False),
    Setting("Providers", "alias", dict, {},
            "a name of your own for a model: fast=groq/llama-3.1-8b-instant; repeatable",
            metavar="NAME=MODEL", flags="--alias"),
    Setting("Providers", "pools", dict, {},
            "models under one name that share the work (--help configuration)",
            metavar="NAME=MODEL,..."),
    Setting("Providers", "agents", dict, {}, "named agents (--help configuration)",
            metavar="NAME=JSON"),
    Setting("Providers", "list_agents", bool, False, "list the agents of the configuration",
            in_file=False),
    Setting("Providers", "api_version", str, None,
            "version of the provider's API, where it takes one (Azure, CBORG)",
            metavar="VERSION"),
    Setting("Providers", "max_cost", float, None,
            "most that this session may cost, in dollars: what might cost more is not sent",
            low=0, metavar="DOLLARS"),
    Setting("Providers", "max_cost_day", float, None, "the same for all chats of a day", low=0,
            metavar="DOLLARS"),
    Setting("Providers", "max_cost_month", float, None, "the same for all chats of a month", low=0,
            metavar="DOLLARS"),
    Setting("Providers", "mask", bool, False,
            "send stand-ins for keys, card and account numbers, e-mail addresses and phone numbers "
            "to models elsewhere"),
    Setting("Providers", "mask_names", list, (),
            "with --mask: words of yours to hide too; repeatable", flags="--mask-name",
            metavar="NAME,..."),
    # ---- one answer or a chat
    Setting("Chat", "json", bool, False,
            "print events, one JSON object a line (--list-sessions, --stats: one document)",
            in_file=False),
    Setting("Chat", "template", str, None,
            "ask one of your prompts, with the question as its text (--help prompts)",
            flags="--prompt", metavar="NAME", in_file=False),
    Setting("Chat", "extract", str, None,
            "print only the code of an answer: all of it (-x), its block N or its blocks of a "
            "language (--extract=2, --extract=python)", flags="-x --extract", metavar="LANG|N",
            value_if_bare="all",
            in_file=False),
    Setting("Chat", "show_thinking", bool, True,
            "keep the model's reasoning on the screen (--no-show-thinking: one line; "
            "without either: its last rows while it thinks, then one line)"),
    Setting("Chat", "notify", str, "off",
            "how the end of an answer that took 10 s is made known: the bell, or a message of the "
            "terminal", env="STREAM_CHAT_NOTIFY", choices=("off", "bell", "osc9", "osc777"),
            metavar="HOW"),
    Setting("Chat", "plain_screen", bool, False,
            "for screen readers: words for marks, nothing moves, each character once",
            env="STREAM_CHAT_PLAIN_SCREEN ACCESSIBLE"),
    Setting("Chat", "markdown", bool, True, "format answers in the terminal",
            env="STREAM_CHAT_MARKDOWN"),
    Setting("Chat", "color", str, "auto", "colours", choices=("auto", "always", "never"),
            metavar="WHEN"),
    Setting("Chat", "theme", str, "auto", "colours for a dark or a light background, or none",
            env="STREAM_CHAT_THEME",
            choices=("auto", "dark", "light", "mono"), metavar="NAME"),
    Setting("Chat", "status", bool, True,
            "a status line under the prompt, and time and tokens after each answer",
            env="STREAM_CHAT_STATUS"),
    Setting("Chat", "title", bool, True,
            "show the session and the model in the title of the terminal", env="STREAM_CHAT_TITLE"),
    Setting("Chat", "show_pictures", bool, True,
            "show the pictures that you attach, in kitty, Ghostty, iTerm2 and WezTerm",
            env="STREAM_CHAT_SHOW_PICTURES"),
    Setting("Chat", "silence_notice", float, 10.0,
            "seconds without text in mid-answer after which a terminal is told (0: never)",
            low=0),
    Setting("Chat", "usage", bool, False, "tell tokens, speed and price after each turn",
            env="STREAM_CHAT_USAGE"),
    Setting("Chat", "clipboard", str, "program",
            "how /copy copies: with a program of this desktop, or through the terminal "
            "(OSC 52), also over SSH", env="STREAM_CHAT_CLIPBOARD", choices=("program", "osc52"),
            metavar="HOW"),
    Setting("Chat", "dest", str, None, "also append the conversation to this plain text file",
            env="CHAT_LOG_DEST", metavar="FILE"),
    Setting("Chat", "editing_mode", str, "emacs", "keys of the prompt", choices=("emacs", "vi"),
            metavar="KEYS"),
    Setting("Chat", "input_history", bool, True, "remember what was typed at the prompt"),
    # ---- sessions
    Setting("Sessions", "continue_", bool, False, "continue the newest session",
            flags="-c --continue", in_file=False),
    Setting("Sessions", "session", str, None,
            "continue this session (any part of its ID that no other has), or `last`", metavar="ID",
            in_file=False),
    Setting("Sessions", "select_session", bool, False, "choose a session and continue it",
            in_file=False),
    Setting("Sessions", "list_sessions", bool, False, "list saved sessions, newest first",
            in_file=False),
    Setting("Sessions", "search", str, None,
            'find sessions: words, "a phrase", -without, begin*, model: tag: after: before: in:',
            metavar="WORDS", in_file=False),
    Setting("Sessions", "limit", int, 0,
            "with --list-sessions, --search: at most this many (0: all; without it a "
            "screenful, 20)", low=0, in_file=False),
    Setting("Sessions", "stats", bool, False,
            "show calls, tokens, cost, speed and failures of each model", in_file=False),
    Setting("Sessions", "since", str, None,
            "with --stats: only from then on, e.g. 12h, 7d, 2w, 2026-11-21", metavar="WHEN",
            in_file=False),
    Setting("Sessions", "export_session", str, None, "write out a session, `last` for the newest",
            metavar="ID", in_file=False),
    Setting("Sessions", "export_all", bool, False,
            "write out all sessions, as jsonl or into a directory", in_file=False),
    Setting("Sessions", "export_found", str, None, "write out the sessions that --search finds",
            metavar="WORDS", in_file=False),
    Setting("Sessions", "import_file", str, None,
            "add the sessions of a file or URL: our own, or of ChatGPT, Claude, llm, ...",
            flags="--import", metavar="FILE", in_file=False),
    Setting("Sessions", "from_", str, None,
            "with --import: what the file is, where it is not recognised", flags="--from",
            choices=("stream-chat", "chatgpt", "claude", "llm", "openwebui", "librechat", "aichat",
                     "oterm", "ollama", "conversations"),
            metavar="KIND", in_file=False),
    Setting("Sessions", "format", str, "markdown",
            "format of the export; without it the ending of --output decides",
            choices=tuple(FORMATS), metavar="FORMAT", flags="-f --format",
            near={ending[1:]: name for name, endings in FORMATS.items() for ending in endings}),
    Setting("Sessions", "output", str, None,
            "file for the export (- for standard output, as without it) or backup",
            flags="-o --output", metavar="FILE", in_file=False),
    Setting("Sessions", "force", bool, False, "with --output: replace a file that exists",
            in_file=False),
    Setting("Sessions", "csv_raw", bool, False,
            "export CSV cells as they are, also those that a spreadsheet would run"),
    Setting("Sessions", "retry", bool, False,
            "ask the last question of the session again; its reply stays as a branch",
            in_file=False),
    Setting("Sessions", "edit", int, None,
            "ask this question in place of your message number N (-1: the last) of the session",
            in_file=False),
    Setting("Sessions", "undo", bool, False, "take back the last exchange of the session",
            in_file=False),
    Setting("Sessions", "redo", bool, False, "bring back what was taken back last", in_file=False),
    Setting("Sessions", "branches", bool, False, "list the branches of the session", in_file=False),
    Setting("Sessions", "branch", int, None, "continue the session with branch N", low=1,
            in_file=False),
    Setting("Sessions", "fork", bool, False,
            "make a new session that starts with this one, and print its ID", in_file=False),
    Setting("Sessions", "at", int, None, "with --fork: only the first N exchanges", low=1,
            in_file=False),
    Setting("Sessions", "rename", str, None, "give the session another title", metavar="TITLE",
            in_file=False),
    Setting("Sessions", "tag", list, (), "add tags to the session; -TAG removes one",
            metavar="TAGS", in_file=False),
    Setting("Sessions", "pin_session", bool, False, "keep the session at the top of lists",
            in_file=False),
    Setting("Sessions", "unpin_session", bool, False, "the reverse of --pin-session",
            in_file=False),
    Setting("Sessions", "archive", bool, False, "take the session out of the lists", in_file=False),
    Setting("Sessions", "unarchive", bool, False, "bring the session back into the lists",
            in_file=False),
    Setting("Sessions", "delete_session", str, None,
            "put a session (or `last`) into the trash for 30 days, after a question",
            metavar="ID", in_file=False),
    Setting("Sessions", "forever", bool, False,
            "with --delete-session, --prune: delete permanently", in_file=False),
    Setting("Sessions", "undelete", str, None, "bring a session back from the trash", metavar="ID",
            in_file=False),
    Setting("Sessions", "prune", str, None,
            "put sessions into the trash that were not used since then, e.g. 90d, 2026-01-31",
            metavar="WHEN", in_file=False),
    Setting("Sessions", "shelf", str, "open", "with --list-sessions: which sessions",
            choices=("open", "archived", "trash"),
            metavar="WHERE", in_file=False),
    Setting("Sessions", "yes", bool, False,
            "with --delete-session, --prune, --db-restore: do not ask", in_file=False),
    Setting("Sessions", "save", bool, True, "save the conversation (--no-save: leave no trace)",
            env="STREAM_CHAT_SAVE"),
    Setting("Sessions", "persist_to_db", bool, True,
            "accepted; sessions are saved unless --no-save", env="PERSIST_TO_DB"),
    Setting("Sessions", "database_url", str, None,
            "where sessions are kept: a file, sqlite:///FILE or postgresql://...",
            env="DATABASE_URL", metavar="URL"),
    Setting("Sessions", "db_check", bool, False, "check the database and its newest backup",
            in_file=False),
    Setting("Sessions", "db_repair", bool, False,
            "repair the database; what is damaged is set aside, not deleted", in_file=False),
    Setting("Sessions", "db_backup", bool, False,
            "save the whole database to a file (--output FILE), and check it", in_file=False),
    Setting("Sessions", "db_restore", str, None,
            "put a backup in the place of the database, which is set aside", metavar="FILE",
            in_file=False),
    Setting("Sessions", "db_move", str, None,
            "copy everything to another place, SQLite or PostgreSQL, and compare",
            metavar="URL", in_file=False),
    Setting("Sessions", "db_shrink", bool, False, "give unused space of the database back",
            in_file=False),
    # ---- a team's sessions in PostgreSQL
    Setting("Team", "share", list, (),
            "let members of the team read the session (NAME) or write to it too (NAME:write)",
            metavar="NAME,...", in_file=False),
    Setting("Team", "unshare", list, (), "the reverse of --share", metavar="NAME,...",
            in_file=False),
    Setting("Team", "user", str, None,
            "the member whose sessions these are, where the database's role may act for others",
            env="STREAM_CHAT_USER", metavar="NAME"),
    Setting("Team", "db_init", bool, False,
            "prepare the PostgreSQL database for a team: tables, roles and rights",
            in_file=False),
    Setting("Team", "member", list, (),
            "with --db-init: roles that become members of the team; missing ones are made",
            metavar="ROLE,...", in_file=False),
    Setting("Team", "server", list, (),
            "with --db-init: roles of page servers, which may act for all members",
            metavar="ROLE,...", in_file=False),
    # ---- tools and context
    Setting("Tools and context", "experimental", bool, False,
            "let the model call the built-in tools that are safe without asking",
            env="EXPERIMENTAL"),
    Setting("Tools and context", "experimental_websearch", bool, False,
            "let the model search the web",
            env="EXPERIMENTAL_WEBSEARCH"),
    Setting("Tools and context", "tools", list, (), "let the model call these tools",
            metavar="NAME,..."),
    Setting("Tools and context", "tools_file", list, (),
            "let the model call the tools of this Python file; repeatable",
            metavar="FILE", split=False),
    Setting("Tools and context", "allow", list, (),
            "tools, kinds (read, network, write, run) and hosts that need no asking",
            metavar="NAME,..."),
    Setting("Tools and context", "searxng_url", str, None, "SearXNG server for web_search",
            env="SEARXNG_URL", metavar="URL"),
    Setting("Tools and context", "search_engines", list, (),
            "search engines for web_search, in this order", metavar="NAME,..."),
    Setting("Tools and context", "databases", dict, {},
            "a database that query_database may read; repeatable", flags="--database",
            metavar="NAME=URL"),
    Setting("Tools and context", "local_hosts", list, (),
            "hosts in your own network that fetch_url may ask for",
            flags="--local-host", metavar="HOST:PORT"),
    Setting("Tools and context", "mcp", bool, True,
            "offer the tools of the MCP servers that are set up"),
    Setting("Tools and context", "mcp_servers", dict, {},
            "an MCP server: its address or its command; repeatable",
            flags="--mcp-server", metavar="NAME=SERVER"),
    Setting("Tools and context", "mcp_config", str, None,
            "JSON file with mcpServers, as other programs have it", metavar="FILE"),
    Setting("Tools and context", "tool_rounds", int, 16,
            "how often a turn may call tools (0: report calls, run nothing)", low=0),
    Setting("Tools and context", "context", list, (),
            "files, directories, pages, databases, db (earlier chats) or - that the model should "
            "know; repeatable",
            env="CONTEXT_PATH", metavar="SOURCE,...", split=False),
    Setting("Tools and context", "context_optional", bool, False,
            "ask also when something that was to be attached cannot be, or the model does not "
            "see it"),
    Setting("Tools and context", "context_grep", list, (),
            "only files with these endings or patterns", env="CONTEXT_GREP",
            metavar="GLOB,..."),
    Setting("Tools and context", "check_quotes", bool, True,
            "look up what an answer quotes from the attached files, and say what is not there"),
    Setting("Tools and context", "count", list, (),
            "count the tokens of these files (named as for --context), and leave", metavar="FILE",
            in_file=False, split=False),
    Setting("Tools and context", "embedding_model", str, None,
            "model whose embeddings help to choose from the context when it does not fit: "
            "provider/model",
            env="STREAM_CHAT_EMBEDDING_MODEL", metavar="NAME"),
    Setting("Tools and context", "auto_compact", bool, False,
            "summarise the oldest turns when a chat outgrows the model's window"),
    # ---- the page in a browser
    Setting("Web page", "web", bool, False,
            "open the chats as a page in a browser, on this computer", in_file=False),
    Setting("Web page", "port", int, 8421, "port of the page", low=1, high=65535),
    Setting("Web page", "open", bool, False, "with --web: open the page in the browser",
            in_file=False),
    Setting("Web page", "team", bool, False,
            "with --web: a page for all members of a team, who sign in (--help teams)"),
    Setting("Web page", "host", str, "127.0.0.1",
            "with --team: the address that the page listens on", metavar="ADDRESS"),
    Setting("Web page", "public_url", str, None,
            "with --team: the address that browsers show, behind a proxy or with a name",
            metavar="URL"),
    Setting("Web page", "trusted_proxies", list, (),
            "with --team: addresses of proxies, whose word on who asks is believed",
            flags="--trusted-proxy", metavar="ADDRESS,..."),
    Setting("Web page", "listen_url", str, None,
            "with --team: PostgreSQL itself, where --database-url is a pool such as pgbouncer",
            env="STREAM_CHAT_LISTEN_URL", metavar="URL"),
    Setting("Web page", "user_header", str, None,
            "with --team: the header in which a trusted proxy names the user", metavar="NAME"),
    Setting("Web page", "oidc_issuer", str, None,
            "with --team: address of an OpenID provider at which members sign in",
            env="STREAM_CHAT_OIDC_ISSUER", metavar="URL"),
    Setting("Web page", "oidc_client", str, None,
            "with --team: this page's client ID at the OpenID provider",
            env="STREAM_CHAT_OIDC_CLIENT", metavar="ID"),
    Setting("Web page", "oidc_name", str, "email",
            "with --team: the provider's claim that names a member", metavar="CLAIM"),
    Setting("Web page", "oidc_domains", list, (),
            "with --team: domains of the addresses that may sign in", metavar="DOMAIN,..."),
    Setting("Web page", "oidc_groups", list, (),
            "with --team: the provider's groups that may sign in", metavar="GROUP,..."),
    Setting("Web page", "oidc_new_users", bool, False,
            "with --team: make an account for who may sign in and has none"),
    Setting("Web page", "tls_cert", str, None, "with --team: certificate of the page",
            metavar="FILE"),
    Setting("Web page", "tls_key", str, None, "with --team: the certificate's key", metavar="FILE"),
    Setting("Web page", "user_rate", int, 0,
            "with --team: questions that a user may ask in a minute (0: any number)", low=0),
    Setting("Web page", "drain_seconds", int, 10,
            "with --team: how long replies may run on when the page is stopped", low=0),
    Setting("Web page", "add_user", str, None,
            "add an account of the team's page, or change its password, which is asked for",
            metavar="NAME", in_file=False),
    Setting("Web page", "remove_user", str, None,
            "remove an account of the team's page; its sessions stay", metavar="NAME",
            in_file=False),
    Setting("Web page", "list_users", bool, False, "list the accounts of the team's page",
            in_file=False),
    # ---- when things go wrong
    Setting("Failures", "model_fallbacks", list, (), "models to ask when the first cannot answer",
            env="OLLAMA_MODEL_FALLBACKS",
            metavar="NAME,..."),
    Setting("Failures", "fallbacks", dict, {},
            "the same for one model: ollama/llama3=a,b; repeatable", metavar="MODEL=NAME,..."),
    Setting("Failures", "fallback_on_auth", bool, True,
            "without effect: a refused key is always passed on to a named fallback"),
    Setting("Failures", "local_only", bool, False, "ask only models that run on this machine"),
    Setting("Failures", "resume", bool, True, "go on by itself with an answer that broke off"),
    Setting("Failures", "stop_repetition", bool, True,
            "stop a reply that repeats itself without end"),
    Setting("Failures", "retry_max_attempts", int, 3,
            "how often one model is asked before giving up", env="RETRY_MAX_ATTEMPTS",
            low=1),
    Setting("Failures", "retry_initial_delay", float, 1.0, "seconds before the second attempt",
            env="RETRY_INITIAL_DELAY", low=0),
    Setting("Failures", "retry_max_delay", float, 30.0, "longest wait between attempts, in seconds",
            env="RETRY_MAX_DELAY", low=0),
    Setting("Failures", "retry_multiplier", float, 2.0, "how much longer each wait is",
            env="RETRY_MULTIPLIER", low=1),
    Setting("Failures", "retry_jitter", float, 0.5, "part of each wait that is random, 0 to 1",
            env="RETRY_JITTER", low=0, high=1),
    Setting("Failures", "connect_timeout", float, 10.0, "seconds to wait for a connection",
            low=0.001),
    Setting("Failures", "first_byte_timeout", float, None,
            "seconds until the answer must begin (600; 300 for cloud providers)",
            low=0.001),
    Setting("Failures", "idle_timeout", float, 300.0,
            "seconds without a byte after which a server counts as gone", low=0.001),
    # ---- the embedded engine
    Setting("Embedded engine", "engine", str, None,
            "llama-server program to use instead of the built-in one", metavar="PATH"),
    Setting("Embedded engine", "engine_threads", int, None, "processor threads for the engine",
            low=1),
    Setting("Embedded engine", "engine_idle", float, 0.0,
            "seconds that an engine without chats stays ready", low=0),
    Setting("Embedded engine", "self_test", bool, False,
            "check that everything works here, without a network",
            in_file=False),
    # ---- the demo provider
    Setting("Demo provider", "demo_delay", float, None, "seconds between its words", low=0),
    # ---- the program itself
    Setting("Program", "config", str, None, "configuration file", env="STREAM_CHAT_CONFIG",
            metavar="FILE", in_file=False),
    Setting("Program", "debug", str, None, "append a log of what the program does to this file",
            env="STREAM_CHAT_DEBUG",
            metavar="FILE"),
    Setting("Program", "completion", str, None, "print what completes this program in a shell",
            metavar="SHELL",
            choices=("bash", "zsh", "fish"), in_file=False),
    Setting("Program", "widget", str, None,
            "print a key for a shell, Ctrl-X Ctrl-A, that turns what is typed into a command",
            metavar="SHELL", choices=("bash", "zsh", "fish"), in_file=False),
    Setting("Program", "help", str, None, "the most used options (-h), all of them (--help), or "
            "what is known of a TOPIC: a page, a group of options, an option, a command of the "
            "chat (--help topics)", flags="-h --help", metavar="TOPIC",
            value_if_bare="all", in_file=False),
    Setting("Program", "version", bool, False, "show the version", flags="-V --version",
            in_file=False),
)
BY_NAME: dict[str, Setting] = {setting.name: setting for setting in SETTINGS}


class Settings(SettingTypes):
    """The values of one run, frozen.

    `given` names those that somebody set; the others are defaults.

    `prompt` is the text on the command line, and `given` names it when there was any, also an empty
    one; `reads_stdin` says that `-` stood there. `environment` holds the variables of this run, for
    keys and the like; `providers` the configuration file's own hosts and options, by provider name.
    `flags` names what stood on the command line, `file` holds what the configuration file alone
    says; `notices` is what the user should know about where the settings came from.
    """

    def __init__(self, values: Mapping[str, Any], *, prompt: str | None = None,
                 reads_stdin: bool = False,
                 environment: Mapping[str, str] | None = None,
                 providers: Mapping[str, Any] | None = None, given: frozenset[str] = frozenset(),
                 flags: frozenset[str] = frozenset(), notices: Sequence[str] = (),
                 file: Mapping[str, Any] | None = None) -> None:
        unknown = set(values) - set(BY_NAME)
        if unknown:
            raise UsageError(f"There is no setting named {', '.join(sorted(unknown))}.")
        state = {row.name: values.get(row.name, row.default) for row in SETTINGS}
        given = given | set(values) | ({"prompt"} if prompt is not None else set())
        state.update(prompt=prompt or "", reads_stdin=reads_stdin,
                     environment=dict(environment or {}),
                     providers=dict(providers or {}), given=given, flags=flags,
                     notices=tuple(notices),
                     file=dict(file or {}))
        self.__dict__.update(state)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Settings are frozen; use replace({name}=...)")

    def replace(self, **changes: Any) -> Settings:
        """The same settings with some values changed; `providers` are given in full."""
        providers = changes.pop("providers", self.providers)
        values = {name: self.__dict__[name] for name in BY_NAME if name in self.given} | changes
        prompt = self.prompt if "prompt" in self.given else None
        return Settings(values, prompt=prompt, reads_stdin=self.reads_stdin,
                        environment=self.environment,
                        providers=providers, flags=self.flags, notices=self.notices, file=self.file)


def _user_directory(environment: Mapping[str, str], xdg: str, unix: str, mac: str,
                    windows: str) -> str:
    """Where a user's files of one kind live.

    Own lines instead of platformdirs, whose import takes 13 ms at every start.
    """
    if sys.platform == "win32":
        root = environment.get(windows) or os.path.join(os.path.expanduser("~"), "AppData", "Local")
    elif environment.get(xdg, "").startswith("/"):
        root = environment[xdg]
    else:
        home = environment.get("HOME") or os.path.expanduser("~")
        root = os.path.join(home, mac if sys.platform == "darwin" else unix)
    return os.path.join(root, "stream-chat")


def data_directory(environment: Mapping[str, str]) -> str:
    """Sessions, spool and input history. May not exist yet."""
    return _user_directory(environment, "XDG_DATA_HOME", ".local/share",
                           "Library/Application Support", "LOCALAPPDATA")


def config_directory(environment: Mapping[str, str]) -> str:
    return _user_directory(environment, "XDG_CONFIG_HOME", ".config", "Library/Application Support",
                           "APPDATA")


def cache_directory(environment: Mapping[str, str]) -> str:
    """What can be fetched or computed again."""
    return _user_directory(environment, "XDG_CACHE_HOME", ".cache", "Library/Caches",
                           "LOCALAPPDATA")


def temporary_directory(environment: Mapping[str, str]) -> str:
    """The system's place for short-lived files, without looking whether it is there."""
    named = (environment.get(name, "") for name in ("TMPDIR", "TEMP", "TMP"))
    return next((path for path in named if os.path.isabs(path)), "" if os.name == "nt" else "/tmp")


def rows_by_group() -> Iterator[tuple[str, list[Setting]]]:
    groups: dict[str, list[Setting]] = {}
    for row in SETTINGS:
        groups.setdefault(row.group, []).append(row)
    yield from groups.items()
