"""Other programs' exports in their current forms: tools, thoughts, pictures, trees."""

from __future__ import annotations

import base64
import json
import random
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from core.errors import UsageError
from core.messages import Image, Text, Thinking, ToolCall, ToolResult
from core.sessions.importing import import_file
from db import Store, open_store

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
PICTURE = base64.b64encode(PNG).decode()
DATA = f"data:image/png;base64,{PICTURE}"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(str(tmp_path / "s.db"))) as made:
        yield made


def said(store: Store) -> list[tuple[str, list[str]]]:
    """Each shown message of the one session: who, and its parts in a few letters."""
    (row,) = store.sessions()
    return [
        (entry.message.role, [letters(part) for part in entry.message.parts])
        for entry in store.load_messages(row.id)
    ]


def letters(part: Any) -> str:
    match part:
        case Text(text):
            return text
        case Thinking(text):
            return f"~{text}"
        case ToolCall(_, name, arguments, invalid):
            return f"{name}({invalid or json.dumps(arguments)})"
        case ToolResult(_, name, content):
            return f"{name}={content}"
        case Image(media_type):
            return media_type
    return repr(part)


def write(path: Path, data: Any) -> str:
    path.write_text(json.dumps(data))
    return str(path)


# ---- LibreChat

def librechat(**messages: Any) -> dict[str, Any]:
    about = {"conversationId": "l", "endpoint": "agents", "title": "T", "exportAt": "10:00:00 GMT"}
    return {**about, **messages}


LOOK = {"id": "k", "name": "look", "args": '{"at": "x"}', "output": "seen", "type": "tool_call"}
ANSWER = [
    {"type": "think", "think": "hm"},
    {"type": "tool_call", "tool_call": LOOK},
    {"type": "text", "text": {"value": "It is x."}},
]
ASKED = {"messageId": "q", "isCreatedByUser": True, "text": "why?"}
TREE = [{**ASKED, "children": [
    {"messageId": "r", "isCreatedByUser": False, "text": "", "content": ANSWER, "children": []},
]}]
FLAT = [ASKED, {"messageId": "r", "parentMessageId": "q", "content": ANSWER}]


@pytest.mark.parametrize("held", [
    {"messagesTree": TREE},
    {"messages": TREE},
    {"messages": FLAT},
    {"messages": {"children": TREE}},
], ids=["tree", "nested", "flat", "root"])
def test_librechat_as_a_tree_with_thoughts_and_calls(
    store: Store, tmp_path: Path, held: dict[str, Any]
) -> None:
    assert import_file(store, write(tmp_path / "l.json", librechat(**held))).notes == []
    assert said(store) == [
        ("user", ["why?"]), ("assistant", ["~hm", 'look({"at": "x"})']), ("tool", ["look=seen"]),
        ("assistant", ["It is x."]),
    ]


@pytest.mark.parametrize(("call", "wanted"), [
    ({"id": "k", "function": {"name": "f", "arguments": "{}", "output": None}, "type": "function"},
     ["f({})", "f="]),
    ({"id": "k", "type": "code_interpreter",
      "code_interpreter": {"input": "1+1", "outputs": [{"type": "logs", "logs": "2"}]}},
     ['code_interpreter({"input": "1+1"})', 'code_interpreter=[{"type": "logs", "logs": "2"}]']),
    ({"name": "odd", "args": "no json", "output": "o"}, ["odd(no json)", "odd=o"]),
    ({}, ["tool({})", "tool="]),
])
def test_librechat_calls_of_each_kind(
    store: Store, tmp_path: Path, call: dict[str, Any], wanted: list[str]
) -> None:
    parts = [{"type": "tool_call", "tool_call": call}, {"type": "text", "text": "end"}]
    held = [ASKED, {"messageId": "r", "parentMessageId": "q", "content": parts}]
    import_file(store, write(tmp_path / "l.json", librechat(messages=held)))
    assert [part for _, parts in said(store)[1:3] for part in parts] == wanted


def test_librechat_says_which_files_are_missing(store: Store, tmp_path: Path) -> None:
    held = [{**ASKED, "files": [{"filename": "a.pdf"}], "content": [
        {"type": "image_file", "image_file": {"filename": "b.png"}},
        {"type": "image_url", "image_url": {"url": DATA}}, {"type": "error", "error": "broke"}]}]
    report = import_file(store, write(tmp_path / "l.json", librechat(messages=held)))
    missing = ("b.png", "a.pdf")
    assert report.notes == [f"T: the file {name} is not in the export" for name in missing]
    assert said(store) == [("user", ["why?", "image/png", "broke"])]


# ---- unknown parts

def unseen(dice: random.Random) -> str:
    return "".join(dice.choices("abcdefgh_", k=dice.randint(3, 12))) + "_part"


def with_parts(form: str, parts: list[dict[str, Any]]) -> Any:
    """A chat of the form whose last message has these parts and the words "seen"."""
    if form == "librechat":
        last = {"messageId": "r", "parentMessageId": "q",
                "content": [*parts, {"type": "text", "text": "seen"}]}
        return librechat(messages=[ASKED, last])
    if form == "output":
        seen = {"type": "message", "content": [{"type": "output_text", "text": "seen"}]}
    else:
        seen = {"type": "text", "text": "seen"}
    reply = {"id": "m", "role": "user", "timestamp": 1_700_000_000, form: [*parts, seen]}
    chat = {"title": "T", "history": {"messages": {"m": reply}, "currentId": "m"}}
    return [{"id": "w", "title": "T", "chat": chat}]


@pytest.mark.parametrize("form", ["librechat", "output", "content"])
@pytest.mark.parametrize("seed", range(5))
def test_a_part_of_an_unknown_kind_is_named_and_costs_only_itself(
    store: Store, tmp_path: Path, seed: int, form: str
) -> None:
    dice = random.Random(seed)
    kinds = [unseen(dice) for _ in range(3)]
    odd = [{"type": kind, "payload": dice.choice([None, 1, "x", [], {}])} for kind in kinds]
    report = import_file(store, write(tmp_path / "l.json", with_parts(form, odd)))
    assert report.notes == [f"T: a part of the kind {kind} was left out" for kind in kinds]
    assert said(store)[-1][1] == ["seen"]


# ---- Open WebUI

def webui(reply: dict[str, Any], question: dict[str, Any] | None = None) -> list[Any]:
    messages = {
        "q": {"id": "q", "parentId": None, "role": "user", "content": "why?", **(question or {})},
        "a": {"id": "a", "parentId": "q", "role": "assistant", "model": "m", **reply},
    }
    history = {"currentId": "a", "messages": messages}
    chat = {"title": "T", "models": ["m"], "params": {"system": "be brief"}, "history": history}
    return [{"id": "w", "title": "T", "chat": chat}]


OUTPUT = [
    {"type": "reasoning", "summary": [], "content": [{"type": "output_text", "text": "hm"}]},
    {"type": "function_call", "call_id": "k", "name": "look", "arguments": '{"at": "x"}'},
    {"type": "function_call_output", "call_id": "k", "output": [{"text": "seen"}]},
    {"type": "of_tomorrow", "text": "?"},
    {"type": "message", "content": [{"type": "output_text", "text": "It is x."}]},
]
WRITTEN = (
    '<details type="reasoning" done="true" duration="3">\n<summary>Thought</summary>\n'
    '&gt; hm\n</details>\n'
    '<details type="tool_calls" done="true" id="k" name="look" '
    'arguments="&quot;{\\&quot;at\\&quot;: \\&quot;x\\&quot;}&quot;"{result}>\n'
    "<summary>Tool Executed</summary>\n{body}\n</details>\nIt is x."
)
SEEN = "&quot;seen&quot;"


@pytest.mark.parametrize("reply", [
    {"content": "shown to people", "output": OUTPUT},
    {"content": WRITTEN.replace("{result}", "").replace("{body}", SEEN)},
    {"content": WRITTEN.replace("{result}", f' result="{SEEN}"').replace("{body}", "")},
], ids=["output", "details", "result"])
def test_open_webui_keeps_thoughts_and_calls(
    store: Store, tmp_path: Path, reply: dict[str, Any]
) -> None:
    import_file(store, write(tmp_path / "w.json", webui(reply)))
    assert said(store) == [
        ("user", ["why?"]), ("assistant", ["~hm", 'look({"at": "x"})']), ("tool", ["look=seen"]),
        ("assistant", ["It is x."]),
    ]
    assert json.loads(store.session_settings(store.sessions()[0].id)) == {"system": "be brief"}


@pytest.mark.parametrize("text", [
    "<details><summary>mine</summary>text</details>", '<details type="reasoning">never closed',
    '<details type="code_interpreter" done="true"><summary>Analyzed</summary>1</details>', "plain",
])
def test_open_webui_leaves_other_html_as_it_is(store: Store, tmp_path: Path, text: str) -> None:
    import_file(store, write(tmp_path / "w.json", webui({"content": text})))
    assert said(store)[1] == ("assistant", [text])


def test_open_webui_pictures_and_missing_files(store: Store, tmp_path: Path) -> None:
    files = [{"type": "image", "url": DATA}, {"type": "file", "name": "a.pdf", "url": "/api/1"}]
    content = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": DATA}}]
    data = webui({"content": content}, {"files": files})
    report = import_file(store, write(tmp_path / "w.json", data))
    assert report.notes == ["T: the file a.pdf is not in the export"]
    assert said(store) == [("user", ["why?", "image/png"]), ("assistant", ["see", "image/png"])]


# ---- aichat, oterm

AICHAT = f"""
model: openai:gpt-4o
messages:
- role: system
  content: be brief
- role: user
  content:
  - type: text
    text: look
  - type: image_url
    image_url:
      url: {DATA}
- role: tool
  content:
    tool_results:
    - call: {{name: look, arguments: {{at: x}}, id: null}}
      output: {{seen: true}}
    text: wait
    sequence: false
- role: assistant
  content: It is x.
"""


def test_aichat_keeps_pictures_and_calls(store: Store, tmp_path: Path) -> None:
    (tmp_path / "talk.yaml").write_text(AICHAT)
    import_file(store, str(tmp_path / "talk.yaml"))
    assert said(store) == [
        ("system", ["be brief"]), ("user", ["look", "image/png"]),
        ("assistant", ["wait", 'look({"at": "x"})']), ("tool", ['look={"seen": true}']),
        ("assistant", ["It is x."]),
    ]


def database(path: Path, *statements: tuple[str, Sequence[object]]) -> str:
    with closing(sqlite3.connect(path)) as connection:
        for sql, values in statements:
            connection.execute(sql, values)
        connection.commit()
    return str(path)


@pytest.mark.parametrize(("provider", "model"), [
    ("ollama", "ollama/m"), ("anthropic", "anthropic/m"), ("openai-chat", "openai/m"),
    ("google", "gemini/m"), (None, "ollama/m"), ("of-tomorrow", "of-tomorrow/m"),
])
def test_oterm_keeps_pictures_and_the_provider(
    store: Store, tmp_path: Path, provider: str | None, model: str
) -> None:
    path = database(
        tmp_path / "store.db",
        ("CREATE TABLE chat (id integer PRIMARY KEY, name text, model text, system text, "
         "provider text, parameters text, tools text, thinking boolean)", ()),
        ("CREATE TABLE message (id integer PRIMARY KEY, chat_id integer, author text, text text, "
         "images text)", ()),
        ("INSERT INTO chat VALUES (1, 'one', 'm', 'be brief', ?, '{}', '[]', 0)", (provider,)),
        ("INSERT INTO message VALUES (1, 1, 'user', 'see', ?)", (json.dumps([PICTURE, "no", 5]),)),
        ("INSERT INTO message VALUES (2, 1, 'assistant', 'ho', 'damaged')", ()),
    )
    import_file(store, path)
    assert said(store) == [("user", ["see", "image/png"]), ("assistant", ["ho"])]
    assert store.sessions()[0].model == model


# ---- Ollama

OLLAMA_TABLES = (
    "CREATE TABLE chats (id TEXT PRIMARY KEY, title TEXT NOT NULL DEFAULT '', "
    "created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, browser_state TEXT)",
    "CREATE TABLE messages (id INTEGER PRIMARY KEY AUTOINCREMENT, chat_id TEXT NOT NULL, "
    "role TEXT NOT NULL, content TEXT NOT NULL DEFAULT '', thinking TEXT NOT NULL DEFAULT '', "
    "stream BOOLEAN NOT NULL DEFAULT 0, model_name TEXT, "
    "created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, "
    "updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, tool_result TEXT)",
    "CREATE TABLE tool_calls (id INTEGER PRIMARY KEY AUTOINCREMENT, message_id INTEGER NOT NULL, "
    "type TEXT NOT NULL, function_name TEXT NOT NULL, function_arguments TEXT NOT NULL, "
    "function_result TEXT)",
    "CREATE TABLE attachments (id INTEGER PRIMARY KEY AUTOINCREMENT, message_id INTEGER NOT NULL, "
    "filename TEXT NOT NULL, data BLOB NOT NULL)",
)
MESSAGE = (
    "INSERT INTO messages (id, chat_id, role, content, thinking, model_name, created_at) "
    "VALUES (?, 'c', ?, ?, ?, ?, ?)"
)
CALL = (
    "INSERT INTO tool_calls (message_id, type, function_name, function_arguments, function_result) "
    "VALUES (2, 'function', ?, ?, ?)"
)
ATTACHED = (
    "INSERT INTO attachments VALUES (1, 1, 'a.png', ?), (2, 1, 'a.txt', ?), (3, 1, 'a.bin', ?)"
)
AT = "2026-05-01 12:00:0{}.123456789+02:00"


def ollama_app(path: Path, *more: tuple[str, Sequence[object]]) -> str:
    return database(
        path,
        *((table, ()) for table in OLLAMA_TABLES),
        ("INSERT INTO chats VALUES ('c', 'Talk', '2026-05-01 10:00:00', NULL)", ()),
        (MESSAGE, (1, "user", "see", "", None, AT.format(1))),
        (ATTACHED, (PNG, b"inside", b"\xff\xfe\x00")),
        (MESSAGE, (2, "assistant", "", "hm", "gpt-oss", AT.format(2))),
        *more,
    )


def test_the_chats_of_ollamas_app(store: Store, tmp_path: Path) -> None:
    path = ollama_app(
        tmp_path / "db.sqlite",
        (CALL, ("web_search", '{"q": 1}', None)), (CALL, ("web_fetch", "no json", None)),
        (MESSAGE, (3, "tool", "found", "", None, AT.format(3))),
        (MESSAGE, (4, "tool", "fetched", "", None, AT.format(3))),
        (MESSAGE, (5, "assistant", "It is so.", "", "gpt-oss", AT.format(4))),
    )
    report = import_file(store, path)
    assert (report.kind, report.added) == ("ollama", 1)
    assert report.notes == ["Talk: the file a.bin was left out: it is neither text nor a picture"]
    assert said(store) == [
        ("user", ["see", "image/png", "[a.txt]\ninside"]),
        ("assistant", ["~hm", 'web_search({"q": 1})', "web_fetch(no json)"]),
        ("tool", ["web_search=found", "web_fetch=fetched"]), ("assistant", ["It is so."]),
    ]
    (row,) = store.sessions()
    assert (row.title, row.model, row.created) == ("Talk", "ollama/gpt-oss", 1777629600.0)
    assert [round(entry.created, 3) for entry in store.load_messages(row.id)][0] == 1777629601.123
    assert import_file(store, path).known == 1


@pytest.mark.parametrize(("kept", "answered", "wanted"), [
    ('"kept"', False, [("tool", ['web_search="kept"'])]),
    (None, True, [("tool", ["web_search=found"])]),
    (None, False, []),
])
def test_calls_in_ollamas_app_that_ended_early(
    store: Store, tmp_path: Path, kept: str | None, answered: bool, wanted: list[Any]
) -> None:
    more = [(MESSAGE, (3, "tool", "found", "", None, AT.format(3)))] if answered else []
    call = (CALL, ("web_search", "{}", kept))
    import_file(store, ollama_app(tmp_path / "db.sqlite", call, *more))
    assert said(store)[2:] == wanted


SAVED = [
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": "see", "images": [PICTURE]},
    {"role": "assistant", "content": "", "thinking": "hm",
     "tool_calls": [{"id": "k", "function": {"name": "look", "arguments": {"at": "x"}}}]},
    {"role": "tool", "content": "seen", "tool_name": "look", "tool_call_id": "k"},
    {"role": "assistant", "content": "It is x."},
]


def saved_model(folder: Path, messages: Any) -> str:
    """What `/save mine` writes."""
    layers = []
    for kind, text in (("system", "of the model"), ("messages", json.dumps(messages))):
        digest = f"{len(layers):064x}"
        media = f"application/vnd.ollama.image.{kind}"
        layers.append({"mediaType": media, "digest": f"sha256:{digest}"})
        (folder / "blobs").mkdir(parents=True, exist_ok=True)
        (folder / "blobs" / f"sha256-{digest}").write_text(text)
    place = folder / "manifests" / "registry.ollama.ai" / "library" / "mine"
    place.mkdir(parents=True)
    return write(place / "latest", {"schemaVersion": 2, "layers": layers})


def test_a_chat_that_ollama_saved_in_a_model(store: Store, tmp_path: Path) -> None:
    path = saved_model(tmp_path / "models", SAVED)
    assert import_file(store, path).kind == "ollama"
    assert said(store) == [
        ("user", ["see", "image/png"]), ("assistant", ["~hm", 'look({"at": "x"})']),
        ("tool", ["look=seen"]), ("assistant", ["It is x."]),
    ]
    (row,) = store.sessions()
    assert row.model == "ollama/mine" and row.title == "mine"
    assert "be brief" in store.session_settings(row.id)
    assert import_file(store, path).known == 1


def test_messages_as_they_are_sent_to_a_model(store: Store, tmp_path: Path) -> None:
    assert import_file(store, write(tmp_path / "m.json", SAVED)).kind == "ollama"
    assert len(said(store)) == 4


@pytest.mark.parametrize("digest", ["sha256:../../etc/passwd", "", "md5:1", "sha256:1", 5])
def test_a_manifest_reads_no_file_but_its_own(store: Store, tmp_path: Path, digest: Any) -> None:
    path = saved_model(tmp_path / "models", SAVED)
    layers = [{"mediaType": "application/vnd.ollama.image.messages", "digest": digest}]
    write(Path(path), {"schemaVersion": 2, "layers": layers})
    try:
        report = import_file(store, path)
        assert report.added == 0
    except UsageError:
        pass
    assert store.sessions() == []


def test_odd_values_in_the_forms_of_today(store: Store, tmp_path: Path) -> None:
    """Values of the wrong type anywhere raise nothing but UsageError."""
    odd: list[Any] = [None, 5, "x", [], {"a": None}, [[]], "\ud800"]
    for data in (librechat(messagesTree=TREE), webui({"output": OUTPUT}), SAVED):
        parsed = json.loads(json.dumps(data))
        places: list[tuple[Any, Any]] = []
        waiting: list[Any] = [parsed]
        while waiting:
            value = waiting.pop()
            for key, inner in (value.items() if isinstance(value, dict) else enumerate(value)):
                places.append((value, key))
                waiting += [inner] if isinstance(inner, (dict, list)) else []
        for holder, key in places:
            for value in odd:
                before, holder[key] = holder[key], value
                try:
                    import_file(store, write(tmp_path / "odd.json", parsed))
                except UsageError:
                    pass
                holder[key] = before
