"""Quotations are checked: changed ones never pass, true ones always do, whatever their spacing and
typography.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from core.context.quotes import Material, check_answer

ROOT = Path(__file__).resolve().parent.parent.parent
NAMES = ("docs/reliability.md", "docs/context.md", "docs/security.md", "docs/tools.md",
         "docs/providers.md", "README.md")
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in NAMES}
MATERIALS = [Material(name, text) for name, text in TEXTS.items()]
SEED = int(os.environ.get("STREAM_CHAT_TEST_SEED", "0")) or random.randrange(1 << 30)
# marks that would end or change a quotation
CLEAN = set('"*`>|\u201c\u201d\u201e\u00ab\u00bb\u2018\u2019\u2026[]#')


def some_quote(luck: random.Random) -> tuple[str, str, int]:
    """Five to fourteen words of one line, the file and the line."""
    while True:
        name = luck.choice(NAMES)
        lines = TEXTS[name].split("\n")
        number = luck.randrange(len(lines))
        words = lines[number].split()
        if len(words) < 6:
            continue
        size = luck.randint(5, min(14, len(words)))
        start = luck.randrange(len(words) - size + 1)
        quote = " ".join(words[start:start + size])
        if (not set(quote) & CLEAN and "..." not in quote and quote[0].isalnum()
            and quote[-1].isalnum()):
            return quote, name, number + 1


def typeset(luck: random.Random, quote: str) -> str:
    """The same words with different spacing and typography."""
    changed = "".join(luck.choice(("  ", " ", "\u00a0", " \u2009")) if char == " " else
                      luck.choice("\u2019'") if char == "'" else
                      luck.choice("\u2013-\u2010") if char == "-" else char for char in quote)
    return changed.replace("fi", "\ufb01", 1) if luck.random() < 0.2 else changed


@pytest.mark.parametrize("part", range(4))
def test_true_quotes_pass(part: int) -> None:
    luck = random.Random(SEED + part)
    print("seed", SEED)
    for _ in range(250):
        quote, name, line = some_quote(luck)
        opening, closing = luck.choice(("\u201c\u201d", '""', "\u00ab\u00bb", "\u201e\u201c"))
        place = luck.choice(("", f" ({name}:{line})", f" ({name}, line {line})",
                             f" (`{name}`:{line})"))
        checked = check_answer(f"As it says: {opening}{typeset(luck, quote)}{closing}{place}. So "
                               "it is.", MATERIALS)
        assert checked.count >= 1 and not checked.problems, (quote, checked.problems)
    print("\ncounted: 250 true quotations")


def changed_word(luck: random.Random, quote: str) -> str:
    words = quote.split()
    at = luck.randrange(len(words))
    how = luck.randrange(4)
    if how == 0:
        words[at] = luck.choice(("never", "zebra", "47", "not"))
    elif how == 1:
        words.insert(at, "not")
    elif how == 2:
        words[at] = words[at] + "s"
    else:
        words[at] = words[at][:-1] or "x"
    return " ".join(words)


def joined(luck: random.Random, quote: str) -> str:
    other, _, _ = some_quote(luck)
    return f"{quote} {other}"


@pytest.mark.parametrize("part", range(4))
def test_changed_quotes_do_not_pass(part: int) -> None:
    luck = random.Random(SEED + part)
    print("seed", SEED)
    tried = 0
    while tried < 250:
        quote, name, line = some_quote(luck)
        how = luck.randrange(3)
        if how == 0:
            quote = changed_word(luck, quote)
        elif how == 1:
            quote = joined(luck, quote)
        else:
            name = luck.choice([each for each in NAMES if each != name])
        if any(" ".join(quote.split()) in " ".join(text.split()) for text in
               ([TEXTS[name]] if how == 2 else TEXTS.values())):
            continue        # the change made another true quotation
        tried += 1
        place = f" ({name}:{line})" if how == 2 else luck.choice(("", f" ({name}:{line})"))
        checked = check_answer(f"It says \u201c{quote}\u201d{place}.", MATERIALS)
        assert checked.problems, (quote, name)
    print("\ncounted: 250 changed quotations")


def test_what_is_said_of_it() -> None:
    notes = Material("notes.md", "one\nThe lock is held while a turn runs.\nthree\n")
    other = Material("other.md", "Nothing of the kind is written here at all.\n")

    def said(answer: str) -> str:
        return check_answer(answer, [notes, other]).line
    assert said("\u201cThe lock is held while a turn runs.\u201d (notes.md:2)") == \
        "1 reference to the attached files checked: correct."
    assert said("\u201cThe lock is lost while a turn runs\u201d (notes.md:2)") == \
        "0 of 1 reference found; \u201cThe lock is lost while a turn runs\u201d is not in notes.md (line 2 differs)."
    assert ("is in line 2 of notes.md, not in line 3"
            in said('"The lock is held while a turn runs" (notes.md, line 3)'))
    assert ("is not in notes.md but in other.md"
            in said('notes.md says "Nothing of the kind is written here"'))
    assert ("is not in the attached files"
            in said("> Someone else said this in another book.\n\nSo there."))
    assert (said("See notes.md:88 and other.md:1.") == "1 of 2 references found; notes.md has 3 "
            "lines, not 88.")


def test_what_is_no_quotation_is_not_checked() -> None:
    for answer in ('Use the "lock" here.', "```\nprint(\"The lock is gone for good now\")\n```",
                   "It isn't, and that's it, isn't it?", "notes.md is the file."):
        assert check_answer(answer, [Material("notes.md", "text\n")]).count == 0, answer


def test_parts_around_an_ellipsis_follow_each_other() -> None:
    material = Material("a.md", "First we stop the server. Then we wait for it. Last we start it "
                        "again.\n")
    assert not check_answer("\u201cFirst we stop the server \u2026 start it again\u201d",
                            [material]).problems
    assert not check_answer("\u201cFirst we stop the server [...] start it again\u201d",
                            [material]).problems
    assert check_answer("\u201cLast we start it again \u2026 we stop the server\u201d",
                        [material]).problems
