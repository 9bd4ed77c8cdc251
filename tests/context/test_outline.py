"""The outline of files that are not completely in a prompt."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from core.context.outline import outline_of
from core.context_loader import ContextSet, plan_budget

CODE = ("import os\n\n\nclass Retry:\n    def delay(self):\n        return 3\n\n\n@cached\ndef "
        "other(a, b):\n    pass\n")


def test_headings_with_their_lines() -> None:
    assert (outline_of("a.py", "file", CODE) == "a.py, 11 lines: 4 class Retry; 5 def delay(self); "
            "10 def other(a, b)")
    text = "# Title\n\nwords\n\n## Second part\n\nmore\n"
    assert outline_of("a.md", "file", text) == "a.md, 7 lines: 1 Title; 5 Second part"
    assert outline_of("a.txt", "file", "nothing\n") == ""
    fenced = ("# Title\n\n```sh\n# comment\n```\n\n- a\n\n  ~~~~\n# other\n~~~\n# more\n  ~~~~\n\n"
              "## Part\n\nName\n~~~~\n\n# Real\n\nLast\n~~~~\n\n```\n# not closed\n")
    assert (outline_of("a.md", "file", fenced) == "a.md, 26 lines: 1 Title; 15 Part; 17 Name; "
            "20 Real; 22 Last; 26 not closed")
    long = "".join(f"def f{number}():\n    pass\n" for number in range(40))
    assert outline_of("l.py", "file", long).endswith("59 def f29(); 10 more")


def test_the_model_sees_what_else_there_is(tmp_path: Path) -> None:
    """Every line number of the outline is correct, and it takes at most its share."""
    for number in range(30):
        body = "".join(f"def step_{number}_{part}(valve):\n    return 'tide "
                       f"{part}'\n" + "    # filler words stand here\n" * 9
                       for part in range(40))
        (tmp_path / f"m{number}.py").write_text(body, encoding="utf-8")

    async def block(window: int) -> str:
        context = ContextSet(root=str(tmp_path))
        await context.add(".")
        return (await context.prepare("where is step_3_7 with the tide?",
                                      plan_budget(window))).block
    shown = asyncio.run(block(32_768))
    outline = re.search(r'<(source-\w+) outline="[^"]+" note="[^"]+">\n(.*?)\n</\1>', shown,
                        re.DOTALL)
    assert outline is not None
    names = 0
    for row in outline[2].split("\n"):
        name, _, headings = row.partition(", ")
        lines = (tmp_path / name).read_text(encoding="utf-8").split("\n")
        for heading in headings.partition(": ")[2].split("; "):
            place, _, words = heading.partition(" ")
            if words != "more":
                assert lines[int(place) - 1].startswith(words)
                names += 1
    assert names >= 20 and len(outline[2]) < 4_000
    assert "outline=" not in asyncio.run(block(4_096))      # there the room is for what answers
