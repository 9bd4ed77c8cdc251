"""Sources of settings: command line over environment over file over default; errors name the place
of an invalid value.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.argument_parser import parse_arguments
from core.config import BY_NAME, SETTINGS, Settings
from core.config.directories import data_directory
from core.config.sources import load_settings
from core.errors import ConfigError, UsageError, describe

# The predecessor's variables: variable, text, setting, value.
VARIABLES: list[tuple[str, str, str, Any]] = [
    ("OLLAMA_MODEL", "llama3", "model", "llama3"),
    ("OLLAMA_HOST", "0.0.0.0:1", "ollama_host", "0.0.0.0:1"),
    ("OLLAMA_MODEL_FALLBACKS", "a, b,", "model_fallbacks", ("a", "b")),
    ("CHAT_LOG_DEST", "log.txt", "dest", "log.txt"),
    ("EXPERIMENTAL", "1", "experimental", True),
    ("EXPERIMENTAL_WEBSEARCH", "true", "experimental_websearch", True),
    ("CONTEXT_PATH", "a.txt,dir,db", "context", ("a.txt,dir,db",)),
    ("CONTEXT_GREP", "*.py,.md", "context_grep", ("*.py", ".md")),
    ("PERSIST_TO_DB", "no", "persist_to_db", False),
    ("DATABASE_URL", "x.db", "database_url", "x.db"),
    ("RETRY_MAX_ATTEMPTS", "5", "retry_max_attempts", 5),
    ("RETRY_INITIAL_DELAY", "0.5", "retry_initial_delay", 0.5),
    ("RETRY_MAX_DELAY", "9", "retry_max_delay", 9.0),
    ("RETRY_MULTIPLIER", "3", "retry_multiplier", 3.0),
    ("RETRY_JITTER", "0", "retry_jitter", 0.0),
]


def from_file(tmp_path: Path, text: str, environment: dict[str, str] | None = None,
              name: str = "config.yaml") -> Settings:
    path = tmp_path / name
    path.write_text(text)
    return load_settings({"config": str(path)}, {"HOME": str(tmp_path), **(environment or {})})


@pytest.mark.parametrize("variable, text, name, value", VARIABLES)
def test_the_predecessor_s_variables(variable: str, text: str, name: str, value: Any) -> None:
    settings = load_settings({}, {variable: text, "HOME": "/nowhere"})
    assert getattr(settings, name) == value and name in settings.given
    assert getattr(load_settings({}, {variable: "", "HOME": "/nowhere"}),
                   name) == BY_NAME[name].default, "empty is not set"


def test_what_wins(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    (tmp_path / "stream-chat").mkdir()
    assert parse_arguments([], environment).retry_jitter == 0.5
    (tmp_path / "stream-chat" / "config.yaml").write_text("retry_jitter: 0.1\nmodel: from-file\n")
    assert parse_arguments([], environment).retry_jitter == 0.1
    environment["RETRY_JITTER"] = "0.2"
    assert parse_arguments([], environment).retry_jitter == 0.2
    settings = parse_arguments(["--retry-jitter", "0.3"], environment)
    assert (settings.retry_jitter, settings.model) == (0.3, "from-file")


@pytest.mark.parametrize("text, line, words", [
    ("model: a\n\nmodel: b\n", 3, "duplicate key"),
    ("model: a\nmodle: b\n", 2, "Did you mean model"),
    ("\ntemperature: warm\n", 2, "a number"), ("model: a\ntemperature: 9\n", 2, "from 0 to 2"),
    ("model: a\nresume: maybe\n", 2, "yes or no"), ("model: a\nthink: hard\n", 2, "one of"),
    ("option: 7\n", 1, "mapping"), ("system: [a, b]\n", 1, "system"),
    ("model: a\nseed: 1.5\n", 2, "whole number"),
    ("model: a\n  b: c\n", 2, ""), ("model: 'a\n", 2, ""), ("system: ${NOT_SET}\n", 1, "NOT_SET"),
    ("json: true\n", 1, "json"),
    ("model: a\nhelp: true\n", 2, "help"),
])
def test_a_bad_file_names_the_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        from_file(tmp_path, text)
    told = describe(raised.value)
    assert f"config.yaml line {line}" in told and words in told and len(told.splitlines()) <= 3
    assert raised.value.exit_code == 2


@pytest.mark.parametrize("text", ["- a\n- b\n", "words", "\x00", "{" * 800])
def test_a_file_that_is_no_mapping(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        from_file(tmp_path, text)


def test_variables_in_a_file(tmp_path: Path) -> None:
    text = "system: Hello ${WHO}, ${NOBODY:-none}\nstop: ['${WHO}']\n"
    settings = from_file(tmp_path, text, {"WHO": "a: [b]\nmodel: evil"})
    assert settings.system == "Hello a: [b]\nmodel: evil, none" and settings.model is None
    assert settings.stop == ("a: [b]\nmodel: evil",)


def test_json_and_empty_files(tmp_path: Path) -> None:
    assert from_file(tmp_path, '{"model": "a",\n\t"top-p": 0.5}', name="config.json").top_p == 0.5
    assert from_file(tmp_path, "").model is None
    assert from_file(tmp_path, "# nothing\n").model is None


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ConfigError):
            load_settings({"config": str(path)}, {"HOME": str(tmp_path)})
    (tmp_path / "latin.yaml").write_bytes(b"system: caf\xe9\n")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_settings({"config": str(tmp_path / "latin.yaml")}, {"HOME": str(tmp_path)})


def test_settings_are_frozen_and_can_be_replaced() -> None:
    settings = Settings({"model": "a"}, environment={"HOME": "/h"}, prompt="p")
    with pytest.raises(AttributeError):
        settings.model = "b"  # type: ignore[misc]  # what is tested
    changed = settings.replace(seed=1)
    assert (changed.model, changed.seed, changed.prompt, settings.seed) == ("a", 1, "p", None)
    with pytest.raises(UsageError):
        Settings({"nonsense": 1})


def test_every_setting_is_declared_once() -> None:
    flags = [flag for row in SETTINGS for flag in row.flags]
    variables = [variable for row in SETTINGS for variable in row.env]
    assert (len(set(flags)) == len(flags) and len(set(variables)) == len(variables)
            and len(BY_NAME) == len(SETTINGS))


def test_where_files_live() -> None:
    assert (data_directory({"HOME": "/h"}).startswith("/h/")
            and data_directory({"XDG_DATA_HOME": "/x"}) == "/x/stream-chat")
    assert data_directory({"HOME": "/h", "XDG_DATA_HOME": "relative"}).startswith(
        "/h/"), "the standard: relative ones are ignored"
