"""Invalid summaries of small models are detected; real summaries are not rejected."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from core.messages import Message, Text, user_message
from core.window.summary_check import fault_of_summary

ROOT = Path(__file__).resolve().parent.parent.parent
NOBODY = (
    "I'm ready to help. What's the user's request?",
    "Sure! How can I help you today?",
    "Hello! I am an assistant. Please tell me what you would like to know, and I will do my best "
    "to answer it for you.",
    "Please provide the conversation that you would like me to summarise, and I will write a "
    "summary of it right away.",
    "Here is a summary of the conversation.",
    "The user and the assistant talked about several topics. The assistant answered all of the "
    "questions in a helpful way.",
    "As a language model I do not have access to earlier conversations, so there is nothing here "
    "that can be summed up.",
    "OK.", "I", "\u597d\u7684\u3002",
    "Bonjour ! Comment puis-je vous aider aujourd'hui ? Dites-moi ce que vous voulez savoir, s'il "
    "vous pla\u00eet.",
)
PAGES = sorted((ROOT / "docs").glob("*.md"))


def talk(sentences: list[str]) -> list[Message]:
    return [message for place in range(0, len(sentences) - 1, 2)
            for message in (user_message(sentences[place]),
                            Message("assistant", (Text(sentences[place + 1]),)))]


def sentences_of(page: Path) -> list[str]:
    text = " ".join(line for line in page.read_text(encoding="utf-8").split("\n")
                    if line and line[0].isalpha())
    return [sentence.strip() + "." for sentence in text.split(". ") if 40 < len(sentence) < 400]


@pytest.mark.parametrize("answer", NOBODY, ids=range(len(NOBODY)))
def test_an_answer_to_nobody_is_not_a_summary(answer: str) -> None:
    for page in PAGES:
        sentences = sentences_of(page)
        if len(sentences) >= 12:
            assert fault_of_summary(answer, talk(sentences[:30])), page.name


def test_what_a_conversation_says_is_a_summary_of_it_and_of_no_other() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance, refused, other, tries = random.Random(seed), 0, 0, 0
    pages = [sentences for page in PAGES if len(sentences := sentences_of(page)) >= 24]
    for _ in range(300):
        sentences = chance.choice(pages)
        start = chance.randrange(len(sentences) - 20)
        said = sentences[start:start + 20]
        summary = " ".join(chance.sample(said, chance.randint(4, 7)))
        refused += bool(fault_of_summary(summary, talk(said)))
        words = chance.sample(WORDS, 30)
        other += bool(fault_of_summary(f"They spoke about {' and '.join(words)}.", talk(said)))
        tries += 1
    assert refused <= tries // 100 and other == tries, (refused, other)


def test_a_short_conversation_is_not_judged() -> None:
    assert fault_of_summary("A summary.",
                            talk(["hello there", "hello", "how are you?", "fine"])) == ""


def test_names_and_numbers_are_kept() -> None:
    said = talk(["Kara Weiss ordered 4711 valves in Bremen, and Kara wants them on 2031-05-14.",
                 "I noted that Kara Weiss ordered 4711 valves in Bremen for 2031-05-14, with "
                 "core/valves.py as the source.",
                 "Does core/valves.py say who pays in Bremen?",
                 "It says that Weiss pays the whole amount in advance there."] * 3)
    assert fault_of_summary("Someone ordered valves in advance and wants them noted; the whole "
                            "amount pays the source.", said) \
        == "keeps none of the names and numbers"
    assert fault_of_summary("Kara Weiss ordered 4711 valves in Bremen and pays the whole amount in "
                            "advance, says the source.",
                            said) == ""


def test_a_script_without_spaces() -> None:
    said = talk(["潮汐表说高潮是下午四点，我们的船停在东边的码头。", "我记下了：高潮四点，船在东码头，巴额来开船。"] * 3)
    assert fault_of_summary("高潮是下午四点，船在东码头，巴额来开船。", said) == ""
    assert fault_of_summary("您好！请问有什么可以帮助您？", said)


WORDS = ("zither yodel xylem wombat vortex unicorn truffle sphinx rhubarb quokka papaya ocelot "
         "nutmeg marzipan lacquer kumquat juniper iguana hyacinth gargoyle falafel emerald dervish "
         "cypress baboon aardvark lichen mollusc nougat osprey pumice quartz raccoon sorrel "
         "tapioca").split()


def test_of_a_short_conversation_something_must_be_kept() -> None:
    """The same few words in every turn do not make a greeting a summary."""
    said = talk(["Ottoline counts crates?",
                 "Harbour master Vex counted 4711 crates in Zubrowka yesterday."] * 8)
    for answer in NOBODY:
        assert fault_of_summary(answer, said) == "contains nothing of the conversation", answer
    for answer in ("Vex counted 4711 crates.", "The question was what Ottoline counted: crates."):
        assert not fault_of_summary(answer, said)
    assert not fault_of_summary("Greetings.", talk(["Hi!", "Hello."] * 8))
