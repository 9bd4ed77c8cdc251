"""The command line: every flag is in --help, and every invalid value is reported in three lines
with exit code 2.
"""

from __future__ import annotations

import os
import random
import subprocess
from difflib import SequenceMatcher

import pytest

from core import __version__
from core.argument_parser import first_part, help_text, parse_arguments
from core.chat_engine import main
from core.config import SETTINGS
from core.config.values import check_value
from core.errors import UsageError

HOME = {"HOME": "/nowhere"}


def test_the_plan_s_sanity_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "usage:" in capsys.readouterr().out


def test_the_version(program: list[str], environment: dict[str, str],
                     capsys: pytest.CaptureFixture[str]) -> None:
    for flag in ("--version", "-V"):
        done = subprocess.run([*program, flag], env=environment, capture_output=True, text=True,
                              timeout=30)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"stream-chat {__version__}\n",
                                                               "")
    assert main(["--version", "--json"]) == 0 and __version__ in capsys.readouterr().out


def test_a_first_part_is_cut_outside_of_parentheses() -> None:
    assert first_part("print events (--stats: one document)") == "print events"
    assert first_part("how long (a) it is; and so on") == "how long (a) it is"
    parts = [first_part(row.help) for row in SETTINGS]
    assert all(part and part.count("(") == part.count(")") for part in parts)


@pytest.mark.parametrize("width", [60, 80, 110])
def test_help_names_every_flag(width: int) -> None:
    text = help_text(width)
    for row in SETTINGS:
        for flag in row.flags:
            assert flag in text or f"--[no-]{flag[2:]}" in text, flag
        assert " ".join(row.help.split())[:20] in " ".join(text.split())
    for line in text.splitlines():
        assert len(line) <= max(width, 105), line


@pytest.mark.parametrize("words",
                         [["--help", "--nonsense"], ["q", "-h"], ["--model", "x", "--help"]])
def test_help_wins(words: list[str]) -> None:
    assert parse_arguments(words, {}).help


def _bad_values() -> list[list[str]]:
    bad = [["--nonsense"], ["--model"], ["--mod", "x"], ["--option", "novalue"], ["--option", "=1"],
           ["-q"]]
    for row in SETTINGS:
        flag = row.flags[-1]
        if row.kind in (int, float):
            bad += [[flag, "many"], [flag, "nan"], [flag, "inf"], [flag, ""]]
        if row.low is not None:
            bad.append([f"{flag}={row.low - 1}"])
        if row.high is not None:
            bad.append([flag, str(row.high + 1)])
        if row.choices:
            bad.append([f"{flag}=nonsense"])
    return bad


@pytest.mark.parametrize("words", _bad_values(), ids=" ".join)
def test_every_bad_value(words: list[str], capsys: pytest.CaptureFixture[str],
                         monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(words) == 2
    told = capsys.readouterr()
    assert (told.out == "" and told.err.startswith("error: ")
            and 1 <= len(told.err.splitlines()) <= 3)
    assert words[0].split("=")[0] in told.err


@pytest.mark.parametrize(("flag", "told"), [
    ("--widget", "--widget needs a value: bash, zsh, fish."),
    ("-m", "--model needs a value: NAME."),
    ("--session", "--session needs a value: ID.")])
def test_an_option_without_its_value(flag: str, told: str,
                                     capsys: pytest.CaptureFixture[str]) -> None:
    assert main([flag]) == 2
    said = capsys.readouterr().err
    assert told in said and f"--help {told.split()[0]} explains it" in said


@pytest.mark.parametrize("row",
                         [row for row in SETTINGS if row.env and row.kind in (int, float, bool)],
                         ids=lambda row: row.name)
def test_every_bad_variable(row: object, capsys: pytest.CaptureFixture[str],
                            monkeypatch: pytest.MonkeyPatch) -> None:
    variable = row.env[0]  # type: ignore[attr-defined]  # a Setting
    monkeypatch.setenv(variable, "nonsense")
    assert main(["q"]) == 2
    assert variable in capsys.readouterr().err


def test_a_bad_value_with_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", "--temperature", "9"]) == 2
    assert '"event": "error"' in capsys.readouterr().out


def test_prompts_and_flags_in_any_order() -> None:
    assert parse_arguments(["why", "--model", "m", "is it"], HOME).prompt == "why is it"
    settings = parse_arguments(["-m", "m", "--", "--not-a-flag", "-x"], HOME)
    assert (settings.model, settings.prompt) == ("m", "--not-a-flag -x")
    assert parse_arguments(["-m=x"], HOME).model in ("x", "=x")
    assert parse_arguments(["--api", "demo"], HOME).provider == "demo"


def test_a_flag_without_its_value_does_not_take_the_question() -> None:
    settings = parse_arguments(["--think", "why is it"], HOME)
    assert (settings.think, settings.prompt) == ("on", "why is it")
    assert parse_arguments(["--think", "low", "q"], HOME).think == "low"
    assert parse_arguments(["q", "--think"], HOME).think == "on"


def test_repeated_flags() -> None:
    words = ["--context", "a,b", "--context", "c", "--option", "x=1", "--option", "y=[2]", "--stop",
             "a,b"]
    settings = parse_arguments(words, HOME)
    assert (settings.context == ("a,b", "c") and settings.option == {"x": 1, "y": [2]}
            and settings.stop == ("a,b",))
    assert parse_arguments(["--seed", "1", "--seed", "2"], HOME).seed == 2


def test_switches_can_be_turned_off() -> None:
    assert not parse_arguments(["--no-save"], HOME).save and parse_arguments(["--save"], HOME).save
    assert not parse_arguments(["--no-experimental"], HOME | {"EXPERIMENTAL": "1"}).experimental
    with pytest.raises(UsageError):
        parse_arguments(["--no-json"], HOME)


def test_words_that_the_locale_could_not_read() -> None:
    assert parse_arguments(["caf\udcc3\udca9"], HOME).prompt == "caf\u00e9"
    assert parse_arguments(["caf\udce9"], HOME).prompt == "caf\ufffd"


def misspelt(word: str, chance: random.Random) -> str:
    """One letter missing, doubled, exchanged with its neighbour, or another one."""
    place = chance.randrange(3, len(word) - 1)
    before, letter, after = word[:place], word[place], word[place + 1:]
    return chance.choice((before + after, before + letter + letter + after,
                          before + after[0] + letter + after[1:], before + "q" + after))


def test_a_misspelt_option_or_value_is_recognized() -> None:
    seed = int(os.environ.get("STREAM_CHAT_TEST_SEED") or random.randrange(1 << 32))
    print(f"STREAM_CHAT_TEST_SEED={seed}")
    chance = random.Random(seed)
    flags = [flag for row in SETTINGS for flag in row.flags]
    for flag in (flag for flag in flags if len(flag) > 7):
        typed = misspelt(flag, chance)
        if typed in flags:      # --stats is --status without a letter
            continue
        with pytest.raises(UsageError) as caught:
            parse_arguments([typed], HOME)
        near = caught.value.hint.removeprefix("Did you mean ").partition("?")[0]
        assert near == flag or ratio(near, typed) >= ratio(flag, typed), (typed, near)
    for row in SETTINGS:
        for choice in row.choices:
            if len(choice) > 5:
                typed = misspelt(choice, chance)
                if typed in row.choices:      # two equal letters changed places
                    continue
                with pytest.raises(UsageError, match="Did you mean"):
                    check_value(row, typed, row.flags[0])


def ratio(one: str, other: str) -> float:
    return SequenceMatcher(None, other, one).ratio()


@pytest.mark.parametrize(("typed", "meant"), [
    ("--search-sessions", "--search"), ("--export-format", "--format"), ("--colour", "--color"),
    ("--list-session", "--list-sessions"), ("--models", "--model"), ("--list-all-models",
                                                                     "--list-models")])
def test_an_option_whose_words_were_typed_is_suggested(typed: str, meant: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_arguments([typed, "x"], HOME)
    assert caught.value.hint.startswith(f"Did you mean {meant}?")


@pytest.mark.parametrize(("word", "meant"),
                         [("hihg", "high"), ("meduim", "medium"), ("offf", "off"),
                          ("HIGH", "high")])
def test_a_misspelt_effort_is_not_taken_for_the_question(word: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"Did you mean --think {meant}"):
        parse_arguments(["--think", word, "why?"], HOME)


@pytest.mark.parametrize("question",
                         ["why?", "hi", "one", "of", "who is it", "how", "highlight this", ""])
def test_a_question_after_a_bare_flag_is_the_question(question: str) -> None:
    settings = parse_arguments(["--think", question], HOME)
    assert (settings.think, settings.prompt) == ("on", question)


@pytest.mark.parametrize(("words", "hint"), [
    (["--modle", "x"], "--model"), (["--temprature=1"], "--temperature"),
    (["--list-session"], "--list-sessions"),
    (["--exprot-session", "x"], "--export-session"), (["--qqq"], "--help")])
def test_an_option_that_is_misspelt_is_recognised(words: list[str], hint: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_arguments(words, {})
    assert hint in raised.value.hint and words[0].partition("=")[0] in raised.value.message


@pytest.mark.parametrize(("text", "tokens"),
                         [("32k", 32768), ("32K", 32768), ("1.5k", 1536), ("8192", 8192)])
def test_tokens_may_be_written_short(text: str, tokens: int) -> None:
    assert parse_arguments(["--num-ctx", text], {}).num_ctx == tokens
