"""Modules of Python itself that others import at the top and most runs never use: loaded late."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# What asyncio, logging and shutil import and a run without TLS, without errors and with one address
# of a server does not use: a tenth of a start.
UNUSED = ("asyncio.sslproto", "asyncio.staggered", "bz2", "inspect", "linecache", "lzma", "ssl",
          "textwrap")
# Classes that asyncio asks each socket for: while their module is not loaded, nothing is one.
ASKED_FOR = ("ssl.SSLSocket",)


class LateModule(ModuleType):
    """Stands for a module. Whatever is looked up in it, or set, is looked up or set in that one."""

    def __getattr__(self, name: str) -> Any:
        if f"{self.__name__}.{name}" in ASKED_FOR and sys.modules.get(self.__name__) is self:
            return ()
        return getattr(_real(self), name)

    def __setattr__(self, name: str, value: object) -> None:
        if name.startswith("__"):
            super().__setattr__(name, value)
        else:
            setattr(_real(self), name, value)

    def __dir__(self) -> list[str]:
        return dir(_real(self))


def _real(late: LateModule) -> ModuleType:
    name = late.__name__
    if sys.modules.get(name) is late:
        del sys.modules[name]
    return import_module(name)


def load_late(names: tuple[str, ...] = UNUSED) -> None:
    """Let these modules be loaded when something in them is used."""
    for name in names:
        if name not in sys.modules:
            sys.modules[name] = LateModule(name)
