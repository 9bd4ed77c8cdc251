"""The log of --debug, with every key hidden, regardless of which module wrote it."""

from __future__ import annotations

import logging
import os

from core.config import Settings
from core.config.keys import hide, known_secrets
from core.errors import UsageError


class Scrubbed(logging.Formatter):
    """Hides secrets in each line."""

    def __init__(self, form: str, secrets: list[str]) -> None:
        super().__init__(form)
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        return hide(super().format(record), self._secrets)


def start_log(settings: Settings) -> None:
    """Append to the file given with --debug from now on. Raises UsageError when it cannot be
    written.
    """
    assert settings.debug is not None    # this function is called only with --debug
    try:
        # it may hold a conversation
        os.close(os.open(settings.debug, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
        handler = logging.FileHandler(settings.debug, encoding="utf-8")
    except OSError as problem:
        raise UsageError(f"The log {settings.debug} cannot be written: "
                         f"{problem.strerror}.") from problem
    secrets = known_secrets(settings.environment, settings.providers)
    handler.setFormatter(Scrubbed("%(asctime)s %(name)s %(levelname)s %(message)s", secrets))
    logging.basicConfig(handlers=[handler], level=logging.DEBUG)
