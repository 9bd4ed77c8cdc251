"""The command that shows what was sent to models."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from core.chat.conversation import Chat
from core.commands import Done, Outcome, command
from core.errors import UsageError
from core.config.network import is_loopback
from core.providers.sent import Sent
from core.providers.sent_parts import parts_of
from core.rendering.quantities import size_words
from core.rendering.table import Table
from core.sessions.listing import local_minutes

GROUP = "Models"
LISTED = 20     # requests listed by /sent alone


@command(usage="[N [FILE | -]]")
async def sent(chat: Chat, argument: str) -> Outcome:
    """Show what was sent to models in this run, and to whom; /sent N shows the parts of request N.

    `/sent N FILE` writes the request into FILE, byte for byte as it was sent; `/sent N -` shows it.
    """
    requests = chat.providers.sent.requests
    if not requests:
        return "Nothing was sent in this run."
    if not argument:
        return _listed(chat, requests)
    number, _, place = argument.partition(" ")
    found = chat.providers.sent.find(int(number)) if number.isascii() and number.isdigit() else None
    if found is None:
        raise UsageError(f"There is no request {number}.",
                         f"They have the numbers {requests[0].number} to {requests[-1].number}.")
    return _body(found, place.strip()) if place.strip() else _parts(chat, found)


def _listed(chat: Chat, requests: list[Sent]) -> Table:
    shown = requests[-LISTED:]
    times = local_minutes(each.when for each in shown)
    rows = tuple((str(each.number), when, each.provider, _host(each.url),
                  f"{each.method} {_path(each.url)}", f"{each.size:,}",
                  "yes" if each.with_key else "no")
                 for each, when in zip(shown, times, strict=True))
    left_out = len(requests) - LISTED
    older = f"{left_out:,} older ones are left out. " if left_out > 0 else ""
    return Table(("request", "sent", "provider", "host", "what", "bytes", "key"), rows,
                 f"{older}/sent N shows what a request is made of.", optional=("sent", "provider"))


def _parts(chat: Chat, found: Sent) -> Outcome:
    """Its parts. The tokens are estimated: the provider counts all of them together."""
    if found.body is None:
        return f"Request {found.number} had {found.size:,} bytes; they are no longer kept."
    count, model = chat.fitter.estimator.text, str(chat.target)
    rows = tuple((part.name, f"{part.size:,}", f"{count(part.text, model):,}" if part.text else "")
                 for part in parts_of(found.body))
    key = ", with the key" if found.with_key else ", without a key"
    note = (f"{found.method} {found.url}{key}. {found.size:,} bytes. /sent {found.number} - shows "
            f"the text of it, /sent {found.number} FILE writes it into a file.")
    return Table(("part", "bytes", "about tokens"), rows, note)


def _body(found: Sent, place: str) -> Outcome:
    if found.body is None:
        raise UsageError(f"The bytes of request {found.number} are no longer kept.")
    if place == "-":
        return found.body.decode("utf-8", "replace") or "(nothing: this request only asks)"
    path = os.path.expanduser(place)
    try:
        with open(path, "xb") as file:
            file.write(found.body)
    except OSError as problem:
        raise UsageError(f"{path} cannot be written: {problem.strerror}.") from problem
    return Done(f"Wrote {size_words(found.size)} into {path}, as they were sent.")


def _host(url: str) -> str:
    return f"{urlsplit(url).netloc}{' (this computer)' if is_loopback(url) else ''}"


def _path(url: str) -> str:
    return urlsplit(url).path
