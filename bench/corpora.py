"""The corpora of the context evaluation, each with its questions and the line that answers them."""

from __future__ import annotations

import glob
import os
import random
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

HERE = os.path.dirname(os.path.abspath(__file__))
QUESTIONS = os.path.join(HERE, "questions")
SKIPPED = frozenset({"test", "tests", "idlelib", "lib2to3", "turtledemo", "site-packages",
                     "__pycache__"})
SEED = 15
FIRST = ("Ada Brigitte Chidi Dmitri Elif Farid Greta Hiroshi Ines Jonas Kavya Lars Mei Nadia Omar "
         "Pilar Quentin Rosa Sven Tomas Ulrike Viktor Wanda Yusuf Zeynep").split()
LAST = ("Abara Bergman Costa Dvorak Eriksen Fontaine Gruber Haddad Ivanov Jansen Kowalski "
        "Lindqvist Moreau Novak Okafor".split())
TOWNS = ("Aarhus Bilbao Cork Dresden Espoo Florence Ghent Haifa Izmir Jena Krakow Lyon Malmo "
         "Nantes Oulu Porto".split())


@dataclass(frozen=True, slots=True)
class Question:
    """A question as a user would ask it; one line of `file` contains `answer`.

    Every second one of the first sets, and all of the later ones, are held out (`apart`).
    """

    text: str
    file: str
    answer: str
    apart: bool = False


@dataclass(frozen=True, slots=True)
class Corpus:
    """`dropped` are the questions whose answer is no longer in its file."""

    name: str
    root: str
    questions: tuple[Question, ...]
    dropped: tuple[Question, ...] = ()


def written(name: str) -> Iterator[Question]:
    """The questions of a file, with tabs between question, file and answer, and those of the file
    NAME-apart.tsv beside it, which are all held out.
    """
    for kind in ("", "-apart"):
        path = os.path.join(QUESTIONS, f"{name}{kind}.tsv")
        if kind and not os.path.exists(path):
            continue
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file):
                text, place, answer = line.rstrip("\n").split("\t")
                yield Question(text, place, answer, bool(kind) or number % 2 == 1)


def save(root: str, name: str, text: str) -> None:
    path = os.path.join(root, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def project(root: str, questions: str = "project") -> Iterator[Question]:
    """This repository, without the questions and the page that quotes some."""
    top = os.path.dirname(HERE)
    listed = subprocess.run(["git", "ls-files"], cwd=top, capture_output=True, text=True,
                            check=True).stdout.splitlines()
    for name in listed:
        quoted = name.startswith("bench/questions/") or name == "docs/context.md"
        if not quoted and os.path.isfile(os.path.join(top, name)):
            os.makedirs(os.path.join(root, os.path.dirname(name)), exist_ok=True)
            shutil.copyfile(os.path.join(top, name), os.path.join(root, name))
    return written(questions)


def answers(root: str) -> Iterator[Question]:
    """The same with other questions, which a model answers."""
    return project(root, "answers")


def library(root: str) -> Iterator[Question]:
    """Python's standard library, without its tests."""
    top = sysconfig.get_paths()["stdlib"]
    for folder, folders, names in os.walk(top):
        folders[:] = sorted(name for name in folders
                            if name not in SKIPPED and not name.startswith("config-"))
        for name in names:
            if name.endswith(".py"):
                place = os.path.join(root, os.path.relpath(folder, top))
                os.makedirs(place, exist_ok=True)
                shutil.copyfile(os.path.join(folder, name), os.path.join(place, name))
    return written("library")


def documentation(root: str) -> Iterator[Question]:
    """The descriptions of the installed packages."""
    for path in sorted(
            glob.glob(os.path.join(sysconfig.get_paths()["purelib"], "*.dist-info", "METADATA"))):
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read().partition("\n\n")[2]
        if text.strip():
            save(root, f"{os.path.basename(os.path.dirname(path)).partition('-')[0]}/README.md",
                 text)
    return written("documentation")


# ---- logs

NOISE = ("INFO  http.server GET /orders/{n} 200 in {m} ms",
         "INFO  worker.pool job {n} done in {m} ms",
         "DEBUG cache.store key user:{n} hit after {m} us",
         "INFO  scheduler tick {n}, {m} jobs waiting",
         "WARN  http.server slow request /search?page={n}: {m} ms",
         "INFO  auth.session user {n} signed in from 10.0.{m}.7",
         "DEBUG db.pool connection {n} returned, {m} in use",
         "INFO  mail.queue message {n} sent to relay{m}")
EVENTS = (
    ("ERROR billing.charge invoice {n} rejected by the issuer: card expired",
     "why could invoice {n} not be charged?"),
    ("ERROR storage.volume /srv/data on {h} is full, writes are refused",
     "which message came when {h} ran out of disk space?"),
    ("ERROR import.csv line {n} has 7 columns, 9 expected; upload by {p} aborted",
     "why was the upload of {p} aborted?"),
    ("WARN  tls.certificate of {h} expires in 3 days",
     "is any certificate of {h} about to expire?"),
    ("ERROR worker.pool job {n} killed by the kernel: out of memory", "what killed job {n}?"),
    ("ERROR auth.session account {p} locked after 5 wrong passwords",
     "why can {p} not log in any more?"),
    ("WARN  replication standby {h} is 912 seconds behind the primary",
     "how far behind is the standby {h}?"),
    ("ERROR deploy.release 4.{m}.0 rolled back: health check of {h} answered 503",
     "why was the release rolled back on {h}?"),
)


def logs(root: str) -> Iterator[Question]:
    """Logs of twelve services with 3,000 lines and two rare events each."""
    dice = random.Random(SEED)
    for number in range(12):
        service = ("web", "billing", "import", "auth", "search", "mail")[number % 6]
        name = f"logs/{service}-{number:02d}.log"
        lines = [dice.choice(NOISE).format(n=dice.randrange(10_000, 99_999),
                                           m=dice.randrange(1, 250)) for _ in range(3_000)]
        asked = []
        for turn in range(2):
            event, question = EVENTS[(number * 2 + turn) % len(EVENTS)]
            person = f"{FIRST[(number * 2 + turn) % 25].lower()}.{dice.choice(LAST).lower()}"
            words = {"n": 10_000 + number * 7_111 + turn, "m": number, "p": person,
                     "h": f"node-{number:02d}{'ab'[turn]}"}
            lines[dice.randrange(3_000)] = event.format(**words)
            asked.append(Question(question.format(**words), name, event.format(**words), turn == 1))
        stamped = [
            f"2026-03-{1 + place // 400:02d}T{place % 24:02d}:{place % 60:02d}:{place % 59:02d}Z "
            f"{line}"
            for place, line in enumerate(lines)]
        save(root, name, "\n".join(stamped) + "\n")
        yield from asked


# ---- tables

def tables(root: str) -> Iterator[Question]:
    """CSV files and Markdown tables of customers, stock and flights,
    with the questions about rows.
    """
    dice = random.Random(SEED + 1)
    for number in range(10):
        kind = ("customers", "stock", "flights")[number % 3]
        markdown = number % 4 == 3
        header, rows, ask = MAKERS[kind](dice, 1_200)
        name = f"tables/{kind}-{number}.{'md' if markdown else 'csv'}"
        if markdown:
            text = "\n".join(f"| {' | '.join(row)} |"
                             for row in (header, ["---"] * len(header), *rows))
        else:
            text = "\n".join(",".join(row) for row in (header, *rows))
        save(root, name, text + "\n")
        for turn, row in enumerate(dice.sample(rows, 3)):
            yield Question(ask(row, turn), name, (" | " if markdown else ",").join(row),
                           turn == 1 or number % 2 == 0 and turn == 2)


Rows = tuple[list[str], list[list[str]], Callable[[Sequence[str], int], str]]


def customers(dice: random.Random, count: int) -> Rows:
    rows = [[f"C{dice.randrange(10**6):06d}", f"{dice.choice(FIRST)} {dice.choice(LAST)}",
             dice.choice(TOWNS),
             f"+{dice.randrange(30, 60)} {dice.randrange(10**8, 10**9)}",
             str(dice.randrange(0, 9_000))] for _ in range(count)]
    return (["id", "name", "city", "phone", "balance"], rows,
            lambda row,
            turn: (f"what is the phone number of {row[1]} in {row[2]}, customer {row[0]}?",
                   f"how much does customer {row[0]} owe?", f"who has the number {row[3]}?")[turn])


def stock(dice: random.Random, count: int) -> Rows:
    things = "bolt hinge valve washer bracket gasket spring pulley bearing clamp".split()
    rows = [[f"{dice.choice('KLMNP')}{dice.randrange(10**5):05d}",
             f"{dice.choice(('steel', 'brass', 'nylon'))} {dice.choice(things)}",
             f"{dice.randrange(2, 90)} mm", str(dice.randrange(0, 4_000)),
             f"shelf {dice.randrange(1, 400)}"] for _ in range(count)]
    return (["part", "description", "size", "quantity", "place"], rows,
            lambda row,
            turn: (f"how many of part {row[0]} are left?", f"on which shelf is {row[0]}?",
                   f"what is {row[0]} and how large is it?")[turn])


def flights(dice: random.Random, count: int) -> Rows:
    rows = [[f"{dice.choice(('SK', 'LH', 'TP'))}{dice.randrange(10**4):04d}", dice.choice(TOWNS),
             dice.choice(TOWNS),
             f"{dice.randrange(24):02d}:{dice.randrange(60):02d}",
             f"gate {dice.choice('ABCD')}{dice.randrange(1, 60)}"]
            for _ in range(count)]
    return (["flight", "from", "to", "departure", "gate"], rows,
            lambda row, turn: (f"when does flight {row[0]} leave?",
                               f"from which gate does {row[0]} to {row[2]} go?",
                               f"where does {row[0]} fly to?")[turn])


MAKERS: dict[str, Callable[[random.Random, int], Rows]] = {"customers": customers, "stock": stock,
                                                           "flights": flights}


# ---- chats

TALK = (
    ("The build on the {t} runner failed again because the lock file was stale; deleting {f} "
     "fixed it.",
     "how did we repair the broken build of the {t} runner?"),
    ("We settled on {t} for the retreat, from the {n}th of June, since {p} knows a cheap place "
     "there.",
     "where and when is the retreat that {p} organizes?"),
    ("For {p}'s cake: {n} g of flour, four eggs, and bake it for {m} minutes at 170 degrees.",
     "how long does the cake of {p} stay in the oven?"),
    ("The query got quick once we added an index on {f}(created_at); it went from {m} s to 40 ms.",
     "what made the slow query over {f} faster?"),
    ("{p} wants the contract ended by the end of the month, with {n} days' notice to the {t} "
     "office.",
     "what notice does {p}'s contract have?"),
    ("The sensor in {t} reads {m} degrees too high; subtract that before you plot anything.",
     "by how much is the thermometer at {t} off?"),
)
SMALL_TALK = ("Could you look at the {t} numbers again?",
              "Sure, give me a minute. I think {p} already did half of it.",
              "What would you recommend for a beginner?",
              "It depends on how much time you have each week.",
              "Thanks, that helps a lot!",
              "Let me summarise: the {f} part is done and the rest waits for {p}.",
              "Is there a shorter way to write this?",
              "Yes: use a comprehension, and keep the loop for the side effects.",
              "I talked to {p} about the trip to {t}; nothing is decided yet.",
              "Then let us wait until {t} answers.")


def chats(root: str) -> Iterator[Question]:
    """Eighty exported chats of 60 messages, a fact in every third one."""
    dice = random.Random(SEED + 2)
    nouns = "ledger parcels visits beacons quotas drafts tickets signals".split()
    for number in range(80):
        def said(text: str) -> str:
            return text.format(t=dice.choice(TOWNS), p=dice.choice(FIRST), f=dice.choice(nouns))
        lines = [said(dice.choice(SMALL_TALK)) for _ in range(60)]
        name = f"chats/2026-{1 + number % 9:02d}-{1 + number % 28:02d} chat {number}.md"
        if number % 3 == 0:
            turn = number // 3
            fact, question = TALK[turn % len(TALK)]
            words = {"t": TOWNS[turn % 16], "p": FIRST[(turn * 7) % 25],
                     "f": f"{nouns[turn % 8]}_{turn}", "n": 14 + turn,
                     "m": 31 + turn}
            lines[dice.randrange(60)] = fact.format(**words)
            yield Question(question.format(**words), name, fact.format(**words), turn % 2 == 1)
        save(root, name, "".join(f"**{('User', 'Assistant')[place % 2]}:**\n{line}\n\n"
                                 for place, line in enumerate(lines)))


KINDS: dict[str, Callable[[str], Iterator[Question]]] = {
    "project": project, "library": library, "documentation": documentation, "logs": logs,
    "tables": tables, "chats": chats}


LAID_OUT = {**KINDS, "answers": answers}


def make_corpus(name: str, root: str) -> Corpus:
    """Lay the corpus out below `root`.

    A question whose answer is no longer in its file is dropped.
    """
    place = os.path.join(root, name)
    os.makedirs(place, exist_ok=True)
    asked = list(LAID_OUT[name](place))
    dropped = tuple(question for question in asked if not is_answered(place, question))
    return Corpus(name, place, tuple(question for question in asked if question not in dropped),
                  dropped)


def is_answered(root: str, question: Question) -> bool:
    """Whether the answer is in its file below `root`."""
    try:
        with open(os.path.join(root, question.file), encoding="utf-8") as file:
            return question.answer in file.read()
    except OSError:
        return False
