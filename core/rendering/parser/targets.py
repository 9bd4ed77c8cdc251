"""Parses link targets, addresses in text, labels, HTML tags and entities."""

from __future__ import annotations

import re

from core.regex import regex
from core.rendering.parser.operations import END, Span

_INNER = r"(?:[^ \t\n()\\]|\\[^ \t\n]|\\(?=[ \t\n])|\([^ \t\n()\\]*\))*"
_URL = rf"(?!<)(?:[^ \t\n()\\]|\\[^ \t\n]|\\(?=[ \t\n])|\({_INNER}\))*"
_ANGLE = r"<(?:[^<>\n\\]|\\.)*"
_TITLES = (r'"(?:[^"\\]|\\.)*', r"'(?:[^'\\]|\\.)*", r"\((?:[^()\\]|\\.)*")
_TITLE = "|".join(f"{title}{end}" for title, end in zip(_TITLES, ('"', "'", r"\)")))
_TITLE_SO_FAR = "|".join(rf"{title}(?:\\|{end}[ \t\n]*)?"
                         for title, end in zip(_TITLES, ('"', "'", r"\)")))
_SPACE = r"[ \t\n]"
LINK_TARGET = regex(
    rf"\({_SPACE}*(?:<(?P<angle>{_ANGLE[1:]})>|(?P<url>{_URL}))"
    rf"(?:{_SPACE}+(?:{_TITLE}))?{_SPACE}*\)", re.DOTALL)
LINK_TARGET_SO_FAR = regex(
    rf"\({_SPACE}*(?:{_ANGLE}\\?|{_URL}(?:\\|\({_INNER}(?:\\|\([^ \t\n()\\]*)?)?|"
    rf"(?:{_ANGLE}>|{_URL}){_SPACE}*(?:(?<={_SPACE})(?:{_TITLE_SO_FAR}))?)", re.DOTALL)
_ADDRESS = regex(r"[^\s<>。，、；：！？（）【】《》「」]+")
_AUTOLINK = regex(r"<([A-Za-z][A-Za-z0-9+.-]{1,31}:[^\s<>]*)>")
_MAIL = regex(r"<([\w.!#$%&'*+/=?^`{|}~-]+@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)>", re.ASCII)
_BREAK = regex(r"<br[ \t]*/?>\n?", re.IGNORECASE)
_HTML = regex(
    r"<(?:[A-Za-z][A-Za-z0-9-]*(?:\s+[A-Za-z_:][\w.:-]*(?:\s*=\s*(?:[^\s\"'=<>`]+|'[^']*'"
    r"|\"[^\"]*\"))?)*\s*/?|/[A-Za-z][A-Za-z0-9-]*\s*|\?.*?\?|![A-Za-z][^>]*|!--.*?--"
    r"|!\[CDATA\[.*?\]\])>", re.DOTALL)
_ESCAPE = regex(
    r"\\([!-/:-@\[-`{-~])|&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_TRAILING_ENTITY = regex(r"&[A-Za-z0-9]+;\Z")


def find_html(text: str, pos: int, end: int) -> tuple[Span, int] | None:
    """(span, end) of an address in angle brackets, a line break, or a tag, which is shown as text;
    None without one.
    """
    for pattern, scheme in ((_AUTOLINK, ""), (_MAIL, "mailto:")):
        link = pattern.match(text, pos, end)
        if link:
            return Span(link[1], END, scheme + link[1]), link.end()
    line_break = _BREAK.match(text, pos, end)
    if line_break:
        return Span("\n"), line_break.end()
    tag = _HTML.match(text, pos, end)
    return (Span(tag.group().replace("\n", " ")), tag.end()) if tag else None


def find_address(text: str, pos: int, end: int) -> tuple[str, int]:
    """(address at `pos` without the punctuation after it, end of the run of characters)."""
    match = _ADDRESS.match(text, pos, end)
    run = match.group() if match else ""
    address = run
    while address:
        last = address[-1]
        if address.endswith("/*") and text[pos - 1:pos] != "*":
            break
        if last in "?!.,:*_~'\"":
            address = address[:-1]
        elif last == ")" and address.count(")") > address.count("("):
            address = address[:-1]
        elif last == ";" and _TRAILING_ENTITY.search(address):
            address = address[:address.rindex("&")]
        elif last in ";]}\u3002\uff0c\uff09\u3001\uff1b":
            address = address[:-1]
        else:
            break
    return address, pos + len(run)


def normal_label(label: str) -> str:
    return " ".join(label.split()).casefold()


def unescaped(text: str) -> str:
    """The text with backslash escapes and entities resolved."""
    if "&" not in text and "\\" not in text:
        return text
    from html import unescape
    return _ESCAPE.sub(lambda match: match[1] or unescape(match.group()), text)
