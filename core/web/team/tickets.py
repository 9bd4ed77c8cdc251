"""Sign-in tickets (cookies): a name and a time, signed with the account's password hash.

Every server process can verify a ticket without storing it. When the password changes or the
account is removed, its tickets become invalid.
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
    """Return the name that a ticket claims; empty if it is malformed or expired."""
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
