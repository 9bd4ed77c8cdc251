"""Measures read_json_file with a large file: time and memory, compared with the streaming parser
alone.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
TOOL = """
from core.tools import ToolContext
from core.tools.json_file import read_json_file
answer = read_json_file(ToolContext(roots=(directory,)), name, filter=path, max_entries=10_000, return_summary=summary)
"""
EVENTS = """
import collections, ijson
with open(directory + "/" + name, "rb") as file:
    collections.deque(ijson.get_backend("yajl2_c").basic_parse(file, multiple_values=name != "array.json"), 0)
answer = ""
"""
ENTRIES = """
import ijson
with open(directory + "/" + name, "rb") as file:
    parser = ijson.get_backend("yajl2_c")
    for _ in parser.items(file, path.replace("[*]", ".item").lstrip("."), multiple_values=name != "array.json"):
        pass
answer = ""
"""
REPORT = """
import resource, sys, time
directory, name, path, summary = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4] == "1"
start = time.perf_counter()
{}
print(f"{{time.perf_counter() - start:.2f}} {{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}}")
"""


def write_files(directory: str, size: int) -> None:
    """Chat exports: a list of objects with texts, numbers and small lists."""
    own = random.Random(1)
    words = [f"word{n}" for n in range(500)]
    entries = []
    for number in range(2_000):
        text = " ".join(own.choices(words, k=own.randrange(5, 60)))
        messages = [{"role": "user", "content": text}, {"role": "assistant", "content": text[::-1]}]
        entries.append(json.dumps({"id": number, "user": own.choice(words), "score": own.random(),
                                   "tags": own.choices(words, k=3),
                                   "read": True, "messages": messages}))
    with (open(f"{directory}/array.json", "w") as array,
          open(f"{directory}/lines.ndjson", "w") as lines):
        array.write("[")
        while array.tell() < size:
            array.write(",\n".join(entries) + ",\n")
            lines.write("\n".join(entries) + "\n")
        array.write(entries[0] + "]")


def measured(code: str, directory: str, name: str, path: str, *,
             summary: bool) -> tuple[float, float]:
    """Seconds and megabytes of a separate process."""
    done = subprocess.run([sys.executable, "-c", REPORT.format(code), directory, name, path,
                           str(int(summary))], cwd=ROOT,
                          env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True,
                          text=True, check=True)
    seconds, megabytes = map(float, done.stdout.split())
    return seconds, megabytes


class Case(NamedTuple):
    """The cost of one call of the tool, and of the parser alone."""

    what: str
    seconds: float
    parser_seconds: float
    megabytes: float


def measure_json(size: int) -> Iterator[Case]:
    """An array and a file of lines, of `size` bytes each:
    a summary of all, and a path that is in every entry.
    """
    with tempfile.TemporaryDirectory() as directory:
        write_files(directory, size)
        for name, prefix in (("array.json", "[*]."), ("lines.ndjson", "")):
            for what, parser, path in (("summary", EVENTS, ""),
                                       ("a path", ENTRIES, prefix + "messages[*].content")):
                alone, _ = measured(parser, directory, name, path, summary=False)
                seconds, megabytes = measured(TOOL, directory, name, path, summary=True)
                yield Case(f"{name}: {what}", seconds, alone, megabytes)
