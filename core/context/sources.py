"""Parses what a user names as context: files, folders, pages, databases, chats, commands."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

from core.dataclass import dataclass
from core.errors import ContextError
from core.regex import regex

Kind = Literal["file", "directory", "glob", "stdin", "page", "sessions", "session", "sql",
               "command", "resource"]
MOST_COMPLETIONS = 200
TAKES_THE_REST = regex(r"!|(?!https?:)[\w+.-]+:/.*[?&]query=", re.I)
# `@` at the start or after a space or a bracket; so addresses such as me@example.org do not match.
MENTION = regex(r"(?<![^\s(\[{\"'`])@(?:\"([^\"\n]+)\"|([^\s\"'`]+))")
ENDINGS = frozenset(".c .cc .cfg .conf .cpp .go .hpp .ini .ipynb .java .jsonl .jsx .kt .lock .log "
                    # beside those with a MIME type
                    ".lua .php .rb .rs .sql .swift .toml .ts .tsx .vue .yaml .yml".split())
CLOSING = ".,;:!?)]}"    # ends a sentence rather than a name
# A name with an extension of letters, or one that begins like a path; not @types/node or @property.
LIKE_A_PATH = regex(r"^(?:\.{1,2}|~)?/.|^[^@]*[^@/]\.[A-Za-z]{1,5}$")


@dataclass(frozen=True, slots=True)
class Source:
    """One source named by the user.

    `name` is the text as written; `target` is the path, address, command, ID or words. `query` and
    `table` belong to databases; `words`: the target of a session source is a search.
    """

    kind: Kind
    name: str
    target: str = ""
    query: str = ""
    table: str = ""
    words: bool = False


def parse_context_arg(text: str, root: str = "") -> list[Source]:
    """Parse one --context argument: sources separated by commas; relative names start at `root`.

    Commas within quotes, or in the name of an existing file, do not separate; a command (!...) and
    an SQL query take the rest of the argument. Raises ContextError for an invalid source.
    """
    if text.strip() and os.path.lexists(os.path.join(root, text.strip())):
        return [parse_source(text.strip(), root)]
    return [parse_source(part, root) for part in split_sources(text)]


def split_sources(text: str) -> list[str]:
    """The sources in one --context argument, separated by commas."""
    parts, rest = [], text.strip()
    while rest:
        if TAKES_THE_REST.match(rest):
            end = len(rest)
        else:
            end = _next_comma(rest)
        parts.append(rest[:end].strip())
        rest = rest[end + 1:].strip()
    return [part for part in parts if part]


def _next_comma(text: str) -> int:
    quote = ""
    for place, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character == '"' or character == "'" and (place == 0 or text[place - 1] in ":, "):
            quote = character
        elif character == ",":
            return place
    return len(text)


def parse_source(text: str, root: str = "") -> Source:
    """Parse a single source. Raises ContextError."""
    if text == "-":
        return Source("stdin", "-")
    if text.startswith("!"):
        command = text[1:].strip()
        if not command:
            raise ContextError("! needs a command after it.", "Example: --context '!git diff'")
        return Source("command", text, command)
    if text == "db":
        return Source("sessions", "db")
    if text.startswith("db:") and not os.path.lexists(os.path.join(root, text)):
        return _session_source(text)
    scheme, separator, _ = text.partition("://")
    if separator and re.fullmatch(r"[A-Za-z][\w+.-]*", scheme):
        return _url_source(text, scheme.lower(), root)
    return _path_source(_unquoted(text), root)


def _session_source(text: str) -> Source:
    wanted = text[3:].strip()
    bare = _unquoted(wanted)
    if not bare.strip():
        raise ContextError(f"{text} names neither a session nor words.",
                           'Write db, db:ID or db:"words".')
    return Source("session", text, bare, words=bare != wanted or " " in bare)


def _url_source(text: str, scheme: str, root: str) -> Source:
    if scheme in ("http", "https"):
        return Source("page", text, text)
    if scheme == "file":
        return _path_source(urlsplit(text).path, root)
    base, _, parameters = text.partition("?")
    given = dict(parse_qsl(parameters.partition("query=")[0], keep_blank_values=True))
    query = _query_of(parameters)
    table = (given.pop("table", "")
             or (dict(parse_qsl(parameters)).get("table", "") if not query else ""))
    if not query and not table:
        raise ContextError(f"{hide_password(base)} needs a table or a query.",
                           "Add ?table=NAME or ?query=SELECT ...")
    kept = "&".join(f"{name}={value}" for name, value in given.items())
    return Source("sql", hide_password(text), base + (f"?{kept}" if kept else ""), query, table)


def _query_of(parameters: str) -> str:
    """The query, which is the last parameter and extends to the end: &, + and % are part of SQL.
    %20 and + are decoded only if the query contains no space.
    """
    from urllib.parse import unquote, unquote_plus
    found = re.search(r"(?:^|&)query=(.*)", parameters, re.S | re.I)
    if not found:
        return ""
    query = found[1]
    return (query if re.search(r"\s", query) else unquote_plus(query) if "%" not in query
            else unquote(query.replace("+", " ")))


def hide_password(url: str) -> str:
    """The address without its password, for display."""
    return re.sub(r"(://[^/@:\s]*):[^/\s]*@", r"\1:***@", url)


def _path_source(text: str, root: str) -> Source:
    path = os.path.expanduser(text)
    if os.path.isdir(os.path.join(root, path)):
        return Source("directory", text, path)
    if re.search(r"[*?\[]", path) and not os.path.lexists(os.path.join(root, path)):
        return Source("glob", text, path)
    return Source("file", text, path)


def _unquoted(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    return text


@dataclass(frozen=True, slots=True)
class Mention:
    """A file or folder named as @path in a prompt, from position `start` to `end`."""

    start: int
    end: int
    path: str


def find_mentions(text: str, root: str = ".") -> list[Mention]:
    """The @path words of a prompt that name an existing file or folder; others are ignored."""
    found = []
    for match in MENTION.finditer(text):
        path = match[1] or _existing(match[2], root)
        if path and os.path.exists(os.path.join(root, os.path.expanduser(path))):
            found.append(Mention(match.start(), match.start() + 1 + len(path) + 2 * bool(match[1]),
                                 path))
    return found


def typed_mentions(text: str, pasted: Iterable[str],
                   root: str = ".") -> tuple[list[str], list[str]]:
    """(paths that a prompt names outside pasted text, paths named only in pasted text)."""
    foreign = Counter(mention.path for piece in pasted for mention in find_mentions(piece, root))
    named = Counter(mention.path for mention in find_mentions(text, root))
    typed = [path for path, count in named.items() if count > foreign[path]]
    return typed, [path for path in named if path not in typed]


def is_surely_path(word: str) -> bool:
    """Whether a missing @word must mean a file: it looks like a path, or has a file's extension
    (@app.route has not).
    """
    import mimetypes
    ending = os.path.splitext(word)[1].lower()
    return ("/" in word or word.startswith("~") or ending in ENDINGS
            or mimetypes.guess_type("x" + ending)[0] is not None)


def missing_mentions(text: str, root: str = ".") -> list[str]:
    """The @path words that look like a file or folder but do not exist."""
    words = (match[1] or match[2]
             for match in MENTION.finditer(text) if not _existing(match[1] or match[2], root))
    return list(dict.fromkeys(path for path in (word.rstrip(CLOSING) for word in words)
                              if LIKE_A_PATH.search(path)))


def _existing(word: str, root: str) -> str:
    """The existing path: the word itself, or without the punctuation after it; "" if neither."""
    while word:
        if os.path.lexists(os.path.join(root, os.path.expanduser(word))):
            return word
        shorter = word.rstrip(CLOSING)
        word = shorter if shorter != word else ""
    return ""


def complete_mention(text: str, root: str = ".") -> list[str]:
    """Completions of the @path at the end of `text`, directories with a trailing /; hidden names
    only if a dot was typed.
    """
    match = re.search(r"(?<![^\s(\[{\"'`])@(?:\"([^\"\n]*)|([^\s\"'`]*))$", text)
    if match is None:
        return []
    typed = match[1] if match[1] is not None else match[2]
    directory, begun = os.path.split(typed)
    try:
        with os.scandir(os.path.join(root, os.path.expanduser(directory))) as entries:
            fitting = (entry for entry in entries if entry.name.lower().startswith(begun.lower())
                       and (begun or not entry.name.startswith(".")))
            nameable = (entry for entry in fitting if not re.search('["\n]', entry.name))
            found = sorted(nameable, key=lambda entry: entry.name)[:MOST_COMPLETIONS]
            return [_completed(directory, entry) for entry in found]
    except OSError:
        return []


def _completed(directory: str, entry: os.DirEntry[str]) -> str:
    path = os.path.join(directory, entry.name) + ("/" if entry.is_dir() else "")
    return f'@"{path}"' if re.search(r"[\s'`]", path) else f"@{path}"


def unique(sources: Iterable[Source]) -> list[Source]:
    """Each source once, in the order in which it was named."""
    return list(dict.fromkeys(sources))
