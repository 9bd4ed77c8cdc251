"""Delays loading modules of the standard library that most runs import but never use."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# Imported by asyncio, logging and shutil, but not used in a run without TLS and without errors.
# Loading them takes a tenth of the time to start.
UNUSED = ("asyncio.sslproto", "asyncio.staggered", "bz2", "inspect", "linecache", "lzma", "ssl",
          "textwrap")
# Classes for which asyncio checks each socket: before their module is loaded, no instances exist.
CHECKED_FOR = ("ssl.SSLSocket",)


class LateModule(ModuleType):
    """A placeholder for a module; reading or setting an attribute loads the real module, which
    `then` receives first.
    """

    def __init__(self, name: str, then: Callable[[Any], object] | None = None) -> None:
        super().__init__(name)
        self.__then__ = then

    def __getattr__(self, name: str) -> Any:
        if f"{self.__name__}.{name}" in CHECKED_FOR and sys.modules.get(self.__name__) is self:
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
    if sys.modules.get(name) is not late:
        return import_module(name)
    del sys.modules[name]
    module = import_module(name)
    if late.__then__ is not None:
        late.__then__(module)
    return module


def load_late(names: tuple[str, ...] = UNUSED) -> None:
    """Put placeholders into sys.modules, so that these modules are loaded when they are used."""
    for name in names:
        if name not in sys.modules:
            sys.modules[name] = LateModule(name)


def when_loaded(name: str, then: Callable[[Any], object]) -> None:
    """Call `then` with this module: now, or as soon as something loads it."""
    if name in sys.modules:
        then(sys.modules[name])
    else:
        sys.modules[name] = LateModule(name, then)
