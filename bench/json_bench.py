"""How long read_json_file takes for a large file, how much memory, and how that compares with the streaming parser alone.

    python bench/json_bench.py [MEGABYTES]      (1,000 MB each of an array and of NDJSON, in a temporary directory)
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOL = """
from core.tools import ToolContext
from core.tools.json_file import read_json_file
answer = read_json_file(ToolContext(roots=(directory,)), name, filter=path, max_entries=10_000, return_summary=summary)
"""
PARSER = """
import ijson
count = 0
with open(directory + "/" + name, "rb") as file:
    for _ in ijson.get_backend("yajl2_c").items(file, "item" if name == "array.json" else "", multiple_values=name != "array.json"):
        count += 1
answer = f"{count:,} values"
"""
EVENTS = """
import collections, ijson
with open(directory + "/" + name, "rb") as file:
    collections.deque(ijson.get_backend("yajl2_c").basic_parse(file, multiple_values=name != "array.json"), 0)
answer = ""
"""
SILENT = """
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
print(answer.splitlines()[0][:80] if answer else "", "...", answer.splitlines()[-1][:100] if answer else "", file=sys.stderr)
"""


def write_files(directory: str, size: int) -> None:
    """Chat exports: a list of objects with texts, numbers and small lists."""
    own = random.Random(1)
    words = [f"word{n}" for n in range(500)]
    entries = []
    for number in range(2_000):
        text = " ".join(own.choices(words, k=own.randrange(5, 60)))
        messages = [{"role": "user", "content": text}, {"role": "assistant", "content": text[::-1]}]
        entries.append(json.dumps({"id": number, "user": own.choice(words), "score": own.random(), "tags": own.choices(words, k=3),
                                   "read": True, "messages": messages}))
    with open(f"{directory}/array.json", "w") as array, open(f"{directory}/lines.ndjson", "w") as lines:
        array.write("[")
        while array.tell() < size:
            array.write(",\n".join(entries) + ",\n")
            lines.write("\n".join(entries) + "\n")
        array.write(entries[0] + "]")


def measure(label: str, code: str, directory: str, name: str, path: str = "", *, summary: bool = False) -> None:
    done = subprocess.run([sys.executable, "-c", REPORT.format(code), directory, name, path, str(int(summary))], cwd=ROOT,
                          env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True)
    seconds, megabytes = done.stdout.split()
    print(f"{name:13} {label:44} {seconds:>7} s {megabytes:>5} MB   {done.stderr.strip()}", flush=True)


def main() -> None:
    size = int(sys.argv[1] if len(sys.argv) > 1 else 1_000) * 1_000_000
    with tempfile.TemporaryDirectory() as directory:
        started = time.perf_counter()
        write_files(directory, size)
        print(f"written in {time.perf_counter() - started:.0f} s: {size:,} bytes each")
        for name in ("array.json", "lines.ndjson"):
            prefix = "[*]." if name == "array.json" else ""
            measure("parser alone: every event", EVENTS, directory, name)
            measure("parser alone: every entry", PARSER, directory, name)
            measure("summary", TOOL, directory, name, summary=True)
            measure("parser alone: a path that is not there", SILENT, directory, name, prefix + "nothing[*].here")
            measure("a path that is not there", TOOL, directory, name, prefix + "nothing[*].here")
            measure("parser alone: a path that is everywhere", SILENT, directory, name, prefix + "messages[*].content")
            measure("a path that is everywhere, counted", TOOL, directory, name, prefix + "messages[*].content", summary=True)


if __name__ == "__main__":
    main()
