"""Completes a command's arguments word by word: a name that ends with a space leads to others."""

from __future__ import annotations

from collections.abc import Sequence


def stage_of(typed: str, names: Sequence[str]) -> str:
    """The longest typed name that ends with a space: what follows it is completed next."""
    stages = (name for name in names if name.endswith(" ") and typed.startswith(name))
    return max(stages, key=len, default="")


def in_stage(stage: str, names: Sequence[str]) -> list[str]:
    """The names that begin with this, without those of a further stage."""
    begun = [name for name in names if name.startswith(stage) and name != stage]
    stages = [name for name in begun if name.endswith(" ")]
    return [name for name in begun
            if not any(name.startswith(other) and name != other for other in stages)]
