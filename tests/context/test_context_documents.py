"""PDF and Word files as context, generated here and really read, in the whole program without
blocking its event loop.
"""

from __future__ import annotations

import asyncio
import io
import subprocess
import time
from pathlib import Path

import pytest

from core.chat.fitted_request import fit_request
from core.context_loader import ContextSet
from core.errors import ContextError
from core.messages import user_message
from core.providers import Request
from core.window.tokens import TokenEstimator
from tests.fake_server import FakeOllama

docx = pytest.importorskip("docx")
pypdf = pytest.importorskip("pypdf")
pytestmark = pytest.mark.processes      # documents are read in a child process


def pdf_of(*pages: str) -> bytes:
    """A PDF with one line of text on each page, written by hand: pypdf itself only reads text."""
    count = len(pages)
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(count))
    objects = ["<< /Type /Catalog /Pages 2 0 R >>",
               f"<< /Type /Pages /Kids [{kids}] /Count {count} >>",
               "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    for number, text in enumerate(pages):
        content = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET"
        objects += ["<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents "
                    f"{5 + 2 * number} 0 R /Resources << /Font << /F1 3 0 R >> >> >>",
                    f"<< /Length {len(content)} >>\nstream\n{content}\nendstream"]
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode()
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    start = len(out)
    return out + (f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer\n<< /Size "
                  f"{len(objects) + 1} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n").encode()


def word_of() -> bytes:
    document = docx.Document()
    document.add_heading("Moorings", 1)
    document.add_paragraph("The rope is thirty metres long.")
    table = document.add_table(rows=2, cols=2)
    for row, cells in zip(table.rows, (("berth", "owner"), ("seven", "Ada")), strict=True):
        for cell, text in zip(row.cells, cells, strict=True):
            cell.text = text
    kept = io.BytesIO()
    document.save(kept)
    return kept.getvalue()


def block(context: ContextSet, question: str = "q") -> str:
    fitted = asyncio.run(fit_request(Request("m", (user_message(question),)), 32_768,
                                     TokenEstimator(), context=context))
    return fitted.request.messages[0].text


def attached(root: Path, *names: str) -> ContextSet:
    context = ContextSet(root=str(root))

    async def add() -> None:
        for name in names:
            await context.add(name)
    asyncio.run(add())
    return context


def test_a_pdf_page_by_page(tmp_path: Path) -> None:
    (tmp_path / "tides.pdf").write_bytes(pdf_of("High water is at seven", "Low water is at one"))
    text = block(attached(tmp_path, "tides.pdf"))
    assert "[page 1]\nHigh water is at seven" in text and "[page 2]\nLow water is at one" in text


def test_a_word_file_with_headings_and_tables(tmp_path: Path) -> None:
    (tmp_path / "moor.docx").write_bytes(word_of())
    text = block(attached(tmp_path, "moor.docx"))
    assert "# Moorings\nThe rope is thirty metres long.\nberth | owner\nseven | Ada" in text


@pytest.mark.parametrize("broken", [b"%PDF-1.4\nnothing", b"PK\x03\x04 no zip", b""])
@pytest.mark.parametrize("name", ["a.pdf", "a.docx"])
def test_a_broken_one_is_a_fault(tmp_path: Path, name: str, broken: bytes) -> None:
    (tmp_path / name).write_bytes(broken)
    with pytest.raises(ContextError) as caught:
        attached(tmp_path, name)
    assert name in caught.value.message


def test_one_that_is_protected_is_a_fault(tmp_path: Path) -> None:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf_of("secret")))
    writer.encrypt("word", algorithm="RC4-128")
    with open(tmp_path / "locked.pdf", "wb") as file:
        writer.write(file)
    with pytest.raises(ContextError, match="damaged or protected"):
        attached(tmp_path, "locked.pdf")


def test_those_of_a_folder_are_converted_beside_the_event_loop(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"part{number}.pdf").write_bytes(
            pdf_of(*(f"page {page} of part {number}" for page in range(60))))
    context = attached(tmp_path, ".")
    assert all(item.text is None for item in context.items)

    async def run() -> tuple[float, int]:
        preparing = asyncio.ensure_future(
            fit_request(Request("m", (user_message("what is on page 41 of part 3?"),)), 32_768,
                        TokenEstimator(), context=context))
        longest, looks = 0.0, 0
        while not preparing.done():
            before = time.monotonic()
            await asyncio.sleep(0.001)
            longest, looks = max(longest, time.monotonic() - before), looks + 1
        assert "page 41 of part 3" in (await preparing).request.messages[0].text
        return longest, looks
    longest, looks = asyncio.run(run())
    assert looks > 10, f"{looks} looks at the event loop, the longest pause {longest:.2f} s"


def test_in_the_program(program: list[str], environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "tides.pdf").write_bytes(pdf_of("High water is at seven"))
    (tmp_path / "moor.docx").write_bytes(word_of())
    with FakeOllama(models=("echo",)) as server:
        environment["OLLAMA_HOST"] = server.url
        done = subprocess.run([*program, "-m", "echo", "--context", "tides.pdf,moor.docx", "q"],
                              env=environment, cwd=tmp_path,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr.startswith("context: 2 of 2 files")
    assert "High water is at seven" in done.stdout and "thirty metres" in done.stdout
