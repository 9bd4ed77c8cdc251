"""What a signed-in browser shows: a name and a time, sealed with the account's own password hash.

Every server process can check a ticket, and none has to remember it. With another password, or
without the account, the tickets from before are worth nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode

LIFETIME = 30 * 86_400


def make_ticket(name: str, password_hash: str, now: float | None = None) -> str:
    body = f"{urlsafe_b64encode(name.encode()).decode()}.{int(now or time.time()) + LIFETIME}"
    return f"{body}.{_seal(body, password_hash)}"


def name_in(ticket: str) -> str:
    """The name that a ticket claims; empty where it is not one or has ended."""
    name, _, rest = ticket.partition(".")
    until = rest.partition(".")[0]
    if not until.isascii() or not until.isdigit() or int(until) < time.time():
        return ""
    try:
        return urlsafe_b64decode(name.encode()).decode()
    except ValueError:
        return ""


def is_genuine(ticket: str, password_hash: str) -> bool:
    body, _, seal = ticket.rpartition(".")
    return bool(password_hash) and hmac.compare_digest(
        seal.encode(), _seal(body, password_hash).encode()
    )


def _seal(body: str, password_hash: str) -> str:
    return hmac.new(password_hash.encode(), f"ticket {body}".encode(), hashlib.sha256).hexdigest()
