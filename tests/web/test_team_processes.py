"""Five members, two server processes, nginx and a real PostgreSQL, as docs/teams.md sets them up:
one of each is killed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests import postgres
from tests.web.page_server import PATIENCE, free_port, text_of
from tests.web.team_page import Listening, Member, TeamPage, make_certificate

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed"),
]
ROOT = Path(__file__).resolve().parent.parent.parent
NAMES = ("ana", "ben", "cleo", "dan", "eve")


class Nginx:
    """nginx over deploy/nginx.conf, with other ports and a certificate made for the test."""

    def __init__(self, folder: Path, ports: tuple[int, int]) -> None:
        self.port = free_port()
        make_certificate(folder)
        site = (ROOT / "deploy/nginx.conf").read_text(encoding="utf-8")
        for given, here in (
            ("127.0.0.1:8421", f"127.0.0.1:{ports[0]}"),
            ("127.0.0.1:8422", f"127.0.0.1:{ports[1]}"),
            ("listen 443 ssl", f"listen 127.0.0.1:{self.port} ssl"),
            ("chat.example.org", "localhost"),
            ("/etc/ssl/stream-chat", str(folder)),
        ):
            assert given in site
            site = site.replace(given, here)
        temporary = "".join(
            f"{name}_temp_path {folder}/{name};\n"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (folder / "nginx.conf").write_text(
            f"daemon off;\npid {folder}/nginx.pid;\nerror_log {folder}/error.log;\n"
            f"events {{}}\nhttp {{\naccess_log off;\n{temporary}{site}\n}}\n",
            encoding="utf-8",
        )
        self._command = ["nginx", "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]
        self.certificate = str(folder / "cert.pem")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Wait until the page's processes respond: nginx does not use one that fails for two
        seconds.
        """
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                requests.get(self.url + "/healthz", verify=self.certificate, timeout=PATIENCE)
                return
            except requests.ConnectionError:
                assert self._process.poll() is None
                time.sleep(0.05)
        raise AssertionError("nginx does not answer")

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(PATIENCE)
            self._process = None


def patiently(member: Member, method: str, path: str, body: object = None) -> requests.Response:
    """Ask as a page does: repeat if the network or a server fails; a question has a key and counts
    once.
    """
    end = time.monotonic() + PATIENCE
    while True:
        try:
            answer = member.ask(method, path, **({} if method == "GET" else {"json": body or {}}))
            if answer.status_code < 500:
                return answer
        except requests.RequestException:
            pass
        assert time.monotonic() < end, (member.name, path)
        time.sleep(0.2)


def done(member: Member, session: str) -> str:
    """The text of the conversation when no turn runs any more."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = patiently(member, "GET", f"/api/sessions/{session}").json()
        if not found["running"] and text_of(found["events"]).rstrip().endswith("."):
            return text_of(found["events"])
        time.sleep(0.3)
    raise AssertionError(f"the reply of {member.name} did not end: {found}")


@pytest.fixture
def server() -> Iterator[postgres.Server]:
    """A PostgreSQL of this test's own, since it is killed."""
    if reason := postgres.why_not():
        pytest.skip(reason)
    found = postgres.Server()
    found.start()
    yield found
    found.remove()


def test_a_process_nginx_and_postgresql_are_killed_and_nothing_is_lost(
    server: postgres.Server, environment: dict[str, str], tmp_path: Path
) -> None:
    environment |= {"STREAM_CHAT_WEB_TOKEN": "for-the-figures"}
    with TeamPage(server.url, environment, *NAMES) as page:
        public = "https://localhost:{}"
        ports = free_port(), free_port()
        folder = tmp_path / "nginx"
        folder.mkdir()
        nginx = Nginx(folder, ports)
        try:
            options = (
                "--trusted-proxy",
                "127.0.0.1",
                "--public-url",
                public.format(nginx.port),
                "--demo-delay",
                "0.15",
            )
            for port in ports:
                page.start(*options, port=port)
            nginx.start()
            members = [Member(name, nginx.url) for name in NAMES]
            for member in members:
                member.client.verify = nginx.certificate
                assert member.sign_in() == 303
            sessions = [
                patiently(member, "POST", "/api/sessions").json()["id"] for member in members
            ]
            for member, session in zip(members, sessions):
                body = {"key": f"q-{member.name}", "text": f"the secret of {member.name}"}
                answer = patiently(member, "POST", f"/api/sessions/{session}/messages", body)
                assert answer.status_code == 202, answer.text
            wait_for_words(page, len(NAMES))
            page.end(ports[0], signal.SIGKILL)
            nginx.kill()
            server.crash()
            nginx.start()
            for member, session in zip(members, sessions):  # nobody is signed out meanwhile
                shown = member.ask("GET", f"/api/sessions/{session}")
                assert shown.status_code in (200, 502, 503, 504)
            server.start()
            for member, session in zip(members, sessions):
                body = {"key": f"q-{member.name}", "text": f"the secret of {member.name}"}
                patiently(member, "POST", f"/api/sessions/{session}/messages", body)
            said = [done(member, session) for member, session in zip(members, sessions)]
            assert all(len(text) > 50 for text in said)
            page.start(*options, port=ports[0])
            check_what_each_sees(members, sessions)
            figures = requests.get(
                f"http://127.0.0.1:{ports[1]}/metrics",
                timeout=PATIENCE,
                headers={"authorization": "Bearer for-the-figures"},
            )
            assert (
                "stream_chat_requests_total" in figures.text
                and "stream_chat_members 5" in figures.text
                and "stream_chat_listening 1" in figures.text
            )
            assert members[0].ask("GET", "/metrics").status_code == 404
        finally:
            nginx.kill()


def wait_for_words(page: TeamPage, count: int) -> None:
    """Until so many replies stream."""
    import psycopg

    end = time.monotonic() + PATIENCE
    with psycopg.connect(page.database, autocommit=True) as connection:
        while time.monotonic() < end:
            row = connection.execute(
                "SELECT count(DISTINCT message_id) FROM stream_chat.chunks"
            ).fetchone()
            if row is not None and row[0] >= count:
                return
            time.sleep(0.05)
    raise AssertionError("the replies did not begin")


def check_what_each_sees(members: list[Member], sessions: list[str]) -> None:
    """Every question is stored once, with its reply, and nothing of others; nobody has to sign in
    again.
    """
    for member, session in zip(members, sessions):
        rows = patiently(member, "GET", "/api/sessions").json()["sessions"]
        assert [row["id"] for row in rows] == [session], (member.name, rows)
        events = str(patiently(member, "GET", f"/api/sessions/{session}").json()["events"])
        assert events.count(f"'text': 'the secret of {member.name}'") == 1
        for other, theirs in zip(members, sessions):
            if other is not member:
                assert patiently(member, "GET", f"/api/sessions/{theirs}").status_code == 404
                assert f"secret of {other.name}" not in events


def test_a_stream_begun_on_one_process_is_followed_on_another(
    postgres_url: str, environment: dict[str, str]
) -> None:
    with TeamPage(postgres_url, environment, "ana") as page:
        one, two = page.start("--demo-delay", "0.2"), page.start("--demo-delay", "0.2")
        here, there = Member("ana", f"http://127.0.0.1:{one}"), Member(
            "ana", f"http://127.0.0.1:{two}"
        )
        assert here.sign_in() == 303
        there.client.cookies.update(here.client.cookies)  # signed in on both
        session = here.new_session()
        here.say(session, "a first question")
        here.wait(session)
        place = there.json("GET", f"/api/sessions/{session}")["place"]
        heard: list[str] = []

        def listen() -> None:
            with there.client.get(
                f"{there.url}/api/sessions/{session}/events",
                params={"after": place},
                stream=True,
                timeout=PATIENCE,
            ) as answer:
                for line in answer.iter_lines(decode_unicode=True):
                    heard.append(line)
                    if "turn_end" in line:
                        return

        listener = threading.Thread(target=listen)
        listener.start()
        here.say(session, "a second question")
        listener.join(PATIENCE)
        texts = [line for line in heard if '"type":"text"' in line]
        assert not listener.is_alive() and len(texts) >= 3, heard
        assert text_of(here.wait(session)["events"]) == text_of(there.wait(session)["events"])


def test_a_new_session_and_the_stop_button_work_on_any_process(
    postgres_url: str, environment: dict[str, str]
) -> None:
    """The page listens on one process; its question and its stop reach another one."""
    with TeamPage(postgres_url, environment, "ana") as page:
        one, two = page.start("--demo-delay", "0.5"), page.start("--demo-delay", "0.5")
        here, there = (Member("ana", f"http://127.0.0.1:{port}") for port in (one, two))
        assert here.sign_in() == 303
        there.client.cookies.update(here.client.cookies)
        session = here.new_session()
        place = there.json("GET", f"/api/sessions/{session}")["place"]
        listening = Listening(there, session, place)
        here.say(session, "a first question")
        assert "redraw" in listening.until("redraw")
        follow = there.json("GET", f"/api/sessions/{session}")
        assert "a first question" in str(follow["events"])
        listening = Listening(there, session, follow["place"])
        listening.until('"type":"text"')
        there.json("POST", f"/api/sessions/{session}/stop")
        assert '"state":"stopped"' in listening.until("turn_end")
        assert not here.json("GET", f"/api/sessions/{session}")["running"]
        here.say(session, "a second question")
        assert here.wait(session)["running"] is False


def test_an_update_lets_running_replies_end(
    postgres_url: str, environment: dict[str, str]
) -> None:
    """A stopping process completes and shows its replies; its port is free for the new one."""
    with TeamPage(postgres_url, environment, "ana", "ben") as page:
        old = page.start("--demo-delay", "0.25", "--drain-seconds", "60")
        ana = Member("ana", f"http://127.0.0.1:{old}")
        assert ana.sign_in() == 303
        session = ana.new_session()
        ana.say(session, "a question")
        listening = Listening(ana, session, ana.json("GET", f"/api/sessions/{session}")["place"])
        listening.until('"type":"text"')
        stopped = page.processes.pop(old)
        stopped.send_signal(signal.SIGTERM)
        wait_until_refused(old)
        page.start(port=old)
        follow = patiently(ana, "GET", f"/api/sessions/{session}").json()
        assert follow["running"] and '"state":"complete"' in listening.until("turn_end")
        stopped.communicate(timeout=PATIENCE)
        said = done(ana, session)
        events = ana.json("GET", f"/api/sessions/{session}")["events"]
        assert not [each for each in events if each["type"] == "seam"]
        assert len(said) > 50


def wait_until_refused(port: int) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.02)
    raise AssertionError("the port is still open")
