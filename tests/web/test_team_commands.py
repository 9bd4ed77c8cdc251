"""Every slash command in every spelling, with arguments that target the server: a member gets
nothing of it.
"""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from core.commands import all_commands, find_command
from core.web.team.member_limits import ALLOWED, REFUSED
from tests.conftest import NOTHING_LISTENS
from tests.surroundings import inherited
from tests.web.team_page import Member, TeamPage

pytestmark = pytest.mark.processes
ROOT = Path(__file__).resolve().parent.parent.parent
SECRET = "the-secret-of-the-server"
# Between a command and its argument: whatever a parser may take for a space.
EACH, SOME = 100, 4  # arguments that are tried
SPACES = (" ", "\t", "  ", "\n", "\u00a0", "\u2003", "\x0b", "\x1f")
ARGUMENTS = """
    {old}
    add {old}
    @{old}
    {old} --force
    1 {old}
    1 {new}
    {new}
    {new} 1
    markdown {new}
    json {old} --force
    - {old}
    list {old}
    file={old}
    ~/secret.txt
    ../secret.txt
    read file://{old}
    !touch {new}
    `touch {new}`
    $(touch {new})
    sh:touch {new}
    add !cat {old}
    add http://{net}/
    http://{net}/x
    openai/x@http://{net}
    base_url http://{net}
    pull http://{net}/x
    rm {old}
    pull {old}
    show {old}
    add sqlite://{old}
    on read_file
    all
    restart {old}
"""


class Trap:
    """An address of the server's network that nobody may be sent to."""

    def __init__(self) -> None:
        self.visits = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        with suppress(OSError):
            while True:
                self._socket.accept()[0].close()
                self.visits += 1

    def close(self) -> None:
        self._socket.close()


class Server:
    """The page of a team with a secret in its home."""

    def __init__(self, page: TeamPage, home: Path, trap: Trap, member: Member) -> None:
        self.page, self.home, self.trap, self.member = page, home, trap, member
        self.secret, self.new = home / "secret.txt", home / "new.txt"

    def arguments(self) -> list[str]:
        """Arguments that target files, programs and addresses."""
        text = ARGUMENTS.format(old=self.secret, new=self.new, net=self.trap.address)
        return [line.strip() for line in text.strip().splitlines()]

    def run(self, line: str) -> tuple[int, str]:
        path = f"/api/sessions/{self.session}/commands"
        answer = self.member.ask("POST", path, json={"line": line})
        return answer.status_code, answer.text

    def new_session(self) -> None:
        self.session = self.member.new_session()
        self.member.say(self.session, "a question")
        self.member.wait(self.session)


@pytest.fixture(scope="module")
def server(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home, trap = tmp_path_factory.mktemp("server"), Trap()
    (home / "secret.txt").write_text(SECRET, encoding="utf-8")
    environment = {
        **inherited(),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(ROOT),
        "OLLAMA_HOST": NOTHING_LISTENS,
    }
    with TeamPage(postgres_url, environment, "ana") as page:
        port = page.start("--demo-delay", "0")
        member = Member("ana", f"http://127.0.0.1:{port}")
        assert member.sign_in() == 303
        found = Server(page, home, trap, member)
        found.new_session()
        yield found
    trap.close()


def spellings(name: str, aliases: tuple[str, ...]) -> list[str]:
    """All ways to write a command: its names in any case, and the beginnings that mean it."""
    begun = [name[:length] for length in range(1, len(name))]
    meant = [word for word in begun if (found := find_command(word)) and found.name == name]
    return list(dict.fromkeys([name, *aliases, name.upper(), *meant]))


def test_what_is_not_offered_is_refused_however_it_is_written(server: Server) -> None:
    generator = random.Random(seed := random.randrange(10**6))
    print(f"seed {seed}")
    tried = 0
    for name, found in all_commands().items():
        if name in ALLOWED:
            continue
        for word in spellings(name, found.aliases):
            argument = generator.choice(server.arguments())
            status, text = server.run(f"/{word}{generator.choice(SPACES)}{argument}")
            assert status == 400 and "not available" in text, (word, argument, text)
            tried += 1
    assert tried > 60
    for line in ("/files__prompt", "/a__b path=/etc/passwd", "/FILES__x"):
        assert server.run(line)[0] == 400, line
    check_nothing_happened(server)


def test_what_is_offered_reaches_nothing_of_the_server(server: Server) -> None:
    generator = random.Random(seed := random.randrange(10**6))
    print(f"seed {seed}")
    for name in sorted(ALLOWED):
        arguments, most = server.arguments(), EACH if name in REFUSED else SOME
        for argument in ["", *generator.sample(arguments, min(most, len(arguments)))]:
            line = f"/{name}{generator.choice(SPACES)}{argument}"
            status, text = server.run(line)
            assert SECRET not in text, (line, text)
            assert status in (200, 400, 404, 502), (line, status, text)
        if server.member.ask("GET", f"/api/sessions/{server.session}/row").status_code == 404:
            server.new_session()
    check_nothing_happened(server)


def test_only_what_is_offered_is_completed(server: Server) -> None:
    rows = server.member.json("GET", f"/api/sessions/{server.session}/commands")["commands"]
    rows += server.member.json("GET", "/api/commands")["commands"]
    assert rows and {row["name"] for row in rows} <= ALLOWED
    for name, found in all_commands().items():
        if found.complete is not None and name not in ALLOWED:
            path = f"/api/sessions/{server.session}/commands/{name}"
            assert server.member.json("GET", path) == {"values": []}, name


def test_a_message_is_text_whatever_it_looks_like(server: Server) -> None:
    for argument in server.arguments():
        server.member.say(server.session, f"{argument} ?", key=argument)
    shown = str(server.member.wait(server.session)["events"])
    assert SECRET not in shown
    check_nothing_happened(server)


def check_nothing_happened(server: Server) -> None:
    assert not server.new.exists() and server.secret.read_text(encoding="utf-8") == SECRET
    assert server.trap.visits == 0
