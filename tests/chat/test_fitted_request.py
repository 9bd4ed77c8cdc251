"""Attachments stay in place from question to question, so that a provider's prompt cache is used.
"""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from core.chat.fitted_request import Fitted, fit_request
from core.context.restoring import sent_items
from core.context.shown import with_attached
from core.context_loader import ContextSet
from core.messages import Attached, Message, Text, user_message
from core.providers import Endpoint, Request
from core.providers.hosts import find_host
from core.providers.openai_request import request_body
from core.store.message_json import message_from_dict, message_to_dict
from core.window.tokens import TokenEstimator

WORDS = ("harbour tide valve engine lantern meadow quarry orchard turbine ledger compass anchor "
         "furnace gallery saddle bridge canyon dynamo easel ferry glacier hammock igloo jigsaw "
         "kettle lagoon magnet nectar oyster pulley").split()


def body_of(request: Request) -> str:
    row = find_host("openai")
    assert row is not None
    return json.dumps(
        request_body(request, Endpoint(row.base_url, "k", row.name, quirks=row.quirks))["messages"])


def common(before: str, after: str) -> float:
    """The share of the earlier request with which the later one begins, without the end of its last
    message.
    """
    same = next((place for place, pair in enumerate(zip(before, after, strict=False))
                 if pair[0] != pair[1]), len(before))
    return min(1.0, same / (len(before) - 3))


class Talk:
    """A conversation in which attachments stay with their questions, as in a chat."""

    def __init__(self, root: Path, window: int = 32_768) -> None:
        self.estimator, self.window = TokenEstimator(), window
        self.context = ContextSet(root=str(root), estimator=self.estimator)
        self.messages: list[Message] = []
        self.bodies: list[str] = []

    def ask(self, question: str, answer: str = "It is so.") -> Fitted:
        self.messages.append(user_message(question))
        request = Request("m", tuple(self.messages), "Be brief.")
        fitted = asyncio.run(fit_request(request, self.window, self.estimator,
                                         context=self.context))
        if fitted.question is not None:
            self.messages[-1] = fitted.question
        self.bodies.append(body_of(fitted.request))
        self.messages.append(Message("assistant", (Text(answer),), "m", None, "stop"))
        assert self.estimator.request(fitted.request) <= self.window - fitted.budget.reserve
        return fitted

    def add(self, source: str) -> None:
        asyncio.run(self.context.add(source))


def library(root: Path, files: int, lines: int) -> None:
    """Files with one subject and many lines each; the number in one line occurs only there."""
    chance = random.Random(5)
    for number in range(files):
        word = WORDS[number % len(WORDS)]
        rows = [f"{' '.join(chance.choices(WORDS, k=9))} {chance.random()}" for _ in range(lines)]
        rows[lines // 2] = f"The {word} number{number} is kept at place {number * 7919}."
        (root / f"{word}{number}.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")


@pytest.mark.parametrize("window", [32_768, 131_072])
def test_questions_about_other_files_keep_the_beginning(tmp_path: Path, window: int) -> None:
    library(tmp_path, 120, 60)
    talk = Talk(tmp_path, window)
    talk.add(".")
    shares = []
    for number in range(8):
        fitted = talk.ask(f"At which place is the {WORDS[number * 3]} number{number * 3} kept?")
        assert any(f"place {number * 3 * 7919}." in message.text
                   for message in fitted.request.messages)
        if number:
            shares.append(common(talk.bodies[-2], talk.bodies[-1]))
    kept = [share for share in shares if share == 1.0]
    assert shares[0] == 1.0 and len(kept) >= len(shares) // 2, shares


def test_a_question_about_the_same_adds_nothing(tmp_path: Path) -> None:
    library(tmp_path, 10, 20)
    talk = Talk(tmp_path)
    talk.add(".")
    for question in ("Where is the tide kept?", "Why is that?", "And the valve?", "Thank you."):
        talk.ask(question)
    assert all(common(*pair) == 1.0 for pair in zip(talk.bodies, talk.bodies[1:], strict=False))
    assert talk.bodies[-1].count("The user attached") == 1


def test_what_is_attached_later_goes_before_its_question(tmp_path: Path) -> None:
    library(tmp_path, 3, 20)
    (tmp_path / "late.md").write_text("The late word is quince.\n", encoding="utf-8")
    talk = Talk(tmp_path)
    talk.add("harbour0.txt")
    talk.ask("Where is the harbour?")
    talk.add("late.md")
    fitted = talk.ask("What is the late word?")
    assert common(*talk.bodies) == 1.0
    assert ("quince" in fitted.request.messages[2].text
            and "quince" not in fitted.request.messages[0].text)
    assert fitted.notices[0].startswith("context: 2 of 2 files")


def test_what_is_taken_out_is_not_sent_any_more(tmp_path: Path) -> None:
    library(tmp_path, 3, 20)
    talk = Talk(tmp_path)
    talk.add("harbour0.txt")
    talk.add("tide1.txt")
    talk.ask("Where is the harbour?")
    talk.context.drop("tide1.txt")
    sent = "\n".join(message.text for message in talk.ask("And now?").request.messages)
    assert "harbour0.txt" in sent and "tide1.txt" not in sent
    talk.context.drop("harbour0.txt")
    assert "harbour0.txt" not in "".join(message.text
                                         for message in talk.ask("And now?").request.messages)


def test_a_long_text_that_changed_is_sent_again_and_the_old_one_is_disowned(tmp_path: Path) -> None:
    library(tmp_path, 4, 200)
    talk = Talk(tmp_path, 65_536)
    talk.add(".")
    talk.ask("Where is the harbour?")
    path = tmp_path / "harbour0.txt"
    path.write_text(path.read_text(encoding="utf-8")
                    .replace("is kept at place 0.", "is kept at place 31."), encoding="utf-8")
    fitted = talk.ask("At which place is the harbour number0 kept?")
    last = fitted.request.messages[-1].text
    assert common(*talk.bodies) == 1.0 and "place 31." in last
    assert "do not rely on the earlier text: harbour0.txt." in last
    assert "harbour0.txt has changed since it was sent" in fitted.notices
    assert "changed" not in " ".join(talk.ask("Thank you.").notices)


def test_a_full_window_is_filled_anew_and_then_stays(tmp_path: Path) -> None:
    library(tmp_path, 60, 60)
    talk = Talk(tmp_path, 8_192)
    talk.add(".")
    fresh = []
    for number in range(12):
        fitted = talk.ask(f"At which place is the {WORDS[number]} number{number} kept?",
                          "word " * 60)
        assert any(f"place {number * 7919}." in message.text
                   for message in fitted.request.messages), number
        last = fitted.question and fitted.question.parts[0]
        fresh.append(isinstance(last, Attached) and last.anew)
    assert any(fresh) and not all(fresh[1:])
    assert sum("The user attached" in message.text for message in fitted.request.messages) <= 5


def random_text(chance: random.Random) -> str:
    alphabet = "ab <>/\"'\t\n\n0123456789 source-=.é\u4e2d\x1b"
    return "".join(chance.choices(alphabet, k=chance.randrange(400)))


def test_what_was_sent_can_be_read_back(tmp_path: Path) -> None:
    """Complete and partial texts with marks, quotes and tabs can be read back from messages and
    their JSON.
    """
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for round_number in range(60):
        text = random_text(chance)
        if not text.strip():
            continue
        name = chance.choice(("a.txt", "b.md", 'c"d.py', "data.csv"))
        (tmp_path / name).write_text(text, encoding="utf-8", newline="")
        talk = Talk(tmp_path)
        talk.add(f"'{name}'" if '"' in name else name)
        talk.ask("What is this?")
        stored = [message_from_dict(json.loads(json.dumps(message_to_dict(message))))
                  for message in talk.messages]
        assert stored == talk.messages
        found, = sent_items(stored, [talk.context.sources[0].name])
        assert (found.text or "").rstrip("\n") == text.rstrip("\n"), (seed, round_number)


def test_parts_that_were_sent_keep_their_lines(tmp_path: Path) -> None:
    rows = [f"line {number} has the words of nothing" for number in range(1, 3_001)]
    rows[1_999] = "the wanted quince stands here"
    (tmp_path / "long.txt").write_text("\n".join(rows), encoding="utf-8")
    talk = Talk(tmp_path, 4_096)
    talk.add("long.txt")
    talk.ask("where is the wanted quince?")
    found, = sent_items(talk.messages, ["long.txt"])
    assert ((found.text or "").split("\n")[1_999] == rows[1_999]
            and "of its 3,000 lines are known" in found.note)


def test_marks_of_material_are_not_the_users_words() -> None:
    message = with_attached(user_message("hello"), Attached("MATERIAL"))
    assert message.text == "hello"
    assert replace(message, parts=message.parts[1:]) == user_message("hello")
