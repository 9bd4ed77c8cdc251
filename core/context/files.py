"""Finds the files that the user names, and reads files in any encoding."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterator, Sequence
from io import BufferedReader
from itertools import islice
from typing import IO, TYPE_CHECKING

from core.context.items import Fault, Found, Item
from core.context.opening import UNGUARDED, Guard, open_item
from core.context.sources import Source
from core.context.walking import ending_of, kind_of, relative_name, walk, wanted, why
from core.errors import ContextError
from core.messages import IMAGE_TYPES, Image, image_type
from core.regex import regex
from core.text_encoding import GUESSED, HEAD, NotText, read_as_text

if TYPE_CHECKING:
    from core.tools.limited_process import LimitedProcess

MOST_BYTES = 16 << 20      # bytes of one file that are read; a note says that the rest is not
MOST_LOOKED_AT = 2_000     # names in a folder among which one that was meant is looked for
MOST_IMAGE = 20 << 20      # bytes of one picture
LOG_NAME = regex(r"\.(?:log|out|err|trace)(?:\.[\d-]+)?$|[/._-]log$", re.IGNORECASE)
SQLITE = b"SQLite format 3\0"
# beginnings of zip, gzip, bzip2, xz, 7z, zstd and rar
ARCHIVES = (b"PK\3\4", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"(\xb5/\xfd", b"Rar!")


def load_files(source: Source, grep: Sequence[str] = (), root: str = "",
               guard: Guard = UNGUARDED) -> Iterator[Found]:
    """The items and faults of a file, folder or glob; names are relative to `root`."""
    root = os.path.abspath(root)
    target = os.path.normpath(os.path.join(root, source.target))
    try:
        if source.kind == "directory":
            yield from walk(target, source, grep, root, guard)
        elif source.kind == "glob":
            yield from _load_glob(target, source, grep, root, guard)
        else:
            yield from _load_named(target, source, root, guard)
    except OSError as problem:
        yield fault_of_path(source.name, target, problem)


def fault_of_path(name: str, path: str, problem: OSError) -> Fault:
    hint = ""
    if isinstance(problem, FileNotFoundError) and os.path.islink(path):
        return Fault(name, "is a link to something that does not exist")
    if isinstance(problem, FileNotFoundError):
        close = _names_like(path)
        hint = f"Did you mean {close[0]}?" if close else "Check its name."
    return Fault(name, why(problem), hint)


def _names_like(path: str) -> list[str]:
    """Similar names in the same folder."""
    from difflib import get_close_matches
    folder, name = os.path.split(path)
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in islice(entries, MOST_LOOKED_AT)]
    except OSError:
        return []
    return get_close_matches(name, names, n=1)


def _load_named(path: str, source: Source, root: str, guard: Guard) -> Iterator[Found]:
    """A file that the user named: rules do not apply, but it must be a regular file."""
    found = os.stat(path)
    if stat.S_ISDIR(found.st_mode):
        yield Fault(source.name, "is a folder")
    elif not stat.S_ISREG(found.st_mode):
        yield Fault(source.name, "is a device, a pipe or a socket, not a file")
    elif not os.access(path, os.R_OK):
        yield Fault(source.name, "permission denied")
    else:
        item = file_item(path, source, found, root, named=True)
        try:
            check_text(item, guard)
        except ContextError as problem:
            yield Fault(source.name, problem.message.removeprefix(f"{item.name}: "), problem.hint)
        else:
            yield item


def _load_glob(pattern: str, source: Source, grep: Sequence[str], root: str,
               guard: Guard) -> Iterator[Found]:
    none = True
    for path in sorted(glob.iglob(pattern, recursive=True)):
        if os.path.isfile(path) and wanted(os.path.relpath(path, root), grep):
            none = False
            yield from _load_named(path, Source("file", os.path.relpath(path, root), path), root,
                                   guard)
    if none:
        yield Fault(source.name, "matches no file", "Check the pattern, and --context-grep." if grep
                    else "Check the pattern; ** stands for any folders.")


def file_item(path: str, source: Source, found: os.stat_result, root: str, *,
              named: bool = False) -> Item:
    """The item of a file, whose text is read when it is needed."""
    return Item(relative_name(path, root), kind_of(os.path.basename(path)), source.name,
                found.st_size, path, found.st_mtime_ns, named=named)


# ---- reading

def read_text(item: Item, guard: Guard = UNGUARDED, process: LimitedProcess | None = None) -> str:
    """The current text of a file; a document is converted in the child `process`.

    Sets item.note to what was cut. Raises ContextError if it is not text or cannot be read.
    """
    try:
        with BufferedReader(open_item(item, guard)) as file:
            status = os.fstat(file.fileno())
            log = LOG_NAME.search(item.path) is not None and status.st_size > MOST_BYTES
            ends = _both_ends(file, status.st_size) if log else b""
            data = ends or file.read(MOST_BYTES + 1)
    except OSError as problem:
        raise ContextError(f"{item.name}: {why(problem)}") from problem
    item.stamp, item.size = status.st_mtime_ns, status.st_size
    item.note = f"only its first {MOST_BYTES >> 20} MB were read" if len(data) > MOST_BYTES else ""
    if ends:
        item.note = (f"only its first and last {MOST_BYTES >> 21} MB were read; line numbers after "
                     "the gap are too low")
    if item.kind == "document":
        from core.context.documents import document_text
        return document_text(item, data, process)
    text, doubt = decode(data[:MOST_BYTES], item.name, cut=len(data) > MOST_BYTES)
    if "\n" not in text:
        text = text.replace("\r", "\n")     # lines as editors show them
    left = ""
    if item.path.lower().endswith(".ipynb"):
        from core.context.notebook import notebook_text
        text, left = notebook_text(text)
    item.note = "; ".join(filter(None,
                                 (item.note, doubt, left)))
    return text


def _both_ends(file: IO[bytes], size: int) -> bytes:
    """The beginning and end of a large file (such as a log, with its newest lines at the end), in
    whole lines; empty if it is not text.
    """
    half = MOST_BYTES // 2 - 200
    head = file.read(half)
    file.seek(size - half)
    head, tail = head[:head.rfind(b"\n") + 1], file.read(half)
    tail = tail[tail.find(b"\n") + 1:]
    if b"\0" in tail[:HEAD]:
        file.seek(0)
        return b""
    return head + f"[{size - len(head) - len(tail):,} bytes are left out here]\n".encode() + tail


def read_image(item: Item, guard: Guard = UNGUARDED) -> Image:
    """A picture in the form that is sent to models. Raises ContextError."""
    import base64
    try:
        with BufferedReader(open_item(item, guard)) as file:
            data = file.read(MOST_IMAGE + 1)
    except OSError as problem:
        raise ContextError(f"{item.name}: {why(problem)}") from problem
    if len(data) > MOST_IMAGE:
        raise ContextError(f"{item.name}: is larger than {MOST_IMAGE >> 20} MB")
    kind = image_type(data) or IMAGE_TYPES[ending_of(item.path)]
    return Image(kind, base64.b64encode(data).decode(), item.name)


def check_text(item: Item, guard: Guard = UNGUARDED) -> None:
    """Raise ContextError if a named file cannot be read; a document is converted now, and its text
    kept.
    """
    if item.kind == "document":
        item.text = read_text(item, guard)
        return
    with BufferedReader(open_item(item, guard)) as file:
        data = file.read(GUESSED)
    if item.kind == "file":
        if data.startswith(SQLITE):
            raise ContextError(f"{item.name}: is an SQLite database; name what to read: "
                               f"sqlite:///{item.name}?table=NAME")
        decode(data, item.name, cut=len(data) == GUESSED)


def decode(data: bytes, name: str, *, cut: bool = False) -> tuple[str, str]:
    """(text, note on the encoding if it was guessed).

    `cut`: more bytes follow, so the last character may be incomplete. Raises ContextError for
    binary data.
    """
    try:
        return read_as_text(data, cut=cut)
    except NotText as problem:
        hint = "Unpack it, and name what was in it." if is_archive(data) else ""
        raise ContextError(f"{name}: {problem}", hint) from None


def is_archive(data: bytes) -> bool:
    return data.startswith(ARCHIVES) or data[257:262] == b"ustar"
