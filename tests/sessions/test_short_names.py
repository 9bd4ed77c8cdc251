"""Sessions can be opened by their last letters."""

from __future__ import annotations

import random
import re

from core.store.identity import new_session_name, short_name, short_names
from tests.pseudo_terminal import CTRL_D, Terminal

Environment = dict[str, str]


def test_only_names_of_ours_are_shortened() -> None:
    assert short_name("20261121-0412-k3f9") == "k3f9"
    for other in ("", "k3f9", "20261121-0412-k3f9x", "20261121-0412", "2026112x-0412-k3f9",
                  "my-own-name", "20261121-0412-k3f9-2", "01hf-abcd-ef23"):
        assert short_name(other) == other


def test_those_of_a_list_are_as_long_as_they_have_to_be() -> None:
    alone, twice = "20261121-0412-k3f9", ["20261120-0100-aaaa", "20261121-0200-aaaa"]
    assert short_names([alone, *twice]) == ["k3f9", "0100-aaaa", "0200-aaaa"]
    same_minute = ["20261120-0100-aaaa", "20261121-0100-aaaa"]
    assert short_names(same_minute) == same_minute
    assert short_names([]) == []


def test_every_short_name_of_a_list_ends_one_name_alone() -> None:
    seed = random.randrange(10 ** 6)
    print("seed", seed)
    chance = random.Random(seed)
    for _ in range(50):
        names = list({f"{new_session_name(chance.random() * 2e9)[:14]}"
                      f"{''.join(chance.choices('ab', k=4))}"
                      for _ in range(chance.randint(0, 40))})
        for short, full in zip(short_names(names), names, strict=True):
            assert [name for name in names if name.endswith(short)] == [full]


def test_what_is_shown_of_a_session_opens_it(program: list[str], environment: Environment) -> None:
    with Terminal([*program, "-p", "demo"], environment, columns=200) as chat:
        chat.ask("echo one", "^one$")
        chat.send(CTRL_D)
        chat.wait(r"--session \w{4}$")
    named = re.findall(r"--session (\w{4})$", chat.text(), re.MULTILINE)
    assert f"session {named[0]}" in chat.text(), "the greeting calls it the same"
    with Terminal([*program, "--list-sessions"], environment) as listed:
        listed.wait("resumes one")
    assert re.search(rf"^id +last used .*\n.*\n{named[0]} +today .* echo one$", listed.text(),
                     re.MULTILINE)
    with Terminal([*program, "--session", named[0]], environment) as again:
        again.wait("Resumed: echo one, 2 messages")
