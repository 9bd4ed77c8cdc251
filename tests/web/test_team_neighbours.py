"""State in the memory of one process of a team's page can be used through any other one."""

from __future__ import annotations

import asyncio
import json
import signal
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir

import pytest
import requests

from core.web.team.neighbours import Neighbours, machine
from tests.fake_server import FakeOllama, fake_words
from tests.surroundings import inherited
from tests.web.page_server import PATIENCE, text_of
from tests.web.team_page import Listening, Member, TeamPage

pytestmark = pytest.mark.processes
TOOL = '''
from core.tools import tool

@tool(kind="write")
def note(q: str) -> str:
    """Write something down."""
    return f"noted {q}"
'''


class Team:
    """Ana on two processes, and Ben on the second one."""

    def __init__(self, page: TeamPage, ports: list[int]) -> None:
        self.page, self.ports = page, ports
        self.here, self.there = (Member("ana", f"http://127.0.0.1:{port}") for port in ports)
        self.ben = Member("ben", f"http://127.0.0.1:{ports[1]}")
        assert self.here.sign_in() == 303 and self.ben.sign_in() == 303
        self.there.client.cookies.update(self.here.client.cookies)

    def listen_there(self, session: str) -> Listening:
        found = self.there.json("GET", f"/api/sessions/{session}")
        return Listening(self.there, session, found["place"])


@pytest.fixture(scope="module")
def team(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    with started(postgres_url, tmp_path_factory.mktemp("team")) as found:
        yield found


@contextmanager
def started(postgres_url: str, folder: Path) -> Iterator[Team]:
    (folder / "note.py").write_text(TOOL, encoding="utf-8")
    environment = {**inherited(), "HOME": str(folder), "LANG": "C.UTF-8",
                   "PYTHONPATH": str(Path(__file__).resolve().parent.parent.parent)}
    with FakeOllama() as ollama:
        environment["OLLAMA_HOST"] = ollama.url
        with TeamPage(postgres_url, environment, "ana", "ben") as page:
            del page.environment["STREAM_CHAT_PROVIDER"]
            options = "-m", "ollama/tools:latest", "--tools-file", str(folder / "note.py")
            yield Team(page, [page.start(*options) for _ in range(2)])


def asked(member: Member, session: str) -> str:
    """The question that is open in a session."""
    events = member.json("GET", f"/api/sessions/{session}")["events"]
    answered = {event["ask"] for event in events if event["type"] == "answered"}
    found = [event["ask"] for event in events
             if event["type"] == "ask" and event["ask"] not in answered]
    return str(found[-1]) if found else ""


def test_a_question_is_shown_and_answered_on_another_process(team: Team) -> None:
    session = team.here.new_session()
    first = team.listen_there(session)
    team.here.say(session, "use it")
    first.until("redraw")
    follow = team.listen_there(session)
    while not (ask := asked(team.there, session)):
        follow.until("redraw", '"type":"ask"')
        follow = team.listen_there(session)
    follow = team.listen_there(session)
    assert team.ben.ask("GET", f"/api/sessions/{session}").status_code == 404
    body = {"ask": ask, "choice": "once"}
    refused = team.ben.ask("POST", f"/api/sessions/{session}/answers", json=body)
    assert refused.status_code == 404
    assert team.there.json("POST", f"/api/sessions/{session}/answers", body)["decided"]
    assert '"state":"complete"' in follow.until("turn_end")
    for member in (team.here, team.there):
        events = json.dumps(member.wait(session)["events"])
        assert "noted x" in events and events.count('"text": "use it"') == 1
    again = team.there.ask("POST", f"/api/sessions/{session}/answers", json=body)
    assert again.status_code == 409


def test_one_of_two_replies_is_kept_on_another_process(team: Team) -> None:
    session = team.here.new_session()
    body = {"key": "c", "text": "which one?", "model": "ollama/words-40"}
    first = team.listen_there(session)
    team.here.json("POST", f"/api/sessions/{session}/compare", body)
    first.until("redraw")
    shown = team.there.json("GET", f"/api/sessions/{session}")["events"]
    assert "compare" in [event["type"] for event in shown]
    assert team.ben.ask("GET", f"/api/sessions/{session}").status_code == 404
    while team.there.json("GET", f"/api/sessions/{session}")["running"]:
        pass
    team.there.json("POST", f"/api/sessions/{session}/compare/1/keep")
    for member in (team.there, team.here):
        assert text_of(member.json("GET", f"/api/sessions/{session}")["events"]) == fake_words(40)


def test_a_reply_that_a_program_resumes_is_found_through_another_process(team: Team) -> None:
    body = {"model": "ollama/words-40", "stream": True,
            "messages": [{"role": "user", "content": "go"}]}
    whole = team.here.ask("POST", "/v1/chat/completions", json=body,
                          headers={"x-conversation-id": "one"}).content
    place = "/v1/stream?conv_id=one"
    assert b"w39" in whole and team.there.ask("GET", place).content == whole
    assert team.there.ask("GET", "/v1/stream/one?from=100").content == whole[100:]
    assert team.ben.ask("GET", place).status_code == 404
    assert team.there.ask("DELETE", place).status_code == 204
    for member in (team.there, team.here):
        assert member.ask("GET", place).status_code == 404


def test_only_processes_of_the_page_can_hand_over(team: Team) -> None:
    cache = Path(team.page.environment["HOME"]) / ".cache/stream-chat/page" / machine()
    folder = Path(Neighbours(str(cache), "0" * 16, gettempdir()).folder)
    sockets = list(folder.glob("*.sock"))
    assert len(sockets) == 2 and stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(each.stat().st_mode) == 0o600 for each in sockets)
    forged = requests.get(f"{team.there.url}/api/sessions", timeout=PATIENCE,
                          headers={"x-stream-chat-member": "ana", "x-stream-chat": "page"})
    assert forged.status_code == 401


def test_a_folder_that_others_can_open_is_not_used(tmp_path: Path) -> None:
    """In a directory for temporary files, another user may have created it, with sockets in it."""
    long = str(tmp_path / ("long" * 30))
    shared = Path(Neighbours(long, "own", str(tmp_path)).folder)
    assert shared.parent == tmp_path and shared != Path(long)
    shared.mkdir(mode=0o755)
    (shared / "other.sock").touch()
    neighbours = Neighbours(long, "own", str(tmp_path))
    asyncio.run(asyncio.wait_for(neighbours.listen(answers_nothing), PATIENCE))
    assert not neighbours.reaches("other") and not (shared / "own.sock").exists()
    shared.chmod(0o700)
    assert neighbours.reaches("other")


async def answers_nothing(scope: object, receive: object, send: object) -> None:
    """An application that is never asked."""


def test_what_a_killed_process_asked_is_ended_by_another_one(postgres_url: str,
                                                             tmp_path: Path) -> None:
    """With processes of its own: other tests may run after this one."""
    with started(postgres_url, tmp_path) as team:
        session = team.here.new_session()
        team.here.say(session, "use it")
        end = time.monotonic() + PATIENCE
        while not asked(team.here, session):
            assert time.monotonic() < end
        team.page.end(team.ports[0], signal.SIGKILL)
        end = time.monotonic() + PATIENCE
        while "Interrupted before it finished" not in str(team.there.wait(session)["events"]):
            assert time.monotonic() < end
            time.sleep(0.2)
