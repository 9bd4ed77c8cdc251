"""Finds the files in a folder that may be sent, by their names and .gitignore, without opening any.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Collection, Iterator, Sequence
from operator import attrgetter

from core.context.ignoring import Rules, ignored_names, is_ignored, outer_rules, with_rules
from core.context.items import Aside, Fault, Found, Item, ItemKind
from core.context.opening import OURS, UNGUARDED, Guard
from core.context.sources import Source
from core.messages import IMAGE_TYPES
from core.regex import regex
from core.tools.guards.secret_files import MAYBE_SECRET, is_secret_name, plain_name

DOCUMENTS = frozenset({".pdf", ".docx", ".pptx", ".xlsx", ".odt"})
BINARY = frozenset(
    ".7z .a .aac .avi .bin .bz2 .class .db .dll .dmg .doc .dylib .eot .exe .flac .gguf .gz "
    ".ico .iso .jar .lib .m4a .mkv .mov .mp3 .mp4 .npy .npz .o .obj .ogg .onnx .otf .parquet "
    ".pkl .ppt .pt .pth .pyc .pyd .pyo .rar .safetensors .so .sqlite .sqlite3 .tar .tgz "
    ".ttf .wasm .wav .webm .whl .woff .woff2 .xls .xz .zip .zst".split())
GENERATED = (r"(?:package-lock\.json|npm-shrinkwrap\.json|pnpm-lock\.yaml|go\.sum"
             r"|.*(?:\.lock|\.map|\.min\.js|\.min\.css|_pb2\.pyi?|_pb2_grpc\.pyi?|\.pb\.go))")
LEFT_NAMES = regex(GENERATED, re.IGNORECASE)
GENERATED_FOLDERS = frozenset({"node_modules", "__pycache__", "site-packages", "bower_components"})
KINDS: dict[str, ItemKind] = {**dict.fromkeys(IMAGE_TYPES, "image"),
                              **dict.fromkeys(DOCUMENTS, "document")}
# Searches many names at once, one after each line break, for those of files that are not plain text
# without secrets; few others match. Beginning with letters halves its time, as in MAYBE_SECRET.
_UNUSUAL = regex(
    r"\n\.|#|\.(?:" + "|".join(ending[1:] for ending in (*BINARY, *KINDS)) + r"|lock|map)$"
    r"|\.min\.|_pb2|\.pb\.|package-|npm-|pnpm-|go\.sum|" + MAYBE_SECRET, re.MULTILINE)
Entry = os.DirEntry[str]


def walk(top: str, source: Source, grep: Sequence[str], root: str,
         guard: Guard = UNGUARDED) -> Iterator[Found]:
    """The files below a folder (absolute path), sorted by name.

    Symbolic links are not followed, so cycles are impossible.
    """
    if not os.access(top, os.R_OK | os.X_OK):
        yield Fault(source.name, "permission denied")
        return
    folders, real = [(top, outer_rules(top))], os.path.realpath(top)
    while folders:
        folder, rules = folders.pop()
        if guard.holds(real + folder[len(top):]):
            yield Fault(relative_name(folder, root), OURS)
            continue
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=attrgetter("name"))
        except OSError as problem:
            yield Fault(relative_name(folder, root), why(problem))
            continue
        if any(entry.name == ".gitignore" for entry in entries):
            rules = with_rules(rules, folder)
        inner: list[str] = []
        yield from _entries_of(folder, entries, rules, source, grep, root, inner)
        folders += [(path, rules) for path in reversed(inner)]


def _entries_of(folder: str, entries: Sequence[Entry], rules: tuple[Rules, ...], source: Source,
                grep: Sequence[str], root: str, inner: list[str]) -> list[Found]:
    """The files of one folder, without calling stat(), which would take most of the time.

    Adds the folders in it that are read as well to `inner`.
    """
    begin = relative_name(folder, root)
    begin = "" if begin in (".", root) else begin + "/"
    names = [entry.name for entry in entries]
    ignored = ignored_names(folder, names, rules)
    unusual = _unusual(names) | ignored
    found: list[Found] = []
    for entry in entries:
        name = entry.name
        if not entry.is_file(follow_symlinks=False):
            if reason := _folder_left_aside(entry, rules):
                found.append(Aside(reason))
            else:
                inner.append(entry.path)
        elif name in unusual and (reason := _left_aside(name, ignored)):
            found.append(Aside(reason))
        elif grep and not wanted(begin + name, grep):
            found.append(Aside("not asked for"))
        else:
            kind = kind_of(name) if name in unusual else "file"
            found.append(Item(begin + name, kind, source.name, -1, entry.path))
    return found


def _unusual(names: Sequence[str]) -> set[str]:
    """All names of pictures, documents and files to leave out, and few others."""
    text = "\n" + plain_name("\n".join(names))
    if text.count("\n") != len(names):
        return set(names)
    found, line, place = set(), -1, 0
    for match in _UNUSUAL.finditer(text):
        line += text.count("\n", place, match.start() + 1)
        place = match.start() + 1
        found.add(names[line])
    return found


def _left_aside(name: str, ignored: Collection[str]) -> str:
    """The kind of rule that leaves out a file of this name; "" if none does."""
    if name[0] == ".":
        return "hidden"
    if ending_of(name) in BINARY:
        return "binary"
    if LEFT_NAMES.fullmatch(name):
        return "generated"
    if is_secret_name(name):
        return "secret"
    return "ignored" if name in ignored else ""


def _folder_left_aside(entry: Entry, rules: tuple[Rules, ...]) -> str:
    """The kind of rule that leaves out a folder, or what is not a file; "" if none does."""
    if entry.name[0] == ".":
        return "hidden"
    if not entry.is_dir(follow_symlinks=False):
        return "links" if entry.is_symlink() else "special"
    if entry.name in GENERATED_FOLDERS:
        return "generated"
    if is_secret_name(entry.name):
        return "secret"
    return "ignored" if is_ignored(entry.path, rules, folder=True) else ""


def ending_of(name: str) -> str:
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""


def kind_of(name: str) -> ItemKind:
    return KINDS.get(ending_of(name), "file")


def relative_name(path: str, root: str) -> str:
    """The name of a path for the model: relative to `root` if it is below it, with slashes."""
    prefix = root.rstrip(os.sep) + os.sep
    path = os.path.normpath(path)
    return (path[len(prefix):] if path.startswith(prefix) else path).replace(os.sep, "/")


def wanted(name: str, grep: Sequence[str]) -> bool:
    """Whether --context-grep includes a file, by its ending, name or a pattern of its path."""
    if not grep:
        return True
    base = name.rsplit("/", 1)[-1]
    for rule in grep:
        if re.search(r"[*?\[/]", rule):
            if fnmatch.fnmatch(base, rule) or fnmatch.fnmatch(name, rule):
                return True
        elif base == rule or base.lower().endswith("." + rule.lstrip(".").lower()):
            return True
    return False


def why(problem: OSError) -> str:
    """The reason in words, without the path."""
    words = {FileNotFoundError: "there is no such file", PermissionError: "permission denied"}
    text = words.get(type(problem)) or problem.strerror or str(problem)
    return text[:1].lower() + text[1:]
