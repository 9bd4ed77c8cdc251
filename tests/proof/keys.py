"""A different key in every place that accepts one: it reaches its server, and nothing else.

The servers repeat every header of a request in their answers and errors, as careless ones do. The
judge looks for the keys in all that the program printed, in every byte of every file of the user
(but the one that it was put into), and in what every other server received.
"""

from __future__ import annotations

import base64
import json
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.fake_server import Answer, FakeServer, Received, json_answer
from tests.proof.homes import new_home
from tests.surroundings import inherited

ROOT = Path(__file__).resolve().parent.parent.parent
STATUSES = (400, 401, 403, 404, 429, 500, 503)
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("hi",), ("--json", "hi"), ("--check",), ("--list-models",), ("--list-providers", "--json"),
    ("--continue", "again"), ("--list-sessions",), ("--stats",), ("--db-check",),
    ("--export-all", "--output", "{home}/all.jsonl", "--force"),
    ("--db-backup", "--output", "{home}/backup.db", "--force"), ("--self-test",))


@dataclass(slots=True)
class Tally:
    keys: int = 0
    commands: int = 0
    arrived: int = 0        # keys that their server received
    files: int = 0
    faults: list[str] = field(default_factory=list)


@dataclass(slots=True)
class User:
    """One user: a home, settings, an environment, and where the keys may be."""

    home: Path
    own: str        # the address of the server that the key is for
    other: str      # of another one, which must not see it
    environment: dict[str, str] = field(default_factory=dict)
    providers: dict[str, dict[str, object]] = field(default_factory=dict)
    settings: dict[str, object] = field(default_factory=dict)
    allowed: set[str] = field(default_factory=set)      # names of files that hold it
    flags: tuple[str, ...] = ()
    typed: str = ""         # what is given to --set-key


def plant_keys(seed: int, count: int) -> Tally:
    """Try `count` keys in all places, each with some commands."""
    chance, tally = random.Random(seed), Tally()
    for number in range(count):
        place = list(PLACES)[(seed + number) % len(PLACES)]
        key = f"sk-canary{chance.randrange(1 << 60):015x}"
        with new_home() as folder, ExitStack() as stack:
            status = chance.choice((0, *STATUSES))
            own, other = (stack.enter_context(FakeServer(_careless(status))) for _ in range(2))
            user = User(Path(folder), own.url, other.url)
            PLACES[place](user, key)
            where = f"seed {seed}, key {number}, {place}, status {status}"
            _use(user, key, chance.sample(COMMANDS, 4), where, tally)
            tally.keys += 1
            tally.arrived += any(stands_in(key, json.dumps(each.headers)) for each in own.requests)
            if any(stands_in(key, json.dumps(each.headers) + each.body.decode("utf-8", "replace"))
                   for each in other.requests):
                tally.faults.append(f"{where}: another server received it")
    return tally


def stands_in(key: str, text: str) -> bool:
    """As it is, or as HTTP writes a name and a password."""
    return key in text or base64.b64encode(f"me:{key}".encode()).decode().rstrip("=") in text


def _careless(status: int) -> Callable[[Received], Answer]:
    """Answers with the headers of the request; 0 means a response unlike that of an API."""
    def answer(request: Received) -> Answer:
        said = json.dumps(request.headers)
        return json_answer({"error": {"message": said, "type": said, "code": said}},
                           status or 200, {"x-echo": said})
    return answer


def _use(user: User, key: str, commands: Sequence[Sequence[str]], where: str,
         tally: Tally) -> None:
    """Run the commands, then look for the key in all that they printed and wrote."""
    (user.home / "config.json").write_text(
        json.dumps(user.settings | ({"providers": user.providers} if user.providers else {})))
    if user.typed:
        _run(user, ("--set-key", user.typed, "--base-url", f"{user.own}/v1"), key)
    common = (*user.flags, "--retry-max-attempts", "1", "--debug", str(user.home / "debug.log"))
    for command in (("hi",), *commands):
        words = [word.replace("{home}", str(user.home)) for word in command]
        done = _run(user, (*common, *words))
        tally.commands += 1
        if stands_in(key, done.stdout + done.stderr):
            tally.faults.append(f"{where}: {words} printed it")
        if "Traceback" in done.stderr:
            tally.faults.append(f"{where}: {words}: {done.stderr[-200:]}")
    for path in user.home.rglob("*"):
        if path.is_file() and path.name not in user.allowed:
            tally.files += 1
            if stands_in(key, path.read_bytes().decode("latin-1")):
                tally.faults.append(f"{where}: it is in {path.relative_to(user.home)}")


def _run(user: User, words: Sequence[str], typed: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**inherited(), "HOME": str(user.home),
                   "PYTHONPATH": str(ROOT), "STREAM_CHAT_CONFIG": str(user.home / "config.json"),
                   **user.environment}
    return subprocess.run([sys.executable, str(ROOT / "stream_chat.py"), *words], env=environment,
                          input=typed, capture_output=True, text=True, timeout=300)


# ---- the places

def _variable(user: User, key: str) -> None:
    user.environment["OPENAI_API_KEY"] = key
    user.flags = ("-p", "openai", "-m", "m", "--base-url", f"{user.own}/v1")


def _beside_another(user: User, key: str) -> None:
    """The key of one provider, while another one is asked, elsewhere."""
    user.environment |= {"OPENAI_API_KEY": "sk-another", "ANTHROPIC_API_KEY": key}
    user.providers = {"anthropic": {"base_url": user.own}, "openai": {"base_url": user.other}}
    user.flags = ("-p", "anthropic", "-m", "m", "--model-fallbacks", "openai/m")


def _stored(user: User, key: str) -> None:
    user.typed = "openai"
    user.allowed.add("keys.json")
    user.flags = ("-p", "openai", "-m", "m", "--base-url", f"{user.own}/v1")


def _settings_file(user: User, key: str) -> None:
    user.providers = {"mine": {"base_url": f"{user.own}/v1", "dialect": "openai", "api_key": key},
                      "theirs": {"base_url": f"{user.other}/v1", "dialect": "openai"}}
    user.allowed.add("config.json")
    user.flags = ("-p", "mine", "-m", "m", "--model-fallbacks", "theirs/m")


def _header(user: User, key: str) -> None:
    user.providers = {"mine": {"base_url": f"{user.own}/v1", "dialect": "openai",
                               "headers": {"x-secret-key": key}},
                      "theirs": {"base_url": f"{user.other}/v1", "dialect": "openai"}}
    user.allowed.add("config.json")
    user.flags = ("-p", "mine", "-m", "m", "--model-fallbacks", "theirs/m")


def _tool_server(user: User, key: str) -> None:
    user.settings = {"mcpServers": {"mine": {"url": f"{user.own}/mcp",
                                             "headers": {"Authorization": "Bearer ${MY_TOKEN}"}}}}
    user.environment["MY_TOKEN"] = key
    user.flags = ("-p", "ollama", "-m", "m", "--ollama-host", user.other, "--tools", "all")


def _proxy(user: User, key: str) -> None:
    place = user.own.removeprefix("http://")
    user.environment["HTTP_PROXY"] = f"http://me:{key}@{place}"
    user.flags = ("-p", "ollama", "-m", "m", "--ollama-host", "http://models.test")


def _database(user: User, key: str) -> None:
    place = user.own.removeprefix("http://")
    user.environment["DATABASE_URL"] = f"postgresql://me:{key}@{place}/chat?connect_timeout=2"
    user.flags = ("-p", "demo")


def _address(user: User, key: str) -> None:
    place = user.own.removeprefix("http://")
    user.flags = ("-p", "openai", "-m", "m", "--base-url", f"http://me:{key}@{place}/v1")


PLACES: dict[str, Callable[[User, str], None]] = {
    "a variable": _variable, "a variable beside another": _beside_another,
    "stored with --set-key": _stored, "the settings file": _settings_file,
    "a header of the settings file": _header, "a header of a server of tools": _tool_server,
    "a proxy": _proxy, "the address of a database": _database, "an address": _address,
}
