"""The pictures of the documentation are up to date; `make pictures` recreates them."""

from __future__ import annotations

import re
from html import unescape
from xml.etree import ElementTree

import pytest

from docs.make_pictures import PICTURES, RECORDED, SCENES, animated, still, text_of

SVG = "{http://www.w3.org/2000/svg}"


def described(name: str) -> str:
    """The text of the screen that a picture shows."""
    text = (PICTURES / f"{name}.svg").read_text(encoding="utf-8")
    # every picture has one
    return unescape(re.search(r"<desc>(.*?)</desc>", text, re.DOTALL)[1])  # type: ignore[index]


@pytest.mark.processes
@pytest.mark.parametrize("name", sorted(SCENES))
def test_a_picture_shows_the_screen_as_it_is_now(name: str) -> None:
    shown = text_of(still(name))
    assert described(name) == shown, "run `make pictures`"
    if name == RECORDED:
        assert described("chat") == shown, "run `make pictures`"


@pytest.mark.parametrize("name", [*sorted(SCENES), "chat"])
def test_a_picture_can_be_read(name: str) -> None:
    root = ElementTree.parse(PICTURES / f"{name}.svg").getroot()
    assert root.find(f"{SVG}title").text  # type: ignore[union-attr]  # it has one
    words = {" ".join((text.text or "").split()) for text in root.iter(f"{SVG}text")}
    assert {"\u203a"} & {word[:1] for word in words}


def test_frames_are_shown_one_after_the_other() -> None:
    from docs.make_pictures import Run
    row, other = (Run(0, "one", "#fff", False),), (Run(0, "<two>", "#fff", True),)
    text = animated([(0.0, (row, ())), (1.0, (row, other))], "t")
    assert (text.count(">one<") == 1 and text.count("&lt;two&gt;") == 2
            and text.count('href="#r0"') == 2)
    assert "@keyframes f0{0%{visibility:hidden}0.000%{visibility:visible}20.000%,100%{visibility:hidden}}" in text
    ElementTree.fromstring(text)
