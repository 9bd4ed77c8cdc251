"""PDF and Office documents as text, through pypdf, python-docx and lxml; bounded, for such files can be hostile."""

from __future__ import annotations

import io
import re
import time
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

from core.context.items import Item
from core.errors import ContextError

MOST_PAGES = 2_000
MOST_CHARACTERS = 8 << 20
MOST_SECONDS = 20.0
MOST_UNPACKED = 64 << 20     # bytes of a document's parts: a small zip can hold terabytes
HINT = "pip install -r requirements-docs.txt"
SPACES = {"w": "http://schemas.openxmlformats.org/wordprocessingml/2006/main",
          "a": "http://schemas.openxmlformats.org/drawingml/2006/main",
          "s": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}


def document_text(item: Item, data: bytes) -> str:
    """The words of a document. Raises ContextError when its reader is not installed or it cannot be read."""
    ending = item.path.rsplit(".", 1)[-1].lower()
    readers: dict[str, Callable[[bytes], Iterator[str]]] = {
        "pdf": _pdf, "docx": _docx, "pptx": _slides, "xlsx": _sheets, "odt": _open_document}
    try:
        return _bounded(readers[ending](data), item)
    except ImportError as problem:
        package = {"pypdf": "pypdf", "docx": "python-docx"}.get(problem.name or "", problem.name)
        raise ContextError(f"{item.name}: needs the package {package}, which is not installed ({HINT})", HINT) from problem
    except ContextError:
        raise
    except RecursionError as problem:
        raise ContextError(f"{item.name}: is nested too deeply") from problem
    except Exception as problem:   # the readers raise almost anything for a broken file
        raise ContextError(f"{item.name}: is broken or protected ({type(problem).__name__})") from problem


def _bounded(parts: Iterator[str], item: Item) -> str:
    """Join the parts until there is enough of them, and note what was left out."""
    end = time.monotonic() + MOST_SECONDS
    kept: list[str] = []
    size = 0
    for part in parts:
        kept.append(part)
        size += len(part)
        if size > MOST_CHARACTERS or time.monotonic() > end:
            item.note = f"only its first {size:,} characters were read"
            break
    text = "\n".join(kept).strip()
    if not text:
        raise ContextError(f"{item.name}: holds no text (a scan?)")
    return text


def _pdf(data: bytes) -> Iterator[str]:
    import logging

    import pypdf  # type: ignore[import-not-found,unused-ignore]  # an optional extra
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)   # it reports every oddity of a file
    reader = pypdf.PdfReader(io.BytesIO(data))
    for number, page in enumerate(reader.pages[:MOST_PAGES], 1):
        words = page.extract_text()
        if words.strip():
            yield f"[page {number}]\n{words}"


def _docx(data: bytes) -> Iterator[str]:
    import docx  # type: ignore[import-not-found,unused-ignore]  # an optional extra
    _parts(data, "")
    document = docx.Document(io.BytesIO(data))
    for block in document.iter_inner_content():
        if hasattr(block, "rows"):
            yield "\n".join(" | ".join(cell.text.strip() for cell in row.cells) for row in block.rows)
        else:
            heading = re.fullmatch(r"Heading (\d)", block.style.name or "") if block.style else None
            yield ("#" * int(heading[1]) + " " if heading else "") + block.text


def _slides(data: bytes) -> Iterator[str]:
    for number, tree in enumerate(_parts(data, r"ppt/slides/slide\d+\.xml"), 1):
        lines = ("".join(paragraph.itertext("{*}t")) for paragraph in tree.iter(f"{{{SPACES['a']}}}p"))
        yield f"[slide {number}]\n" + "\n".join(line for line in lines if line.strip())


def _sheets(data: bytes) -> Iterator[str]:
    space = f"{{{SPACES['s']}}}"
    shared = ["".join(entry.itertext(f"{space}t"))
              for tree in _parts(data, r"xl/sharedStrings\.xml") for entry in tree.iter(f"{space}si")]
    for number, tree in enumerate(_parts(data, r"xl/worksheets/sheet\d+\.xml"), 1):
        yield f"[sheet {number}]"
        for row in tree.iter(f"{space}row"):
            yield " | ".join(_cell(cell, shared, space) for cell in row.iter(f"{space}c"))


def _cell(cell: Any, shared: list[str], space: str) -> str:
    value = "".join(cell.itertext(f"{space}v", f"{space}t"))
    return shared[int(value)] if cell.get("t") == "s" and value.isdigit() and int(value) < len(shared) else value


def _open_document(data: bytes) -> Iterator[str]:
    for tree in _parts(data, r"content\.xml"):
        for paragraph in tree.iter("{urn:oasis:names:tc:opendocument:xmlns:text:1.0}p",
                                   "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}h"):
            yield "".join(paragraph.itertext())


def _parts(data: bytes, pattern: str) -> Iterator[Any]:
    """The XML parts whose names match, in the order of their numbers."""
    from lxml import etree
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > MOST_UNPACKED:
            raise ValueError("too large when unpacked")
        parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False)
        names = [name for name in archive.namelist() if pattern and re.fullmatch(pattern, name)]
        trees = [etree.fromstring(archive.read(name), parser) for name in sorted(names, key=_number)]
    return iter(trees)


def _number(name: str) -> tuple[int, str]:
    found = re.search(r"(\d+)\.xml", name)
    return (int(found[1]) if found else 0, name)
