"""Our dataclasses behave like the standard library's: each class of the program is compared with
its equivalent.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib
import inspect
import pickle
import threading
from typing import Any

import pytest

from core import dataclass as light
from tests.test_layers import modules


def classes() -> list[type]:
    found = {}
    for module in modules():
        if module != "stream_chat":
            for each in vars(importlib.import_module(module)).values():
                if isinstance(each, type) and "__light_fields__" in vars(each):
                    found[f"{each.__module__}.{each.__qualname__}"] = each
    return [found[name] for name in sorted(found)]


CLASSES = classes()


def twin_of(cls: type) -> Any:
    """The same fields in a dataclass of the standard library, frozen or not as the class is."""
    described = [(name, object, _standard(each))
                 for name, each in getattr(cls, "__dataclass_fields__").items()]
    return dataclasses.make_dataclass(cls.__qualname__, described, slots=True,
                                      frozen=is_frozen(cls))


def is_frozen(cls: type) -> bool:
    return cls.__setattr__ is not object.__setattr__


def _standard(each: Any) -> Any:
    given = {key: getattr(each, key) for key in ("default", "default_factory")
             if getattr(each, key) is not dataclasses.MISSING}
    return dataclasses.field(compare=each.compare, repr=each.repr, **given)


def values_of(cls: type) -> dict[str, object]:
    return {name: f"value of {name}" for name in getattr(cls, "__dataclass_fields__")}


def test_there_are_classes_to_compare() -> None:
    assert len(CLASSES) > 150


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: f"{cls.__module__}.{cls.__qualname__}")
def test_a_class_is_like_its_twin(cls: Any) -> None:
    twin, values = twin_of(cls), values_of(cls)
    ours, theirs = cls(**values), twin(*values.values())
    assert {name: getattr(ours, name) for name in values} == values
    ours_takes, theirs_takes = (inspect.signature(each.__init__).parameters for each in (cls, twin))
    assert list(ours_takes) == list(theirs_takes)
    assert ([each.default is inspect.Parameter.empty for each in ours_takes.values()]
            == [each.default is inspect.Parameter.empty for each in theirs_takes.values()])
    assert cls.__match_args__ == twin.__match_args__
    assert dataclasses.is_dataclass(cls)
    if "__repr__" not in vars(cls) or cls.__repr__.__module__ == light.__name__:
        assert repr(ours) == repr(theirs)
    assert not hasattr(ours, "__dict__")
    if "__eq__" in vars(cls):
        assert ours == cls(**values)
        assert ours != theirs
        for name in values:
            changed, theirs_changed = (light.replace(ours, **{name: "other"}),
                                       dataclasses.replace(theirs, **{name: "other"}))
            assert (changed == ours) == (theirs_changed == theirs), name
            assert getattr(changed, name) == "other"


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: f"{cls.__module__}.{cls.__qualname__}")
def test_frozen_and_hashed_as_its_twin(cls: Any) -> None:
    ours, theirs = cls(**values_of(cls)), twin_of(cls)(**values_of(cls))
    frozen = is_frozen(cls)
    assert (cls.__hash__ is None) == (not frozen and "__eq__" in vars(cls))
    if frozen and cls.__eq__ is not object.__eq__:
        assert hash(ours) == hash(theirs) == hash(cls(**values_of(cls)))
    for name in [*values_of(cls)][:1]:
        if frozen:
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(ours, name, "other")
            with pytest.raises(dataclasses.FrozenInstanceError):
                delattr(ours, name)
        else:
            setattr(ours, name, "other")
            assert getattr(ours, name) == "other"
    with pytest.raises(AttributeError):
        ours.no_such_field = 1
    with pytest.raises(TypeError):
        cls(**values_of(cls), no_such_field=1)
    with pytest.raises(TypeError):
        light.replace(ours, no_such_field=1)


@light.dataclass(frozen=True, slots=True)
class Base:
    """A base for the tests below."""

    first: int
    second: list[int] = light.field(default_factory=list)
    third: int = light.field(default=3, compare=False, repr=False)


@light.dataclass(frozen=True, slots=True)
class Derived(Base):
    """Adds a field and gives another one a default."""

    first: int = 1
    fourth: str = "four"


def test_defaults_are_made_anew() -> None:
    assert Base(1).second is not Base(1).second
    assert Base(1).third == 3


def test_a_derived_class_has_all_fields() -> None:
    assert repr(Derived()) == "Derived(first=1, second=[], fourth='four')"
    assert Derived(second=[2]) == Derived(1, [2], 9)
    assert Derived() != Base(1)
    assert [field.name for field in dataclasses.fields(Derived)] == ["first", "second", "third",
                                                                     "fourth"]
    assert dataclasses.asdict(Derived()) == {"first": 1, "second": [], "third": 3, "fourth": "four"}


def test_copies_and_pickles_are_equal() -> None:
    made = Derived(5, [6], 7, "8")
    for other in (copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert other == made
        assert other.third == 7


def test_a_shared_default_is_refused() -> None:
    with pytest.raises(ValueError, match="default_factory"):
        @light.dataclass(slots=True)
        class Wrong:
            items: list[int] = []   # noqa: RUF012


def test_slots_are_demanded() -> None:
    with pytest.raises(TypeError, match="slots=True"):
        light.dataclass(slots=False)


def test_many_threads_may_make_the_first_one() -> None:
    @light.dataclass(frozen=True, slots=True)
    class Fresh:
        number: int

    made: list[int] = []
    start = threading.Barrier(8)

    def make(number: int) -> None:
        start.wait()
        made.append(hash(Fresh(number)) - hash(Fresh(number)))

    threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [0] * 8


def test_what_the_standard_library_asks_for_is_made_once_for_each_class() -> None:
    @light.dataclass(frozen=True, slots=True)
    class Above:
        one: int = 1

    @light.dataclass(frozen=True, slots=True)
    class Below(Above):
        two: int = 2

    assert dataclasses.fields(Above)[0] is dataclasses.fields(Above)[0]
    assert [each.name for each in dataclasses.fields(Below)] == ["one", "two"]
    assert dataclasses.asdict(Below()) == {"one": 1, "two": 2}
