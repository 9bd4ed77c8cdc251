"""JSON files of any size: paths, summaries, damage, and bounded memory."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from core.errors import ToolError
from core.tools import ToolContext
from core.tools.json_document import parse_path
from core.tools.json_file import read_json_file

DOCUMENT: dict[str, Any] = {
    "conversations":
    [{"id": i, "messages": [{"role": "user", "content": f"words {i}.{k}"} for k in range(3)]}
     for i in range(4)],
    "item": {"a.b": 1, "": 2, "item": [3]}, "none": None, "flag": True, "big": 12345678901234567890,
    "text": "\u00e4\U0001f600",
}


def read(tmp_path: Path, content: str | bytes, filter: str = "", **options: Any) -> list[str]:
    """The lines of the tool's answer."""
    (tmp_path / "file.json").write_bytes(content.encode() if isinstance(content, str) else content)
    return read_json_file(ToolContext(roots=(str(tmp_path),)), "file.json", filter,
                          **options).split("\n")


def follow(value: Any, steps: tuple[Any, ...]) -> list[Any]:
    """What a path means, without a stream."""
    if not steps:
        return [value]
    step, rest = steps[0], steps[1:]
    if step is None:
        return ([found for item in value for found in follow(item, rest)] if isinstance(value, list)
                else [])
    if isinstance(step, int):
        return follow(value[step], rest) if isinstance(value, list) and step < len(value) else []
    return follow(value[step], rest) if isinstance(value, dict) and step in value else []


@pytest.mark.parametrize(("path", "steps"), [
    ("conversations[*].messages[*].content", ("conversations", None, "messages", None, "content")),
    ("$.a[3].b", ("a", 3, "b")), ("[*].x", (None, "x")),
    ("a[]", ("a", None)), ('a["b.c"]["d e"]', ("a", "b.c", "d e")), ("a-b._c", ("a-b", "_c")),
    ("", ()), ("a[?x]", None), ("a | b", None), ("a.*", None), ("length(a)", None), ("a..b", None),
    ("a[-1]", None),
])
def test_paths(path: str, steps: tuple[Any, ...] | None) -> None:
    assert parse_path(path) == steps


@pytest.mark.parametrize("path", [
    "conversations[*].messages[*].content", "conversations[2].messages[1].content",
    "conversations[*].messages[0]",
    "conversations[9]", "item", 'item["a.b"]',
    'item[""]', "item.item[*]", "item.item[0]", "none", "flag", "big", "text", "nothing.here",
    "conversations[*].id[*]", "flag.x",
])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_path_gives_what_it_would_give_without_a_stream(tmp_path: Path, path: str,
                                                          indent: int | None) -> None:
    steps = parse_path(path)
    assert steps is not None
    wanted = [json.dumps(value, ensure_ascii=False) for value in follow(DOCUMENT, steps)]
    assert read(tmp_path, json.dumps(DOCUMENT, indent=indent), path) == [*wanted,
                                                                         f"[{len(wanted)} values]"]


@pytest.mark.processes
@pytest.mark.parametrize(("content", "filter", "keys"), [
    ('{"a": 1, "b": {"k": 1, "k": 2}, "a": 3}', "", "k, a"),
    ('{"b": {"k": 1, "k": 2}}', "b", "k"),
    ('[{"x": 1}, {"x": 2, "x": 3}]', "[*]", "x"),
    ('{"x": 1}\n{"x": 2, "x": 3}\n', "", "x"),
    ('{"b": [{"k": 1, "k": 2}]}', "b[?k == `2`]", "k"),
    ('{"": 1, "": 2}', "", '""'),
])
def test_a_key_that_stands_twice_is_reported(tmp_path: Path, content: str, filter: str,
                                             keys: str) -> None:
    last = read(tmp_path, content, filter)[-1]
    assert last == (f"[Duplicate keys in one object: {keys}. "
                    "Only the last value of each is read.]")
    alone = re.sub(r', "(?:k|x|a|)": [23](?=})', "", content)
    assert "Duplicate" not in "\n".join(read(tmp_path, alone, filter))


def test_ndjson_is_read_by_the_line(tmp_path: Path) -> None:
    content = "\n".join(json.dumps({"a": {"b": n}}) for n in range(4)) + "\n\n"
    assert read(tmp_path, content) == [*(f'{{"a": {{"b": {n}}}}}' for n in range(4)), "[4 values]"]
    assert read(tmp_path, content, "a.b",
                max_entries=2) == ["0", "1", "[stopped after 2 values; there are more]"]
    assert read(tmp_path, "\ufeff" + content, "a.b")[-1] == "[4 values]"


def test_an_array_is_read_by_the_element(tmp_path: Path) -> None:
    assert read(tmp_path, "[1, [2], null]") == ["1", "[2]", "null", "[3 values]"]
    assert read(tmp_path, "[]") == ["[0 values]"]
    assert read(tmp_path, '"one"') == ['"one"', "[1 values]"]


@pytest.mark.processes
def test_a_jmespath_expression(tmp_path: Path) -> None:
    content = json.dumps(DOCUMENT)
    assert read(tmp_path, content, "conversations[?id==`2`].messages[].content") == [
        '"words 2.0"', '"words 2.1"', '"words 2.2"', "[3 values]"]
    for odd in ("a[", "[@,@]|" * 60 + "@", "to_string(" * 20 + "@" + ")" * 20, "nosuch(@)"):
        with pytest.raises(ToolError):
            read(tmp_path, content, odd)


def test_a_summary_shows_structure_and_counts(tmp_path: Path) -> None:
    assert read(tmp_path, json.dumps([{"a": 1, "b": [True, "x"]}, {"a": None}]),
                return_summary=True) == [
        "41 bytes, 2 values:", "  (each): object x 2", "  a: number x 1, null x 1", "  b: list x 1",
        "  b[*]: true/false x 1, text x 1"]
    said = read(tmp_path, json.dumps(DOCUMENT), return_summary=True)
    assert said[0].endswith(" bytes, one object:")
    assert "  conversations[*].messages[*].content: text x 12" in said
    assert read(tmp_path, '{"a": 1}\n{"a": 2}\n',
                return_summary=True)[0] == "18 bytes, 2 lines of JSON:"
    many = read(tmp_path, "\n".join('{"a": 1}' for _ in range(3_000)), return_summary=True)
    assert many[0] == "26,999 bytes, 3,000 lines of JSON; structure of the first 2,000:"


@pytest.mark.parametrize(("content", "byte"), [
    ('[{"a": 1}, {"a": 2}, {"a": x}]', 27), ('[{"a": 1}, {"a": 2}', 19),
    ('[{"a": 1}, {"a": 2}]]', 20),
    ('[{"a": 1}, {"a": 2}, tru]', 24),
    ('{"a": 1}\n{"a": 2}\n{"a": oops}\n{"a": 4}\n', 24), ('{"a": 1}\n{"a": 2}\n{"a": "\u00e4', 24),
    ('[{"a": 1}, {"a": 2}, "\x01"]', 22),
])
def test_a_damaged_file_gives_what_was_readable_and_the_byte(tmp_path: Path, content: str,
                                                             byte: int) -> None:
    said = read(tmp_path, content)
    assert said[:2] == ['{"a": 1}', '{"a": 2}']
    assert (said[-1].startswith(f"[the file is damaged at byte {byte}: ")
            and said[-1].endswith("2 values were read before it]"))
    summary = read(tmp_path, content, return_summary=True)
    assert f"damaged at byte {byte}" in summary[-1] and " 2 " in summary[0]


def test_lines_from_joined_files_are_read(tmp_path: Path) -> None:
    """Each may begin with a byte order mark, and strings may hold half of a surrogate pair."""
    mark, half = b"\xef\xbb\xbf", b"\xed\xa0\x80"
    content = b'{"a": 1}\n' + mark + b'{"a": 2}\n{"a": "' + half + b'"}\n'
    assert read(tmp_path, content)[-1] == "[3 values]"
    for damaged in (mark, b'"' + half + b'" '):
        said = read(tmp_path, content + damaged + b"?")[-1]
        assert said.startswith(f"[the file is damaged at byte {len(content + damaged)}: "), said


@pytest.mark.processes
def test_damage_far_behind_is_found_to_the_byte(tmp_path: Path) -> None:
    content = bytearray(json.dumps([{"n": n, "text": "word " * 20} for n in range(4_000)]).encode())
    place = content.index(b'{"n": 3500,') + 6
    content[place:place + 1] = b"?"
    said = read(tmp_path, bytes(content), "[*].n", max_entries=10_000)
    assert len(said) == 3_501 and f"byte {place:,}:" in said[-1]


@pytest.mark.parametrize("content",
                         [b"", b"   ", b"\x00\x01", "\ufeff[1]".encode("utf-16"), b"\xff\xfe1"])
def test_what_is_no_json_file_at_all(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ToolError):
        read(tmp_path, content)


def test_random_documents_are_read_as_they_are(tmp_path: Path) -> None:
    seed = random.randrange(2 ** 32)
    print("seed", seed)
    own = random.Random(seed)

    def value(depth: int) -> Any:
        kind = own.randrange(8 if depth < 4 else 5)
        if kind > 5:
            return {own.choice("abc"): value(depth + 1) for _ in range(own.randrange(4))}
        if kind > 4:
            return [value(depth + 1) for _ in range(own.randrange(4))]
        return [None, True, own.randrange(10 ** 6), own.random(),
                "".join(own.choices('ab"\\\n\u00e4\U0001f600[{', k=5))][kind]
    for _ in range(150):
        document = {"a": value(1), "b": [value(1) for _ in range(3)]}
        path = "".join(own.choices((".a", ".b", ".c", "[*]", "[0]", "[1]"),
                                   k=own.randrange(1, 4))).lstrip(".")
        steps = parse_path(path)
        assert steps is not None
        wanted = [json.dumps(found, ensure_ascii=False) for found in follow(document, steps)]
        assert ("\n".join(read(tmp_path, json.dumps(document), path)[:-1])
                == "\n".join(wanted)), (path, document)


HOSTILE = {
    "deep list": '"[" * 200_000 + "]" * 200_000',
    "deep object": "'{\"a\":' * 200_000 + '1' + '}' * 200_000",
    "one list": '"[[" + "1," * 8_000_000 + "1]]"',
    "one string": "'[\"' + 'x' * 60_000_000 + '\"]'",
    "one line": "'{\"a\": 1}\\n{\"b\": [' + '1,' * 25_000_000 + '1]}\\n'",
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
@pytest.mark.processes
def test_memory_stays_bounded(tmp_path: Path, name: str) -> None:
    """Each in a process of its own, which may not use more than 100 MB
    beyond an empty interpreter's.
    """
    (tmp_path / "write.py").write_text(f"import sys; sys.stdout.write({HOSTILE[name]})")
    with open(tmp_path / "big.json", "wb") as out:
        subprocess.run([sys.executable, str(tmp_path / "write.py")], stdout=out, check=True)
    code = ("import resource, sys\nfrom core.tools import ToolContext\nfrom core.tools.json_file "
            "import read_json_file\nfrom core.errors import ToolError\nstart = "
            "resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\nfor summary in (False, True):\n"
            "  try: print(read_json_file(ToolContext(roots=(sys.argv[1],)), 'big.json', "
            "return_summary=summary)[-200:])\n  except ToolError as problem: print('ToolError', "
            "problem.message)\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start)\n")
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True,
                          text=True, timeout=100,
                          cwd=Path(__file__).parent.parent.parent)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    print(done.stdout)
    assert int(done.stdout.split()[-1]) < 100_000   # kilobytes
