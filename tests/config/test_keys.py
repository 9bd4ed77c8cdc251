"""Keys: where they are found, to which address they are sent, and that they appear nowhere else."""

from __future__ import annotations

import base64
import json
import os
import random
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from core.config import Settings
from core.config.keys import (
    ask_keyring, hide, key_file, known_secrets, origin_of, read_key_file, remove_key, store_key,
    without_credentials)
from core.config.sources import load_settings
from core.errors import AuthFailed, ConfigError, UsageError
from core.model_manager import Providers
from tests.fake_server import FakeServer, json_answer

KEY = "sk-secret-0123456789abcdef"


def settings_at(home: Path, flags: dict[str, object], **environment: str) -> Settings:
    return load_settings(flags, {"HOME": str(home), **environment})


def test_a_stored_key_is_its_owners_alone(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path)}
    path = Path(store_key(environment, "openai", f" {KEY}\n", "https://api.openai.com"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    store_key(environment, "groq", "gsk-2", "https://api.groq.com")
    assert read_key_file(environment) == {"openai": (KEY, "https://api.openai.com"),
                                          "groq": ("gsk-2", "https://api.groq.com")}


def test_a_removed_key_is_gone_and_the_others_stay(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path)}
    path = Path(store_key(environment, "openai", KEY, "https://api.openai.com"))
    store_key(environment, "groq", "gsk-2", "https://api.groq.com")
    remove_key(environment, "openai")
    remove_key(environment, "never-stored")
    assert read_key_file(environment) == {"groq": ("gsk-2", "https://api.groq.com")}
    assert KEY.encode() not in path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    environment = {"HOME": str(tmp_path)}
    path = store_key(environment, "openai", KEY, "https://api.openai.com")
    os.chmod(path, mode)
    with pytest.raises(ConfigError, match="Others can read"):
        read_key_file(environment)
    with pytest.raises(ConfigError):
        Providers(settings_at(tmp_path, {"provider": "openai"})).open("openai")


@pytest.mark.parametrize("content", ["", "[]", "{", '{"openai": "x"}', "null"])
def test_a_file_that_holds_no_keys_says_so(tmp_path: Path, content: str) -> None:
    environment = {"HOME": str(tmp_path)}
    path = Path(key_file(environment))
    path.parent.mkdir(parents=True)
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="not a valid key file"):
        read_key_file(environment)


@pytest.mark.parametrize("key", ["", "  ", "two words", "line\nend", "\x1b[31m"])
def test_what_is_no_key_is_not_stored(tmp_path: Path, key: str) -> None:
    with pytest.raises(UsageError):
        store_key({"HOME": str(tmp_path)}, "openai", key, "")


def test_the_order_of_sources(tmp_path: Path) -> None:
    store_key({"HOME": str(tmp_path)}, "openai", "from-file", "https://api.openai.com/v1")
    asked: dict[str, object] = {"provider": "openai"}
    assert Providers(settings_at(tmp_path, asked)).open("openai").endpoint.key == "from-file"
    assert Providers(settings_at(tmp_path, asked, OPENAI_API_KEY="from-env")).open(
        "openai").endpoint.key == "from-env"
    assert (Providers(settings_at(tmp_path, asked)).open("openai-responses").endpoint.key
            == "from-file")


def test_the_keyring_is_asked_last_and_only_then(tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    """A replacement for the optional keyring package; a failing keyring counts as missing."""
    package = tmp_path / "packages"
    package.mkdir()
    (package / "keyring.py").write_text("def get_password(*asked):\n    return {('stream-chat', "
                                        "'groq'): 'from-ring'}[asked]\n")
    monkeypatch.syspath_prepend(str(package))
    sys.modules.pop("keyring", None)
    asked: dict[str, object] = {"provider": "groq"}
    assert Providers(settings_at(tmp_path, asked, GROQ_API_KEY="from-env")).open(
        "groq").endpoint.key == "from-env"
    assert "keyring" not in sys.modules
    assert Providers(settings_at(tmp_path, asked)).open("groq").endpoint.key == "from-ring"
    with pytest.raises(AuthFailed):
        Providers(settings_at(tmp_path, {"provider": "xai"})).open("xai")
    sys.modules.pop("keyring", None)


@pytest.mark.parametrize("answer",
                         ["sys.exit(3)", "return b'sk-bytes'",
                          "raise KeyboardInterrupt"])
def test_a_keyring_that_misbehaves_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                           answer: str) -> None:
    (tmp_path / "keyring.py").write_text("import sys, time\ndef get_password(*asked):\n    "
                                         f"{answer}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("keyring", None)
    with pytest.raises(AuthFailed):
        Providers(settings_at(tmp_path, {"provider": "groq"})).open("groq")
    sys.modules.pop("keyring", None)


def test_a_keyring_that_does_not_respond_is_none(tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "keyring.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    released = threading.Event()
    assert ask_keyring(released.wait, 0.1) is None
    released.set()
    assert ask_keyring(lambda: "key") == "key"


def test_a_stored_key_goes_only_where_its_owner_says(tmp_path: Path) -> None:
    store_key({"HOME": str(tmp_path)}, "openai", KEY, "https://api.openai.com/v1")
    elsewhere = "http://127.0.0.1:1/v1"
    by_flag = Providers(settings_at(tmp_path, {"provider": "openai", "base_url": elsewhere}))
    assert by_flag.open("openai").endpoint.key == KEY
    by_environment = Providers(settings_at(tmp_path, {"provider": "openai"},
                                           STREAM_CHAT_BASE_URL=elsewhere))
    with pytest.raises(AuthFailed, match="another address"):
        by_environment.open("openai")


def test_the_given_address_is_for_the_chosen_provider_only(tmp_path: Path) -> None:
    providers = Providers(settings_at(tmp_path,
                                      {"provider": "openai", "base_url": "http://127.0.0.1:1/v1"},
                                      OPENAI_API_KEY="k1", ANTHROPIC_API_KEY="k2"))
    assert providers.open("anthropic").endpoint.base_url == "https://api.anthropic.com"


def test_a_missing_key_names_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(AuthFailed) as failed:
        Providers(settings_at(tmp_path, {"provider": "groq"})).open("groq")
    assert "GROQ_API_KEY" in failed.value.hint and "--set-key groq" in failed.value.hint


@pytest.mark.parametrize("url, origin", [
    ("https://api.openai.com/v1", "https://api.openai.com:443"),
    ("https://API.openai.com:443", "https://api.openai.com:443"),
    ("http://localhost:11434", "http://localhost:11434"), ("http://h", "http://h:80"),
    ("nonsense", ""), ("http://h:x", "")])
def test_origins(url: str, origin: str) -> None:
    assert origin_of(url) == origin


def test_secrets_are_hidden_longest_first(tmp_path: Path) -> None:
    secrets = known_secrets({"A_KEY": "abcdef", "B_TOKEN": "abcdefgh", "HOME": str(tmp_path),
                             "C_KEY": "x"}, {})
    assert hide("abcdefgh abcdef x", secrets) == "*** *** x"


def test_credentials_of_any_scheme_are_hidden_and_words_are_not() -> None:
    """A careless proxy repeats the header with its own password, which is no provider's key."""
    dice = random.Random(5)
    for _ in range(300):
        secret = base64.b64encode(f"me:{dice.randbytes(dice.randrange(6, 40)).hex()}".encode())
        scheme = dice.choice(("Basic", "basic", "Bearer", "BEARER", "Digest", "Negotiate"))
        said = f'{{"Proxy-Authorization": "{scheme} {secret.decode()}", "x": 1}}'
        assert without_credentials(said) == f'{{"Proxy-Authorization": "{scheme} ***", "x": 1}}'
        assert hide(said, []) == without_credentials(said)
    assert without_credentials(f"Bearer {'abcdef' * 5}") == "Bearer ***"
    for words in ("Basic authentication is required.", "Use a bearer credential", "basic: unknown"):
        assert without_credentials(words) == words


def run(program: list[str], environment: dict[str, str], *words: str,
        text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([*program, *words], input=text, env=environment, capture_output=True,
                          text=True, timeout=60)


def test_set_key_reads_from_a_pipe_and_never_from_the_command_line(
        program: list[str], environment: dict[str, str]) -> None:
    refused = run(program, environment, "--set-key", "openai", KEY)
    assert refused.returncode == 2 and KEY not in refused.stderr + refused.stdout
    done = run(program, environment, "--set-key", "claude", text=KEY + "\n")
    assert done.returncode == 0, done.stderr
    assert KEY not in done.stderr + done.stdout
    assert read_key_file(environment) == {"anthropic": (KEY, "https://api.anthropic.com")}


# A backend of the real keyring package that keeps its secrets in a file of the test, or
# fails as the test says.
BACKEND = '''
import json, os, pathlib
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked

class Ring(KeyringBackend):
    name = "Test Ring"
    priority = int(os.environ.get("RING_PRIORITY", "5"))
    path = pathlib.Path(__file__).with_name("ring.json")

    def _held(self):
        if os.environ.get("RING_LOCKED"):
            raise KeyringLocked("locked")
        return json.loads(self.path.read_text()) if self.path.exists() else {}

    def get_password(self, service, username):
        return self._held().get(f"{service}/{username}")

    def set_password(self, service, username, password):
        self.path.write_text(json.dumps(self._held() | {f"{service}/{username}": password}))

    def delete_password(self, service, username):
        held = self._held()
        del held[f"{service}/{username}"]
        self.path.write_text(json.dumps(held))
'''


@pytest.fixture
def ring(environment: dict[str, str], tmp_path: Path) -> Path:
    """The file in which the keyring of `environment` stores its secrets."""
    pytest.importorskip("keyring")
    (tmp_path / "test_ring.py").write_text(BACKEND)
    environment["PYTHONPATH"] += f"{os.pathsep}{tmp_path}"
    environment["PYTHON_KEYRING_BACKEND"] = "test_ring.Ring"
    return tmp_path / "ring.json"


def test_a_key_is_stored_in_the_keyring_where_there_is_one(program: list[str],
                                                           environment: dict[str, str], ring: Path,
                                                           tmp_path: Path) -> None:
    store_key(environment, "groq", "gsk-in-the-file-before", "https://api.groq.com")
    server_key = "sk-local-0123456789"
    with FakeServer(json_answer({"data": [{"id": "m"}]})) as server:
        at = ("-p", "litellm", "--base-url", f"{server.url}/v1")
        for words, key in ((("--set-key", "groq"), KEY),
                           (("--set-key", "litellm", *at[2:]), server_key)):
            done = run(program, environment, *words, text=key + "\n")
            assert (done.returncode == 0 and "is stored in the system's keyring "
                    "(Test Ring)" in done.stderr), done.stderr
            assert key not in done.stderr + done.stdout
        assert json.loads(ring.read_text()) == {"stream-chat/groq": KEY,
                                                "stream-chat/litellm": server_key}
        assert read_key_file(environment) == {"groq": ("", "https://api.groq.com/openai/v1"),
                                              "litellm": ("", f"{server.url}/v1")}
        log = tmp_path / "debug.log"
        listed = run(program, environment, *at, "--list-models", "--debug", str(log))
        assert (listed.returncode == 0 and server.requests[-1].headers["authorization"]
                == f"Bearer {server_key}"), listed.stderr
        for path in tmp_path.rglob("*"):
            held = path.read_bytes() if path.is_file() and path != ring else b""
            assert KEY.encode() not in held and server_key.encode() not in held, path
        asked = len(server.requests)
        locked = run(program, environment | {"RING_LOCKED": "1"}, *at, "-m", "m", "hi")
        assert (locked.returncode and "cannot be read from the system's keyring" in locked.stderr
                and "--set-key litellm" in locked.stderr)
        elsewhere = run(program, environment | {"STREAM_CHAT_BASE_URL": "http://127.0.0.1:1/v1"},
                        "-p", "litellm", "-m", "m", "hi")
        assert "another address" in elsewhere.stderr and len(server.requests) == asked


REMOVE = "import os; from core.config.keys import remove_key; remove_key(os.environ, 'groq')"


def test_a_key_is_removed_from_the_keyring_that_has_it(
        program: list[str], environment: dict[str, str], ring: Path) -> None:
    assert run(program, environment, "--set-key", "groq", text=KEY).returncode == 0
    assert KEY in ring.read_text()
    locked = subprocess.run([sys.executable, "-c", REMOVE], env=environment | {"RING_LOCKED": "1"},
                            capture_output=True, text=True)
    assert "cannot be deleted from the system's keyring" in locked.stderr
    assert "groq" in read_key_file(environment)
    done = subprocess.run([sys.executable, "-c", REMOVE], env=environment,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(ring.read_text()) == {} and read_key_file(environment) == {}


@pytest.mark.parametrize("without", [
    {"PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring"},
    {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"},
    {"PYTHON_KEYRING_BACKEND": "no.such.Keyring"}, {"RING_LOCKED": "1"}, {"RING_PRIORITY": "0"}],
                         ids=str)
def test_where_no_keyring_keeps_it_the_file_does(program: list[str], environment: dict[str, str],
                                                 ring: Path,
                                                 without: dict[str, str]) -> None:
    done = run(program, environment | without, "--set-key", "openai", text=KEY)
    assert (done.returncode == 0
            and f"is stored in {key_file(environment)}" in done.stderr), done.stderr
    assert (read_key_file(environment) == {"openai": (KEY, "https://api.openai.com/v1")}
            and not ring.exists())


FAILURES = {
    "wrong":
    json_answer({"error": {"message": f"Incorrect API key provided: {KEY}.",
                           "code": "invalid_api_key"}}, 401),
    "plain": json_answer({"error": {"message": f"bad request, you sent {KEY}"}}, 400),
    "limit":
    json_answer({"error": {"message": f"rate limit for {KEY}", "type": "rate_limit_error"}}, 429),
    "broken": json_answer({"what": KEY}),
    "moved": json_answer({}, 307, {"Location": f"http://127.0.0.1:1/?key={KEY}"}),
}


@pytest.mark.parametrize("name", sorted(FAILURES))
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_key_appears_nowhere(program: list[str], environment: dict[str, str], tmp_path: Path,
                               name: str, provider: str) -> None:
    """Even if failures quote it, a key is in no output, log, database or file except its own."""
    environment[f"{provider.upper()}_API_KEY"] = KEY
    log = tmp_path / "debug.log"
    with FakeServer(FAILURES[name]) as server:
        common = ("-p", provider, "-m", "m", "--base-url", f"{server.url}/v1",
                  "--retry-max-attempts", "1", "--debug", str(log))
        outputs = [run(program, environment, *common, *more)
                   for more in (("hi",), ("--json", "hi"), ("--check",), ("--list-models",),
                                ("--list-providers", "--json"))]
        assert any(KEY in json.dumps(request.headers)
                   for request in server.requests), "the server was asked with the key"
    for done in outputs:
        assert KEY not in done.stdout and KEY not in done.stderr
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("address", [
    "http://user:hunter2SECRET@{}/v1", "user:hunter2SECRET@{}/v1",
    "http://user:hunter2/SECRET@{}/v1", "http://hunter2SECRET@{}",
    "http://{}/v1?key=hunter2SECRET", "http://{}/v1#hunter2SECRET"])
@pytest.mark.parametrize("provider, words", [("openai", "--check"), ("ollama", "--list-providers")])
def test_nothing_secret_stands_in_an_address(program: list[str], environment: dict[str, str],
                                             tmp_path: Path, address: str, provider: str,
                                             words: str) -> None:
    log = tmp_path / "debug.log"
    with FakeServer(json_answer({})) as server:
        url = address.format(f"127.0.0.1:{server.port}")
        common = ("-p", provider, "-m", "m", "--base-url", url, "--debug", str(log))
        outputs = [run(program, environment, *common, *more)
                   for more in (("hi",), (words,))]
        assert not server.requests
    assert outputs[0].returncode in (1, 2) and "--set-key" in outputs[0].stderr
    for text in (*(done.stdout + done.stderr for done in outputs),
                 log.read_text() if log.exists() else ""):
        assert "SECRET" not in text and "Traceback" not in text


@pytest.mark.parametrize("entry",
                         [{"base_url": "http://u:SECRET@h/v1"},
                          {"base_urls": ["http://h/v1", "http://u:SECRET@h/v1"]}])
def test_nor_in_one_of_the_configuration(tmp_path: Path, entry: dict[str, object]) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps({"provider": "x", "providers": {"x": entry}}))
    with pytest.raises(UsageError, match="a user name or a password") as caught:
        Providers(settings_at(tmp_path, {"config": str(path)})).open("x")
    assert "SECRET" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize("logged", [
    "[(b'Server', b'x'), (b'Set-Cookie', b'a=SECRET; it\\'s'), (b'Date', b'today')]",
    '{"set-cookie": "a=SECRET"} today',
    "Set-Cookie: a=SECRET\ntoday", "('cookie', 'SECRET') today"])
def test_cookies_are_not_logged(logged: str) -> None:
    assert "SECRET" not in hide(logged, []) and "today" in hide(logged, [])
