"""Passwords of accounts, hashed with argon2."""

from __future__ import annotations

from importlib.util import find_spec

from core.config.installed import install_command
from core.errors import UsageError


def require_argon2() -> None:
    """Raise UsageError if the package is missing."""
    if find_spec("argon2") is None:
        raise UsageError(
            "Passwords need the package argon2-cffi, which is not installed.",
            f"Install it: {install_command('argon2-cffi')}",
        )


def hashed(password: str) -> str:
    """The argon2 hash of a password. Call require_argon2() first."""
    from argon2 import PasswordHasher

    return PasswordHasher().hash(password)


def fits(password_hash: str, password: str) -> bool:
    """Whether a password matches a hash. Call require_argon2() first."""
    from argon2 import PasswordHasher
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        return PasswordHasher().verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False
