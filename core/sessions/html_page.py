"""Writes a session as one HTML file without scripts or external resources, for light and dark
screens and for print.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from core.messages import Attached, Image, Part, Text, Thinking, ToolCall, ToolResult
from core.rendering.page import to_html
from core.safe_text import safe_text
from core.sessions.portable import local_time
from core.store.message_json import dump
from core.store.rows import SessionRow, StoredMessage

# what browsers draw
IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp", "image/avif")
STYLE = """
:root { color-scheme: light dark; --text: #1f2328; --dim: #59636e; --line: #d1d9e0; --ground: #fff; --field: #f6f8fa;
  --mark: #0b5fae }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6edf3; --dim: #9198a1; --line: #3d444d; --ground: #0d1117; --field: #151b23; --mark: #79b8ff } }
body { margin: 0 auto; max-width: 48rem; padding: 2rem 1rem; background: var(--ground); color: var(--text);
  font: 1rem/1.6 system-ui, sans-serif; overflow-wrap: anywhere }
h1 { font-size: 1.4rem; margin: 0 } header p, .who, .remark { color: var(--dim); font-size: .875rem; margin: .25rem 0 }
article { border-top: 1px solid var(--line); padding: 1rem 0 } article.user { white-space: pre-wrap }
.who { font-weight: 600 } pre, code { font: .875rem/1.5 ui-monospace, monospace; background: var(--field); border-radius: 4px }
pre { padding: .75rem; overflow-x: auto; white-space: pre-wrap } code { padding: .1em .25em } pre code { padding: 0 }
table { border-collapse: collapse } th, td { border: 1px solid var(--line); padding: .25rem .5rem; text-align: start }
blockquote { margin: 0; padding-inline-start: 1rem; border-inline-start: 3px solid var(--line); color: var(--dim) }
details { color: var(--dim); margin: .5rem 0 } .accent { color: var(--mark) } .dim { color: var(--dim) } .bold { font-weight: 600 }
.keyword, .type { font-weight: 600 } .number, .inserted { color: var(--mark) }
.deleted { color: var(--dim) }
img { max-width: 100% }
"""


def html_pieces(session: SessionRow, messages: Iterable[StoredMessage]) -> Iterator[str]:
    title = _text(session.title)
    yield ("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
           "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
           "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src "
           "data:; style-src "
           f"'unsafe-inline'\"><title>{title}</title><style>{STYLE}</style></head><body>\n"
           f"<header><h1 dir=\"auto\">{title}</h1>"
           f"<p>{_text(session.name)} · {local_time(session.created)} · "
           f"{_text(session.model)}</p></header>\n")
    for stored in messages:
        yield _message(stored)
    yield "</body></html>\n"


def _message(stored: StoredMessage) -> str:
    message = stored.message
    who = ({"user": "You", "system": "System", "tool": "Tools"}.get(message.role) or message.model
           or "Assistant")
    remark = ("" if stored.state == "complete"
              else f"<p class=\"remark\">({_text(stored.state)})</p>")
    if stored.unreadable:
        remark += ("<p class=\"remark\">(this message cannot be read completely: "
                   f"{_text(stored.unreadable)})</p>")
    parts = "".join(_part(part, message.role) for part in message.parts)
    return (f"<article class=\"{message.role}\" dir=\"auto\"><p class=\"who\">{_text(who)} "
            f"<time>{local_time(stored.created)}</time></p>{parts}{remark}</article>\n")


def _part(part: Part, role: str) -> str:
    match part:
        case Text(text) if role == "assistant":
            return to_html(text)
        case Text(text):
            return f"<div>{_text(text)}</div>"
        case Thinking(text):
            return (f"<details><summary>Thinking</summary><pre>{_text(text)}</pre></details>"
                    if text else "")
        case ToolCall(name=name, arguments=arguments, invalid=invalid):
            written = dump(arguments) if invalid is None else invalid
            return (f"<details><summary>{_text(name)} was "
                    f"called</summary><pre>{_text(written)}</pre></details>")
        case ToolResult(name=name, content=content, is_error=is_error, declined=declined):
            what = "was declined" if declined else "failed" if is_error else "answered"
            return (f"<details><summary>{_text(name)} "
                    f"{what}</summary><pre>{_text(content)}</pre></details>")
        case Attached(text, shown):
            names = ", ".join(entry.name for entry in shown)
            return ("<details><summary>Attached: "
                    f"{_text(names)}</summary><pre>{_text(text)}</pre></details>")
        case Image(media_type, data, name) if media_type in IMAGES and data.isascii():
            return (f"<p><img src=\"data:{media_type};base64,{escape(data)}\" "
                    f"alt=\"{_text(name or 'image')}\"></p>")
        case Image(name=name):
            return f"<p class=\"remark\">(image {_text(name)})</p>"
    return ""


def _text(text: str) -> str:
    return escape(safe_text(text))
