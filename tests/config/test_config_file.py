"""The configuration file: its shapes, ${NAME}, .env, the older files,
and errors that name the line.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from core.config import Settings
from core.config.sources import load_settings
from core.config.values import MOST_OWN
from core.config.yaml_words import make_loader
from core.config.document import ConfigDocument
from core.config.file import read_config_file, read_env_file
from core.errors import AuthFailed, ConfigError, UsageError
from core.model_manager import Providers, Target, build_model_list
from core.providers.from_settings import options_of
from core.providers.modelfile import read_modelfile
from core.providers.parameters import read_schema
from core.sessions.importing import import_file
from core.setup.tools import make_servers
from db import open_store

PLAN = """\
llm:
  openai:
    api_key: "${OPENAI_API_KEY}"
    base_url: "https://api.openai.com/v1"
    model: "gpt-4"
  ollama:
    base_url: "http://localhost:11434/v1"
    model: "gpt-oss:20b"
    fallback: true
"""


def load(tmp_path: Path, text: str, name: str = "config.yaml", flags: dict[str, Any] | None = None,
         **environment: str) -> Settings:
    path = tmp_path / name
    path.write_text(text)
    return load_settings({"config": str(path), **(flags or {})},
                         {"HOME": str(tmp_path), **environment})


def test_the_plans_shape(tmp_path: Path) -> None:
    settings = load(tmp_path, PLAN, OPENAI_API_KEY="sk-1")
    assert build_model_list(settings) == [Target("openai", ""), Target("ollama", "gpt-oss:20b")]
    providers = Providers(settings)
    assert providers.open("openai").endpoint.key == "sk-1"
    assert providers.host("openai").default_model == "gpt-4"
    assert providers.host("ollama").dialect == "openai"
    assert providers.open("ollama").endpoint.base_url == "http://localhost:11434/v1"


def test_the_other_way_round(tmp_path: Path) -> None:
    settings = load(tmp_path, "llm:\n  openai: {model: gpt-4, fallback: true}\n  ollama: {model: "
                    "llama3}\n")
    assert build_model_list(settings) == [Target("ollama", ""), Target("openai", "gpt-4")]


@pytest.mark.parametrize("written", [
    "No", "yes", "on", "~x", "007", "3.10", "0x10", "1:30", "1e3", "2001-12-14", "0123", "1_000",
    ".5",
    "NULL1"])
def test_text_is_what_stands_in_the_file(tmp_path: Path, written: str) -> None:
    """YAML reads these as other types."""
    for text in (f"system: {written}", f"stop: [{written}]", f"model: {written}",
                 f"keep_alive: {written}"):
        settings = load(tmp_path, text)
        assert {settings.system, settings.model, settings.keep_alive,
                *settings.stop} - {None} == {written}, text
    assert load(tmp_path, f"alias: {{fast: {written}}}").alias == {"fast": written}
    entry = load(tmp_path, "providers: {x: {base_url: 'http://x', model: "
                 f"{written}}}}}").providers["x"]
    assert entry["model"] == written


def test_numbers_are_read_as_on_the_command_line(tmp_path: Path) -> None:
    settings = load(tmp_path, "seed: 0123\nnum_ctx: 32k\nmarkdown: off\nthink: on\nstop: [~]\n"
                    "option: {num_gpu: 1, low_vram: yes}\n")
    assert (settings.seed, settings.num_ctx, settings.markdown, settings.think) == (123, 32768,
                                                                                    False, "on")
    assert settings.stop == ("~",) and settings.option == {"num_gpu": 1, "low_vram": True}
    with pytest.raises(ConfigError, match="line 1.*0x10"):
        load(tmp_path, "seed: 0x10")


def test_the_command_line_goes_before_the_file(tmp_path: Path) -> None:
    assert build_model_list(load(tmp_path, PLAN, flags={"model": "demo/demo"}))[0] == Target("demo",
                                                                                             "demo")
    assert build_model_list(load(tmp_path, PLAN, flags={"model": "gpt-5"}))[0] == Target("openai",
                                                                                         "gpt-5")
    assert (build_model_list(load(tmp_path, PLAN, flags={"provider": "claude", "model": "x"}))[0]
            == Target("anthropic", "x"))


def test_a_variable_is_missed_only_where_it_is_used(tmp_path: Path) -> None:
    text = "".join(f"  {name}: {{api_key: '${{{name.upper()}_SECRET}}'}}\n"
                   for name in ("openai", "groq", "anthropic", "xai"))
    settings = load(tmp_path, "providers:\n" + text, GROQ_SECRET="g")
    providers = Providers(settings)
    assert providers.open("groq").endpoint.key == "g"
    with pytest.raises(AuthFailed,
                       match="line 4: the environment variable ANTHROPIC_SECRET is not set"):
        providers.open("anthropic")


def test_own_hosts_and_aliases(tmp_path: Path) -> None:
    settings = load(tmp_path, """\
aliases: {fast: workshop/small}
providers:
  workshop:
    base_url: http://127.0.0.1:1/v1
    key_variable: WORK_KEY
    headers: {x-team: blue}
    quirks: {think: template}
  claude: {model: haiku}
""", WORK_KEY="w", flags={"model": "fast"})
    assert build_model_list(settings)[0] == Target("workshop", "small")
    providers = Providers(settings)
    endpoint = providers.open("workshop").endpoint
    assert (endpoint.key, endpoint.base_url, endpoint.quirks["headers"],
            endpoint.quirks["think"]) == (
        "w", "http://127.0.0.1:1/v1", {"x-team": "blue"}, "template")
    assert providers.host("anthropic").default_model == "haiku"


@pytest.mark.parametrize("text, line, what", [
    ("model: x\ntemprature: 1\n", 2, "there is no setting 'temprature'"),
    ("temperature: warm\n", 1, "temperature takes a number"),
    ("model: x\n\nmodel: y\n", 3, "duplicate key 'model'"),
    ("providers:\n  openai:\n    model: a\n    model: b\n", 4,
     "duplicate key 'model'"),
    ("providers:\n  openai:\n    modle: a\n", 3, "a provider has no setting 'modle'"),
    ("providers:\n  openai: yes\n", 2, "openai takes a mapping"),
    ("providers:\n  openai:\n    fallback: perhaps\n", 3, "fallback takes yes or no"),
    ("providers:\n  openai:\n    temperature: 9\n", 3, "cannot be 9"),
    ("providers:\n  x:\n    kind: far\n", 3, "kind cannot be 'far'"),
    ("providers:\n  x:\n    models:\n      m:\n        visoin: true\n", 5,
     "a model has no setting 'visoin'"),
    ("providers:\n  x:\n    models:\n      m:\n        vision: 3\n", 5, "vision takes yes or no"),
    ("model: '${NOT_THERE}'\n", 1, "NOT_THERE is not set"),
    ("a: [\n", 2, "cannot be parsed"),
])
def test_the_wrong_line_is_named(tmp_path: Path, text: str, line: int, what: str) -> None:
    with pytest.raises(ConfigError) as failed:
        load(tmp_path, text)
    assert f"line {line}" in failed.value.message and what in failed.value.message


def test_values_never_change_the_document(tmp_path: Path) -> None:
    settings = load(tmp_path, "system: '${S}'\nmodel: ${M:-a}\n", S="x\nmodel: evil # {")
    assert (settings.system, settings.model) == ("x\nmodel: evil # {", "a")


def test_settings_of_one_provider(tmp_path: Path) -> None:
    from core.providers import Request
    from core.providers.parameters import adapt_request
    entry = "{temperature: 0.2, stop: [END], think: low, option: {user: me}}"
    settings = load(tmp_path, f"temperature: 1\nproviders:\n  openai: {entry}\n",
                    flags={"think": "high"})
    request = Request("m", (), options=options_of(settings))
    options = adapt_request(request, settings.providers["openai"], settings, "openai", ()).options
    assert (options.temperature, options.stop, options.think,
            options.raw) == (0.2, ("END",), "high", {"user": "me"})


def test_own_env_file_but_never_the_working_directorys(tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / ".config" / "stream-chat"
    own.mkdir(parents=True)
    (own / ".env").write_text("# mine\nexport GROQ_API_KEY='g # 1'\nOLLAMA_MODEL=from-file # note\n"
                              "RETRY_MAX_ATTEMPTS=7\n")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / ".env").write_text("OLLAMA_HOST=http://evil\nOPENAI_API_KEY=x\n")
    monkeypatch.chdir(tmp_path / "work")
    settings = load_settings({}, {"HOME": str(tmp_path), "RETRY_MAX_ATTEMPTS": "2"})
    assert (settings.model, settings.retry_max_attempts, settings.ollama_host) == ("from-file", 2,
                                                                                   None)
    assert (settings.environment["GROQ_API_KEY"] == "g # 1"
            and "OPENAI_API_KEY" not in settings.environment)


def test_a_wrong_line_of_the_env_file_is_named_without_its_words(tmp_path: Path) -> None:
    own = tmp_path / ".config" / "stream-chat"
    own.mkdir(parents=True)
    (own / ".env").write_text("A=1\nsk-my-key\n")
    with pytest.raises(ConfigError) as failed:
        load_settings({}, {"HOME": str(tmp_path)})
    assert "line 2" in failed.value.message and "sk-my-key" not in failed.value.message


OLD = {"model": "gpt-4o", "api_key": "sk-old", "temperature": 0.5, "max_tokens": 9,
       "system_prompt": "be brief"}


@pytest.mark.parametrize("old, provider, key", [
    (OLD, "openai", "sk-old"),
    ({"model": "claude-3-5-sonnet-20241022", "claude_api_key": "c", "api_key": "o"}, "anthropic",
     "c"),
    ({"model": "gemini-2.5-flash", "gemini_api_key": "g"}, "gemini", "g"),
])
def test_an_older_file_is_brought_up_to_date(tmp_path: Path, old: dict[str, Any], provider: str,
                                             key: str) -> None:
    text = json.dumps(old, indent="\t")
    settings = load(tmp_path, text, "config.json")
    assert build_model_list(settings)[0] == Target(provider, old["model"])
    assert Providers(settings).open(provider).endpoint.key == key
    assert len(settings.notices) == 1 and "config.json.bak" in settings.notices[0]
    assert (tmp_path / "config.json.bak").read_text() == text
    new = json.loads((tmp_path / "config.json").read_text())
    assert {name: value for name, value in new.items() if name != "provider"} == old
    assert stat.S_IMODE((tmp_path / "config.json").stat().st_mode) == 0o600
    again = load_settings({"config": str(tmp_path / "config.json")}, {"HOME": str(tmp_path)})
    assert again.notices == () and build_model_list(again) == build_model_list(settings)


def test_an_older_file_that_cannot_be_rewritten_still_works(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    path = tmp_path / "fixed" / "config.json"
    path.parent.mkdir()
    path.write_text(json.dumps(OLD))
    path.parent.chmod(0o500)
    try:
        settings = load_settings({"config": str(path)}, {"HOME": str(tmp_path)})
    finally:
        path.parent.chmod(0o700)
    assert settings.provider == "openai" and json.loads(path.read_text()) == OLD


def test_json_of_today_is_left_alone(tmp_path: Path) -> None:
    settings = load(tmp_path, '{"model": "llama3", "temperature": 0.1}', "config.json")
    assert settings.notices == () and build_model_list(settings)[0] == Target("ollama", "llama3")


def test_the_notice_is_on_standard_error(tmp_path: Path, program: list[str],
                                         environment: dict[str, str]) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"api_key": "sk-x-123456", "model": "m"}))
    done = subprocess.run([*program, "--config", str(path), "-p", "demo", "-m", "demo", "echo hi"],
                          env=environment,
                          capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("hi\n", 0)
    assert "was added" in done.stderr and "sk-x" not in done.stderr


def test_a_file_that_is_not_there_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings({"config": str(tmp_path / "none.yaml")}, {"HOME": str(tmp_path)})
    assert ("There is no configuration file" in caught.value.message
            and "permissions" not in caught.value.hint)


@pytest.mark.parametrize("text", [
    "seed: 2001-13-45T99:99:99Z\n", "model: 2020-99-99\n", "seed: 0b_\n",
    f"model: {'9' * 10_000}\n", "seed: 1_:_\n"])
def test_what_only_looks_like_a_number_or_a_date(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert "cannot be parsed" in caught.value.message or "seed" in caught.value.message


def test_aliases_of_aliases_end(tmp_path: Path) -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{number}: &a{number} [{', '.join([f'*a{number - 1}'] * 10)}]"
             for number in range(1, 10)]
    quirks = "".join(f"        {row}\n" for row in rows)
    with pytest.raises(ConfigError, match="more than 100,000 values"):
        load(tmp_path, f"providers:\n  x:\n    base_url: http://h/v1\n    quirks:\n{quirks}")


def test_an_anchor_that_holds_itself_ends(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        load(tmp_path, "providers:\n  x:\n    quirks:\n      a: &a [*a, *a, *a, *a, *a, *a, "
             "*a, *a]\n")


MERGED = """
providers:
  a: &a
    dialect: ollama
    base_url: http://127.0.0.1:1
    option: {seed: 0123}
  b:
    base_url: http://127.0.0.1:2
    <<: *a
    model: No
  c: {<<: [*a, {model: x}], base_url: http://127.0.0.1:3}
"""


def test_what_is_merged_gives_way_to_the_keys_beside_it(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(MERGED)
    _, providers, _ = read_config_file(str(tmp_path / "config.yaml"), {})
    assert providers["b"] == {
        "dialect": "ollama", "base_url": "http://127.0.0.1:2", "option": {"seed": 123},
        "model": "No"}
    assert providers["c"]["base_url"] == "http://127.0.0.1:3" and providers["c"]["model"] == "x"


@pytest.mark.parametrize("text, line", [
    ("a: 1\nproviders:\n  b:\n    model: x\n    model: y\n", 5),
    ("providers:\n  a: &a {model: x}\n  b:\n    <<: *a\n    base_url: u\n    base_url: v\n", 6)])
def test_a_key_that_stands_there_twice_is_still_refused(tmp_path: Path, text: str,
                                                        line: int) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=f"line {line}.*duplicate key"):
        read_config_file(str(tmp_path / "config.yaml"), {})


def test_nested_values_are_numbers_only_where_everybody_reads_one(tmp_path: Path) -> None:
    """As in YAML 1.2 and JSON: no octal numbers, minutes or underscores; a date stays text."""
    nested = "{a: 0123, b: [1_000, 1:30, 2026-01-01, 0x10, 1e3, .5, ~], c: {d: 1.0, e: '7'}}"
    (tmp_path / "config.yaml").write_text(f"option:\n  x: {nested}\n")
    values, _, _ = read_config_file(str(tmp_path / "config.yaml"), {})
    assert values["option"]["x"] == {
        "a": 123, "b": ["1_000", "1:30", "2026-01-01", 16, 1000.0, 0.5, None],
        "c": {"d": 1.0, "e": "7"}}


def test_numbers_are_those_of_yaml_1_2() -> None:
    for written, number in (("0o17", 15), ("0x1F", 31), ("17", 17), ("-17", -17), ("+17", 17),
                            ("017", 17)):
        assert yaml_value(f"n: {written}") == {"n": number}, written


def test_a_date_is_text_and_an_impossible_one_an_error() -> None:
    assert yaml_value("d: 2001-12-14") == {"d": "2001-12-14"}
    assert yaml_value("d: ") == yaml_value("d: ~") == {"d": None}
    with pytest.raises(ValueError):
        yaml_value("d: 2001-13-14")


def yaml_value(text: str) -> Any:
    loader = make_loader(text)
    try:
        return loader.get_data()
    finally:
        loader.dispose()


@pytest.mark.parametrize("made", ["device", "large"])
def test_a_file_without_end_is_not_read_for_ever(made: str, tmp_path: Path) -> None:
    """Settings, .env, a schema, a Modelfile, servers of tools; a pipe (`--config <(...)`) is read.
    """
    large = tmp_path / "large.yaml"
    large.write_text("#" * (MOST_OWN + 1))
    path = "/dev/zero" if made == "device" else str(large)

    def read_servers(path: str) -> None:
        make_servers(Settings({"mcp": True, "mcp_config": path}))
    for read, kind in ((ConfigDocument, ConfigError), (read_env_file, ConfigError),
                       (read_schema, UsageError), (read_modelfile, UsageError),
                       (read_servers, ConfigError)):
        with pytest.raises(kind, match="cannot be read: File too large") as raised:
            read(path)
        assert "permissions" not in raised.value.hint
    with closing(open_store(str(tmp_path / "s.db"))) as store:
        os.mkfifo(tmp_path / "pipe")
        for endless in ("/dev/zero", str(tmp_path / "pipe")):
            with pytest.raises(UsageError, match="is a device or a pipe"):
                import_file(store, endless)
