"""Sessions on the page: search with snippets, tags, pins, archive and trash, import, export, and
versions of a message.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.fake_server import FakeOllama
from tests.web.browser import SIZES, Tab
from tests.web.page_server import PageServer

pytestmark = [pytest.mark.processes, pytest.mark.timeout(400)]


@pytest.fixture(params=list(SIZES))
def tab(chromium: Browser, environment: dict[str, str],
        request: pytest.FixtureRequest) -> Iterator[Tab]:
    with (FakeOllama() as ollama,
          PageServer(environment | {"OLLAMA_HOST": ollama.url}, "-m", "echo") as server):
        with Tab(chromium, server, request.param) as opened:
            opened.go()
            yield opened
            opened.fine()


def make(tab: Tab, *questions: str) -> list[str]:
    """A session for each question; returns their identities."""
    made = []
    for question in questions:
        made.append(tab.server.new_session())
        tab.server.ask(made[-1], question)
        tab.server.wait_until_done(made[-1])
    tab.page.reload()
    tab.show_list()
    return made


def test_search_shows_where_the_words_stand(tab: Tab) -> None:
    make(tab, "the zebra\n\nhas many stripes & <b>spots</b>", "an elephant")
    tab.page.keyboard.press("Control+k") if tab.size == "desktop" else tab.page.locator(".sidebar input[type=search]").click()
    tab.page.keyboard.type("stripe")
    expect(tab.rows()).to_have_text(["the zebra"])
    expect(tab.page.locator(".session-snippet")).to_contain_text("has many stripes & <b>spots</b>")
    expect(tab.page.locator(".session-snippet mark")).to_have_text("stripe")
    tab.page.locator(".sidebar input[type=search]").fill("giraffe")
    expect(tab.page.locator(".sidebar-list .sidebar-empty")).to_contain_text(
        "Nothing found for “giraffe”.")
    tab.page.locator(".sidebar input[type=search]").fill("after:never")
    expect(tab.page.locator(".sidebar-find [role=status]")).to_be_visible()


def test_a_session_is_renamed_tagged_and_pinned(tab: Tab) -> None:
    first, second = make(tab, "the first", "the second")
    expect(tab.rows()).to_have_text(["the second", "the first"])
    tab.go(f"/s/{first}")
    tab.menu("Rename")
    tab.page.get_by_label("New title").fill("Old notes")
    tab.page.get_by_role("dialog").get_by_role("button", name="Rename").click()
    expect(tab.page.locator(".bar-title")).to_have_text("Old notes")
    tab.menu("Tags")
    tab.page.get_by_role("dialog").get_by_label("Tags").fill("work, home")
    tab.page.keyboard.press("Enter")
    tab.menu("Pin")
    tab.show_list()
    expect(tab.page.locator(".day").first).to_have_text("Pinned")
    expect(tab.rows()).to_have_text(["Old notes", "the second"])
    expect(tab.page.locator(".bar-tag").first).to_be_attached()
    assert "work" in tab.page.locator(".bar-tag").all_inner_texts() or tab.size == "phone"
    tab.page.locator(".tags .tag", has_text="work").click()
    expect(tab.rows()).to_have_text(["Old notes"])
    expect(tab.page.locator(".tags .tag[aria-pressed=true]")).to_have_text("work")
    tab.page.locator(".tags .tag", has_text="All").click()
    expect(tab.rows()).to_have_count(2)
    tab.page.locator(".session", has_text="the second").click()
    expect(tab.page).to_have_url(f"{tab.server.url}/s/{second}")


def test_archive_trash_and_back(tab: Tab) -> None:
    first, second = make(tab, "to keep", "to throw away")
    tab.go(f"/s/{second}")
    tab.menu("Move to trash")
    expect(tab.page).to_have_url(tab.server.url + "/")
    tab.go(f"/s/{first}")
    tab.menu("Archive")
    tab.show_list()
    expect(tab.page.locator(".sidebar-empty").last).to_contain_text("No sessions yet")
    tab.page.get_by_role("button", name="Trash (1)").click()
    expect(tab.rows()).to_have_text(["to throw away"])
    tab.page.locator(".session").click()
    tab.menu("Restore")
    tab.show_list()
    expect(tab.rows()).to_have_count(0)
    tab.page.get_by_role("button", name="Back to the sessions").click()
    expect(tab.rows()).to_have_text(["to throw away"])
    tab.page.get_by_role("button", name="Archived (1)").click()
    tab.page.locator(".session").click()
    tab.menu("Delete permanently")
    tab.page.get_by_role("dialog").get_by_role("button", name="Delete permanently").click()
    expect(tab.page).to_have_url(tab.server.url + "/")
    assert ([row["title"] for row in tab.server.get("/api/sessions")["sessions"]]
            == ["to throw away"])
    assert tab.server.get("/api/sessions")["archived"] == 0


def test_an_export_comes_back_by_import(tab: Tab, tmp_path: Path) -> None:
    [session] = make(tab, "Ein Märchen, export me")
    tab.go(f"/s/{session}")
    tab.menu("Export")
    tab.page.get_by_role("dialog").get_by_label("Format").select_option("json")
    with tab.page.expect_download() as caught:
        tab.page.get_by_role("dialog").get_by_role("button", name="Export").click()
    path = tmp_path / caught.value.suggested_filename
    caught.value.save_as(path)
    assert (path.suffix == ".json"
            and json.loads(path.read_text("utf-8"))["title"] == "Ein Märchen, export me")
    tab.server.client.delete(f"{tab.server.url}/api/sessions/{session}", timeout=60)
    tab.page.reload()
    (tmp_path / "broken.json").write_text("{]", encoding="utf-8")
    tab.page.locator("input[aria-label=Import]").set_input_files([path, tmp_path / "broken.json"])
    expect(tab.page.locator("dialog")).to_have_count(1)
    expect(tab.page.locator("dialog")).to_contain_text("Imported")
    expect(tab.page.locator("dialog")).to_contain_text("Not imported: broken.json")
    tab.page.keyboard.press("Enter")
    expect(tab.page.locator("dialog")).to_have_count(0)
    listed = [row["title"] for row in tab.server.get("/api/sessions")["sessions"]]
    assert listed in ([], ["Ein Märchen, export me"])       # what was deleted here may stay deleted


def test_a_session_opens_at_its_end(tab: Tab) -> None:
    [session] = make(tab, *["\n\n".join(f"line {number} of many" for number in range(60))])
    tab.go(f"/s/{session}")
    expect(tab.page.locator(".from-model .meta")).to_be_in_viewport()
    expect(tab.page.locator(".jump[data-shown]")).to_have_count(0)
    tab.page.locator(".from-user").scroll_into_view_if_needed()
    expect(tab.page.locator(".jump[data-shown]")).to_have_count(1)


def test_a_file_is_imported_by_dropping_it(tab: Tab) -> None:
    chat = [{"role": "user", "content": "dropped in"}, {"role": "assistant", "content": "welcome"}]
    conversation = [{"uuid": "8a7c4c5e-0d0b-4a53-9f0a-000000000001", "name": "Dropped",
                     "created_at": "2026-01-02T03:04:05Z",
                     "updated_at": "2026-01-02T03:04:05Z", "chat_messages": [
                         {"uuid": f"8a7c4c5e-0d0b-4a53-9f0a-00000000001{number}",
                          "text": each["content"],
                          "sender": "human" if each["role"] == "user" else "assistant",
                          "created_at": "2026-01-02T03:04:05Z"}
                         for number, each in enumerate(chat)]}]
    tab.show_list()
    data = tab.page.evaluate_handle("""text => {
      const data = new DataTransfer();
      data.items.add(new File([text], "conversations.json", { type: "application/json" }));
      return data; }""", json.dumps(conversation))
    tab.page.locator(".sidebar-list").dispatch_event("drop", {"dataTransfer": data})
    expect(tab.page.locator("dialog")).to_contain_text("1 session added, with 2 messages.")
    tab.page.keyboard.press("Enter")
    expect(tab.rows()).to_have_text(["Dropped"])


def test_versions_are_switched_and_stay(tab: Tab) -> None:
    tab.ask("one")
    tab.ask("two", 2)
    tab.page.locator(".from-user [data-key=edit]").first.click()
    tab.page.locator(".edit textarea").fill("uno")
    tab.page.keyboard.press("Enter")
    expect(tab.page.locator(".bubble")).to_have_text(["uno"])
    counts = tab.page.locator(".switcher-count")
    expect(counts).to_have_text(["2 of 2"])
    other = tab.open_page()
    other.goto(tab.page.url)
    tab.page.locator(".from-user").hover()
    tab.page.get_by_role("button", name="Previous version").click()
    for page in (tab.page, other):
        expect(page.locator(".bubble")).to_have_text(["one", "two"])
        expect(page.locator(".switcher-count")).to_have_text(["1 of 2"])
    tab.page.locator(".scroll").first.focus()
    tab.page.keyboard.press("]")
    expect(tab.page.locator(".bubble")).to_have_text(["uno"])
    expect(tab.page.locator(".from-model .prose")).to_have_text(["uno"])
    tab.page.locator("[data-key=retry]").click()
    expect(counts).to_have_text(["2 of 2", "2 of 2"])
    tab.page.reload()
    expect(counts).to_have_text(["2 of 2", "2 of 2"])
    tab.page.locator(".from-model").get_by_role("button", name="Previous version").click()
    expect(counts).to_have_text(["2 of 2", "1 of 2"])
    expect(tab.page.locator(".from-model")
           .get_by_role("button", name="Next version")).to_be_focused()
