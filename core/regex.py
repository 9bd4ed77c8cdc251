"""Regular expressions compiled on first use: compiling all at import takes a tenth of a start."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from typing import Any

_OF_A_PATTERN = ("match", "fullmatch", "search", "findall", "finditer", "sub", "subn", "split",
                 "pattern", "flags", "groups", "groupindex")


class LateRegex:
    """Behaves like the result of `re.compile`, but compiles on first use; after that, methods are
    as fast.
    """

    def __init__(self, text: Any, flags: int = 0) -> None:
        self._given = text, flags

    def __getattr__(self, name: str) -> Any:
        if name not in _OF_A_PATTERN:
            raise AttributeError(f"a regular expression has no {name!r} here")
        import re    # a list of sessions needs no pattern
        compiled = re.compile(*self._given)
        self.__dict__.update({each: getattr(compiled, each) for each in _OF_A_PATTERN})
        return self.__dict__[name]


if TYPE_CHECKING:
    regex = re.compile
else:
    regex = LateRegex
