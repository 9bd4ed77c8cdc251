"""Converts PDF and Office documents to text in a limited child process: files may be hostile."""

from __future__ import annotations

import io
import re
import time
import zipfile
from collections.abc import Callable, Iterator
from typing import IO, Any

from core.config.installed import install_command
from core.context.items import Item
from core.errors import ContextError, ToolError
from core.tools.limited_process import Job, LimitedProcess, run_limited

MOST_PAGES = 2_000
MOST_CHARACTERS = 8 << 20
MOST_SECONDS = 20.0
READING_SECONDS = 15.0       # of these: the rest starts the process, on a busy machine too
MOST_ELEMENTS = 2_000_000
MOST_WITHIN = 200_000        # elements in one paragraph or cell
MOST_MARKS = 2_000_000       # "<" characters in a part of a Word file
MOST_UNPACKED = 64 << 20     # bytes of a document's parts: a small zip file can contain terabytes
SAVE_AGAIN = "Save it again in a program that can open it, or as text."
SPACES = {"w": "http://schemas.openxmlformats.org/wordprocessingml/2006/main",
          "a": "http://schemas.openxmlformats.org/drawingml/2006/main",
          "s": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}


def document_text(item: Item, data: bytes, process: LimitedProcess | None = None) -> str:
    """The text of a document, converted in `process` or in a new child process.

    Sets item.note to what was left out. Raises ContextError if its reader is not installed or it
    cannot be read.
    """
    call = process.call if process is not None else run_limited
    arguments = {"path": item.path, "name": item.name}
    try:
        text, item.note = call("core.context.documents:read_document", arguments, data,
                               seconds=MOST_SECONDS)
    except ToolError as problem:
        raise ContextError(
            f"{item.name}: {problem.message[:1].lower()}{problem.message[1:]}",
            problem.hint) from problem
    return str(text)


def read_document(job: Job, path: str, name: str) -> tuple[str, str]:
    """(text of a document, note on what was left out). Runs in the child process."""
    ending = path.rsplit(".", 1)[-1].lower()
    readers: dict[str, Callable[[bytes], Iterator[str]]] = {
        "pdf": _pdf, "docx": _docx, "pptx": _slides, "xlsx": _sheets, "odt": _open_document}
    try:
        return _bounded(readers[ending](job.data), name)
    except ImportError as problem:
        package = {"docx": "python-docx"}.get(problem.name or "", problem.name or "pypdf")
        raise ContextError(f"{name}: needs the package {package}, which is not installed.",
                           f"Install it: {install_command(package)}") from problem
    except (ContextError, MemoryError):
        raise
    except RecursionError as problem:
        raise ContextError(f"{name}: is nested too deeply", SAVE_AGAIN) from problem
    except Exception as problem:   # the readers raise almost anything for a damaged file
        raise ContextError(f"{name}: is damaged or protected "
                           f"({type(problem).__name__})", SAVE_AGAIN) from problem


def _bounded(parts: Iterator[str], name: str) -> tuple[str, str]:
    """(the joined parts up to the limit, note on what was left out)."""
    end = time.monotonic() + READING_SECONDS
    kept: list[str] = []
    size = 0
    note = ""
    try:
        for part in parts:
            kept.append(part)
            size += len(part) + 1
            if size > MOST_CHARACTERS or time.monotonic() > end:
                raise _Enough
    except _Enough:
        note = f"only its first {size:,} characters were read"
    text = "\n".join(kept).strip()
    if not text:
        raise ContextError(
            f"{name}: {'is too large when unpacked' if note else 'contains no text (a scan?)'}")
    return text, note


def _pdf(data: bytes) -> Iterator[str]:
    import logging

    import pypdf  # type: ignore[import-not-found,unused-ignore]  # an optional extra
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)   # it logs every irregularity of a file
    reader = pypdf.PdfReader(io.BytesIO(data))
    for number, page in enumerate(reader.pages[:MOST_PAGES], 1):
        words = page.extract_text()
        if words.strip():
            yield f"[page {number}]\n{words}"


def _docx(data: bytes) -> Iterator[str]:
    import docx  # type: ignore[import-not-found,unused-ignore]  # an optional extra
    # it is read as a whole
    if any(part.read().count(b"<") > MOST_MARKS for part in _parts(data, r".*\.(xml|rels)")):
        raise ValueError("too large when unpacked")
    document = docx.Document(io.BytesIO(data))
    for block in document.iter_inner_content():
        if hasattr(block, "rows"):
            yield "\n".join(" | ".join(cell.text.strip() for cell in row.cells)
                            for row in block.rows)
        else:
            heading = re.fullmatch(r"Heading (\d)", block.style.name or "") if block.style else None
            yield ("#" * int(heading[1]) + " " if heading else "") + block.text


def _slides(data: bytes) -> Iterator[str]:
    space, limit = f"{{{SPACES['a']}}}", _Limit()
    for number, part in enumerate(_parts(data, r"ppt/slides/slide\d+\.xml"), 1):
        lines = ("".join(paragraph.itertext("{*}t")) for paragraph in limit.walk(part, f"{space}p"))
        yield f"[slide {number}]"
        yield from (line for line in lines if line.strip())


def _sheets(data: bytes) -> Iterator[str]:
    space, limit = f"{{{SPACES['s']}}}", _Limit()
    shared = ["".join(entry.itertext(f"{space}t"))
              for part in _parts(data, r"xl/sharedStrings\.xml")
              for entry in limit.walk(part, f"{space}si")]
    for number, part in enumerate(_parts(data, r"xl/worksheets/sheet\d+\.xml"), 1):
        yield f"[sheet {number}]"
        cells: list[str] = []
        size = 0
        for element in limit.walk(part, f"{space}c", ends=f"{space}row"):
            if element.tag == f"{space}c":
                cells.append(_cell(element, shared, space))
                size += len(cells[-1])
            # any number of cells may refer to the same long text
            if element.tag != f"{space}c" or size > MOST_CHARACTERS:
                yield " | ".join(cells)
                cells, size = [], 0


def _cell(cell: Any, shared: list[str], space: str) -> str:
    value = "".join(cell.itertext(f"{space}v", f"{space}t"))
    known = (cell.get("t") == "s" and value.isdecimal() and len(value) < 10
             and int(value) < len(shared))
    return shared[int(value)] if known else value


def _open_document(data: bytes) -> Iterator[str]:
    space, limit = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}", _Limit()
    for part in _parts(data, r"content\.xml"):
        for paragraph in limit.walk(part, f"{space}p", f"{space}h"):
            yield "".join(paragraph.itertext())


class _Enough(Exception):
    """The limit for one document is reached."""


class _Limit:
    """Limits how much of one document is parsed: a small zip file may have millions of elements."""

    def __init__(self) -> None:
        self._end = time.monotonic() + READING_SECONDS
        self._seen = 0

    def walk(self, part: IO[bytes], *wanted: str, ends: str = "") -> Iterator[Any]:
        """The wanted elements (without nested ones) and the `ends` around them; each is released
        after it was yielded.

        Raises _Enough.
        """
        from lxml import etree
        depth = first = 0
        for event, element in etree.iterparse(part, ("start", "end"), resolve_entities=False,
                                              no_network=True, huge_tree=False):
            inside = element.tag in wanted
            if event == "start":
                self._count()
                first = first if depth else self._seen
                depth += inside
                if depth and self._seen - first > MOST_WITHIN:
                    raise _Enough
                continue
            depth -= inside
            if depth:
                continue
            if inside or element.tag == ends:
                yield element
            _drop(element)

    def _count(self) -> None:
        self._seen += 1
        if self._seen > MOST_ELEMENTS or not self._seen % 1_000 and time.monotonic() > self._end:
            raise _Enough


def _drop(element: Any) -> None:
    """Release an element's content and the elements before it; the parser needs the element itself.
    """
    element.clear()
    parent = element.getparent()
    while element.getprevious() is not None:
        del parent[0]


def _parts(data: bytes, pattern: str) -> Iterator[IO[bytes]]:
    """The XML parts with matching names, in numerical order."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > MOST_UNPACKED:
            raise ValueError("too large when unpacked")
        for name in sorted((name for name in archive.namelist() if re.fullmatch(pattern, name)),
                           key=_number):
            with archive.open(name) as part:
                yield part


def _number(name: str) -> tuple[int, str]:
    found = re.search(r"(\d+)\.xml", name)
    return (int(found[1]) if found else 0, name)
