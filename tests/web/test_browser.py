"""What a user does on the page, in a real browser, at the size of a desktop and of a phone."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image as Pillow
from playwright.sync_api import Browser, Locator, expect

from tests.fake_server import FakeOllama, fake_words
from tests.web.browser import LIMIT, Tab
from tests.web.page_server import PageServer

pytestmark = [pytest.mark.processes, pytest.mark.timeout(400)]
TOOLS = '''
from core.tools import tool


@tool(kind="write")
def note(q: str) -> str:
    """Write something down."""
    return f"noted {q}"
'''


@pytest.fixture(scope="module")
def ollama() -> Iterator[FakeOllama]:
    with FakeOllama() as server:
        yield server


@pytest.fixture(scope="module")
def server(ollama: FakeOllama, home: dict[str, str]) -> Iterator[PageServer]:
    tools = Path(home["HOME"], "tools.py")
    tools.write_text(TOOLS, encoding="utf-8")
    with PageServer(home | {"OLLAMA_HOST": ollama.url}, "-m", "words-40", "--tools-file",
                    str(tools)) as running:
        yield running


def test_a_question_and_a_reload(tab: Tab) -> None:
    assert tab.ask("What is the count?") == fake_words(40)
    expect(tab.page.locator(".bar-title")).to_have_text("What is the count?")
    expect(tab.page.locator(".saved")).to_have_text("Saved")
    expect(tab.page.locator(".meta-facts")).to_contain_text("40 tokens")
    tab.page.reload()
    assert tab.reply() == fake_words(40)
    expect(tab.page.locator(".bubble")).to_have_text("What is the count?")


def test_stop_and_continue(tab: Tab) -> None:
    tab.go()
    tab.choose_model("ollama/slow:latest")
    tab.send("count slowly")
    expect(tab.page.locator(".message.from-model .prose")).to_contain_text("w3")
    expect(tab.page.locator(".session[aria-current] .session-live")).to_be_attached()
    tab.box.press("Escape")
    expect(tab.page.locator(".notice")).to_contain_text("Stopped by you")
    before = tab.reply()
    assert fake_words(600).startswith(before)
    tab.page.reload()
    assert tab.reply() == before
    expect(tab.page.get_by_role("button", name="Continue")).to_be_visible()


def test_a_message_is_edited_in_its_place(tab: Tab) -> None:
    tab.choose_model("ollama/echo:latest")
    assert tab.ask("first words") == "first words"
    assert tab.ask("second words", 2) == "second words"
    tab.box.press("ArrowUp")
    edit = tab.page.locator(".edit textarea")
    expect(edit).to_have_value("second words")
    edit.press("Escape")
    expect(tab.page.locator(".bubble").nth(1)).to_have_text("second words")
    tab.page.locator(".from-user [data-key=edit]").first.click()
    edit.fill("other words")
    edit.press("Enter")
    expect(tab.page.locator(".bubble")).to_have_text(["other words"])
    assert tab.reply(1) == "other words"
    tab.page.mouse.move(5, 5)
    count = tab.page.locator(".from-user .switcher-count")
    expect(count).to_have_text("2 of 2")
    assert count.evaluate("""element => {
        let seen = 1;
        for (; element; element = element.parentElement) seen *= getComputedStyle(element).opacity;
        return seen;
    }""") == 1, "seen without pointing at it"
    tab.page.reload()
    assert tab.reply(1) == "other words"
    expect(tab.page.locator(".message")).to_have_count(2)


def test_retry_replaces_the_reply_and_takes_another_model(tab: Tab) -> None:
    assert tab.ask("say it") == fake_words(40)
    tab.page.locator("[data-key=retry-with]").click()
    tab.page.locator('.models .model[data-model="ollama/echo:latest"]').click()
    expect(tab.page.locator(".message.from-model .prose")).to_have_text(["say it"])
    assert tab.reply() == "say it"


def test_messages_wait_and_can_be_edited_and_removed(tab: Tab) -> None:
    tab.choose_model("ollama/slow:latest")
    tab.send("count")
    expect(tab.page.locator(".message.from-model .prose")).to_contain_text("w1")
    tab.send("two")
    tab.send("three")
    expect(tab.page.locator(".queued-text")).to_have_text(["two", "three"])
    tab.page.reload()
    expect(tab.page.locator(".queued-text")).to_have_text(["two", "three"])
    tab.page.locator(".queued").first.get_by_label("Remove the queued message").click()
    expect(tab.page.locator(".queued-text")).to_have_text(["three"])
    tab.page.locator(".queued").first.get_by_label("Edit the queued message").click()
    expect(tab.box).to_have_value("three")
    expect(tab.page.locator(".queued")).to_have_count(0)
    tab.box.fill("")
    tab.page.get_by_label("Stop the reply").click()
    tab.reply()


def test_a_draft_stays_with_its_session(tab: Tab) -> None:
    tab.ask("hello there")
    tab.box.fill("not sent yet")
    tab.page.reload()
    expect(tab.box).to_have_value("not sent yet")
    tab.go()
    expect(tab.box).to_have_value("")
    tab.box.fill("of the new one")
    tab.page.go_back()
    expect(tab.box).to_have_value("not sent yet")


@pytest.mark.parametrize("key", ["y", "n"])
def test_a_tool_asks_and_the_keyboard_answers(tab: Tab, key: str) -> None:
    tab.choose_model("ollama/tools:latest")
    tab.send("use it")
    question = tab.page.locator(".approval")
    expect(question).to_be_focused()
    expect(question).to_contain_text("Allow note?")
    expect(tab.page.locator(".step-state")).to_have_text(["Waits for you"])
    tab.page.wait_for_timeout(500)      # a key pressed immediately is not an answer
    tab.page.keyboard.press(key)
    expect(question).to_have_count(0)
    expect(tab.box).to_be_focused()
    said = tab.reply()
    assert ("noted x" in said) == (key == "y"), said
    step = tab.page.locator(".step")
    expect(step.locator(".step-state")).to_contain_text("Done" if key == "y" else "Denied")
    step.locator("summary").click()
    expect(step.locator(".step-body")).to_contain_text('"q": "x"')
    if key == "n":
        _looks_the_same_after_a_reload(tab)


def test_a_tool_whose_question_was_not_answered(tab: Tab) -> None:
    tab.choose_model("ollama/tools:latest")
    tab.send("use it")
    expect(tab.page.locator(".approval")).to_be_visible()
    tab.page.get_by_label("Stop the reply").click()
    expect(tab.page.locator(".step-state")).to_have_text(["Failed"])
    _looks_the_same_after_a_reload(tab)


def _looks_the_same_after_a_reload(tab: Tab) -> None:
    """Each step of the reply has the state that it had."""
    states = tab.page.locator(".step-state").all_inner_texts()
    tab.page.reload()
    expect(tab.page.locator(".step-state")).to_have_text(states)


def test_what_is_typed_is_no_answer_to_a_tool(tab: Tab) -> None:
    tab.choose_model("ollama/tools:latest")
    tab.send("use it")
    tab.box.press_sequentially("so yes, and nothing else")
    question = tab.page.locator(".approval")
    expect(question).to_be_visible()
    tab.page.reload()
    expect(question).to_be_focused()
    expect(tab.box).to_have_value("so yes, and nothing else")
    question.get_by_role("button", name="Deny").click()
    tab.box.fill("")
    tab.reply()


def test_a_question_that_comes_while_something_is_written_takes_no_letter_of_it(tab: Tab) -> None:
    tab.choose_model("ollama/tools:latest")
    tab.send("use it")
    question = tab.page.locator(".approval")
    expect(question).to_be_focused()
    tab.page.keyboard.type("so yes, no")
    expect(tab.box).to_have_value("so yes, no")
    expect(tab.box).to_be_focused()
    question.get_by_role("button", name="Deny").click()
    tab.box.fill("")
    tab.reply()


def test_thinking_is_folded(tab: Tab) -> None:
    tab.choose_model("ollama/think:latest")
    assert tab.ask("think") == fake_words(5)
    step = tab.page.locator(".step")
    expect(step).to_contain_text("Thought")
    expect(step.locator(".thinking")).to_be_hidden()
    step.locator("summary").click()
    expect(step.locator(".thinking")).to_have_text("so be it")


def test_markdown_and_the_exact_source(tab: Tab) -> None:
    said = ("# Title\n\n- one\n- **two**\n\n```python\nif  x:\n\treturn 'a'  # <b>\n```\n\n| a | b "
            "|\n|---|--:|\n| 1 | 2 |\n\n- [x] done, $a^2$\n")
    tab.choose_model("ollama/echo:latest")
    tab.send(said)
    tab.reply()
    prose = tab.page.locator(".message.from-model .prose")
    expect(prose.locator("h3")).to_have_text("Title")
    expect(prose.locator("li strong")).to_have_text("two")
    expect(prose.locator("td")).to_have_text(["1", "2"])
    expect(prose.locator(".k")).to_have_text(["if ", "return "])
    assert is_beside(prose.locator(".task input"), prose.locator(".task p"))
    expect(prose.locator("span.math")).to_have_css("border-inline-start-width", "0px")
    prose.locator("[data-copy]").click()
    assert (tab.page.evaluate("navigator.clipboard.readText()").rstrip("\n")
            == "if  x:\n\treturn 'a'  # <b>")
    tab.page.locator("[data-key=copy]").click()
    expect(tab.page.locator("[data-key=copy]")).to_have_attribute("title", "Copied")
    assert tab.page.evaluate("navigator.clipboard.readText()").strip() == said.strip()


def is_beside(one: Locator, other: Locator) -> bool:
    """Whether the middle of one element is within the height of the other."""
    first, second = one.bounding_box(), other.bounding_box()
    assert first and second
    middle = first["y"] + first["height"] / 2
    return second["y"] < middle < second["y"] + second["height"]


def test_commands_mean_the_browser_and_not_the_computer_of_the_server(tab: Tab) -> None:
    tab.choose_model("ollama/echo:latest")
    tab.ask("a **bold** word")
    tab.send("/copy")
    expect(tab.page.get_by_text("Copied", exact=True)).to_be_visible()
    assert tab.page.evaluate("navigator.clipboard.readText()") == "a **bold** word"
    tab.send("/help")
    expect(tab.page.get_by_text("? outside of the message box")).to_be_visible()
    expect(tab.page.get_by_text("Ctrl-D")).to_have_count(0)
    for name in ("/exit", "/theme", "/status", "/paste"):
        expect(tab.page.locator(".table").get_by_text(name)).to_have_count(0)
    tab.box.press_sequentially("/ex")
    expect(tab.page.locator(".slash-item code")).to_have_text([re.compile("^/export ")])
    tab.box.fill("")


def test_long_code_is_drawn_in_parts_and_copied_whole(tab: Tab) -> None:
    """By its button, and by what is selected with the mouse."""
    code = "\n".join(f"line_{number} = '{number}'" + "\n" * (number % 7 == 0)
                     for number in range(150))
    tab.choose_model("ollama/echo:latest")
    tab.send(f"```python\n{code}\n```\n")
    tab.reply()
    block = tab.page.locator(".message.from-model .code")
    assert block.locator(".lines").count() > 2
    block.locator("[data-copy]").click()
    assert tab.page.evaluate("navigator.clipboard.readText()").rstrip("\n") == code
    block.locator("code").evaluate("code => getSelection().selectAllChildren(code)")
    assert tab.page.evaluate("String(getSelection())").rstrip("\n") == code


def test_a_second_tab_shows_the_same_stream(tab: Tab) -> None:
    tab.choose_model("ollama/slow:latest")
    tab.send("count")
    expect(tab.page.locator(".message.from-model .prose")).to_contain_text("w1")
    other = tab.open_page()
    other.goto(tab.page.url)
    expect(other.locator(".message.from-model .prose")).to_contain_text("w5")
    other.get_by_label("Stop the reply").click()
    one = tab.reply()
    expect(other.locator(".message.from-model .prose")).to_have_text(one)


def test_a_model_that_is_missing_says_so_and_another_is_chosen(tab: Tab) -> None:
    tab.send("/model missing")
    tab.page.get_by_role("dialog").get_by_role("button", name="Yes").click()
    expect(tab.page.locator(".model-button")).to_have_attribute("title", "ollama/missing")
    tab.send("hello")
    notice = tab.page.locator(".notice[data-kind=bad]")
    expect(notice).to_be_visible()
    notice.get_by_role("button", name="Choose a model").click()
    tab.page.locator('.models .model[data-model="ollama/echo:latest"]').click()
    expect(tab.page.locator(".model-button")).to_have_attribute("title", "ollama/echo:latest")
    tab.page.locator(".notice[data-kind=bad]").get_by_role("button", name="Try again").click()
    expect(tab.page.locator(".message.from-model .prose")).to_have_text(["hello"])


def test_providers_are_tested_and_set_and_a_model_is_pulled(tab: Tab, ollama: FakeOllama) -> None:
    tab.go("/providers")
    row = tab.page.locator("#provider-ollama")
    row.get_by_role("button", name="Test connection").click()
    expect(row.locator(".state")).to_have_text("Connected")
    row.get_by_label("Settings of Ollama").click()
    expect(row.locator("td").first).to_have_text("words-50:latest")
    row.get_by_label("Temperature").fill("warm")
    row.get_by_role("button", name="Save settings").click()
    expect(row.get_by_role("alert")).to_contain_text("temperature")
    row.get_by_label("Temperature").fill("0.125")
    row.get_by_role("button", name="Save settings").click()
    expect(row.get_by_label("Temperature")).to_have_value("0.125")
    expect(row.locator(".state")).to_have_text("Connected")
    row.get_by_label("Model to pull").fill(f"formed-{tab.size}")
    row.get_by_role("button", name="Test connection").click()
    expect(row.locator(".state")).to_have_text("Connected")
    row.get_by_role("button", name="Pull model").click()
    expect(row.locator("td", has_text=f"formed-{tab.size}:latest")).to_be_visible()
    expect(tab.page.locator(".sidebar a[aria-current=page]")).to_have_text("Providers")
    tab.go("/")
    tab.ask("with the provider's own temperature")
    assert ollama.chats[-1].json["options"]["temperature"] == 0.125
    tab.server.client.put(f"{tab.server.url}/api/providers/ollama/settings",
                          json={"temperature": ""}, timeout=60)
    tab.ask("without it", 2)
    assert "temperature" not in ollama.chats[-1].json.get("options", {})
    tab.page.locator(".model-button").click()
    models = tab.page.locator(".models")
    models.get_by_label("Model to pull").fill(f"pulled-{tab.size}")
    models.get_by_role("button", name="Pull model").click()
    expect(tab.page.locator(
        f'.model[data-model="ollama/pulled-{tab.size}:latest"]')).to_be_visible()


def test_numbers_and_the_sheet_of_keys(tab: Tab) -> None:
    tab.ask("count me")
    tab.page.locator(".scroll").first.focus()
    tab.page.keyboard.press("?")
    expect(tab.page.locator("#keys")).to_be_visible()
    tab.page.keyboard.press("Escape")
    expect(tab.page.locator("#keys")).to_be_hidden()
    tab.go("/numbers")
    expect(tab.page.locator(".figures")).to_contain_text("Tokens")
    expect(tab.page.locator("table", has_text="ollama/words-40")).to_be_visible()
    expect(tab.page.locator(".bars .name", has_text="ollama/words-40")).to_be_visible()
    with tab.page.expect_download() as download:
        tab.page.get_by_role("link", name="CSV").click()
    assert download.value.suggested_filename.endswith(".csv")
    assert "words-40" in Path(download.value.path()).read_text("utf-8")


def test_commands_are_completed(tab: Tab) -> None:
    tab.box.press_sequentially("/he")
    expect(tab.page.locator(".slash-item").first).to_contain_text("/help")
    tab.box.press("Tab")
    assert tab.box.input_value().startswith("/help")
    tab.box.press("Enter")
    expect(tab.page.locator(".outcome")).to_contain_text("/model")
    tab.box.press_sequentially("/model ec")
    expect(tab.page.locator(".slash-item code")).to_have_text(["echo:latest"])
    tab.box.press("Tab")
    expect(tab.box).to_have_value("/model echo:latest")
    tab.box.press("Enter")
    expect(tab.page.locator(".model-button")).to_have_attribute("title", "ollama/echo:latest")


def test_the_page_asks_before_it_is_used_without_signing_in(chromium: Browser,
                                                            server: PageServer) -> None:
    context = chromium.new_context()
    answer = context.new_page().goto(server.url + "/", timeout=LIMIT)
    assert answer is not None and answer.status == 401
    context.close()


def test_a_file_is_attached(tab: Tab, tmp_path: Path, ollama: FakeOllama) -> None:
    note = tmp_path / "note, one.txt"
    note.write_text("The code word is heliotrope.\n", encoding="utf-8")
    tab.page.locator(".composer input[type=file]").set_input_files(note)
    chip = tab.page.locator(".composer-files .file")
    expect(chip).to_contain_text("note, one.txt")
    tab.ask("What is the code word?")
    expect(tab.page.locator(".composer-files")).to_be_hidden()
    expect(tab.page.locator(".from-user .file-name")).to_have_text("note, one.txt")
    _sent_as(ollama, {"note, one.txt": "heliotrope"})
    tab.server.kill()
    tab.server.start()
    tab.page.reload()
    expect(tab.page.locator(".from-user .file-name")).to_have_text("note, one.txt")
    note.write_text("The code word is amaranth.\n", encoding="utf-8")
    tab.page.locator(".composer input[type=file]").set_input_files(note)
    tab.ask("And now?", 2)
    _sent_as(ollama, {"note, one.txt": "heliotrope", "[0-9a-f]{16}/note, one.txt": "amaranth"})
    tab.send("/context")
    expect(tab.page.locator(".outcome")).to_contain_text("note, one.txt")


def _sent_as(ollama: FakeOllama, texts: dict[str, str]) -> None:
    """The last request has these words in sources with these names, and no other names."""
    sent = json.dumps(ollama.chats[-1].json)
    found = re.findall(r'<source-\w+ file=\\"(.*?)\\">\\n1\\tThe code word is (\w+)', sent)
    assert len(found) == len(texts), sent
    for name, word in texts.items():
        assert [said for shown, said in found if re.fullmatch(name, shown)] == [word], found


def test_a_picture_that_no_model_accepts_is_converted(tab: Tab, tmp_path: Path,
                                                      ollama: FakeOllama) -> None:
    Pillow.new("RGB", (60, 40), "red").save(tmp_path / "scan.tiff")
    tab.page.locator(".composer input[type=file]").set_input_files(tmp_path / "scan.tiff")
    expect(tab.page.locator(".composer-files .file")).to_contain_text("scan.tiff")
    tab.ask("What is this?")
    expect(tab.page.locator(".from-user .file-name")).to_have_text("scan.tiff")
    expect(tab.page.get_by_text("scan.tiff was sent as PNG, 60 × 40")).to_be_visible()
    [sent] = [image for message in ollama.chats[-1].json["messages"]
              for image in message.get("images", ())]
    assert base64.b64decode(sent).startswith(b"\x89PNG")


def test_commands_that_lead_to_another_session_leave_this_one_as_it_is(tab: Tab) -> None:
    tab.ask("the first session")
    first = tab.session
    tab.send("/fork")
    expect(tab.page).not_to_have_url(f"{tab.server.url}/s/{first}")
    tab.ask("only in the second", 2)
    second = tab.session
    assert second != first
    tab.send(f"/session {first}")
    expect(tab.page).to_have_url(f"{tab.server.url}/s/{first}")
    expect(tab.page.locator(".bubble")).to_have_text(["the first session"])
    tab.send("/new")
    expect(tab.page).to_have_url(f"{tab.server.url}/")
    assert tab.server.snapshot(first)["id"] == first and tab.server.snapshot(second)["id"] == second


def test_what_a_command_takes_back_is_taken_back_on_every_page(tab: Tab) -> None:
    tab.ask("one")
    tab.ask("two", 2)
    other = tab.open_page()
    other.goto(tab.page.url)
    expect(other.locator(".bubble")).to_have_text(["one", "two"])
    tab.send("/undo")
    expect(tab.page.locator(".outcome")).to_contain_text("Taken back: two")
    for page in (tab.page, other):
        expect(page.locator(".bubble")).to_have_text(["one"])
    tab.page.reload()
    expect(tab.page.locator(".bubble")).to_have_text(["one"])
