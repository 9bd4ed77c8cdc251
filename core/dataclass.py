"""Dataclasses whose methods are compiled when they are first called.

`dataclass`, `field` and `replace` work like those of the standard library's `dataclasses`, for the
options that the program uses. The standard library compiles up to six methods when a class is
created, which takes 0.4 ms per class, and a start creates about 70 classes. Type checkers see the
standard library.
"""

from __future__ import annotations

from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    Value = TypeVar("Value")
    Source = tuple[str, dict[str, Any]]        # a method's source code, and the names it uses

FIELDS = "__light_fields__"


class Nothing:
    """Marks a field without a default, and an argument that was not given."""

    def __repr__(self) -> str:
        return "<factory>"


NOTHING = Nothing()


class Field:
    """One field of a dataclass. `name` is set by the decorator."""

    __slots__ = ("name", "default", "default_factory", "compare", "repr")

    def __init__(self, *, default: object = NOTHING,
                 default_factory: Callable[[], object] | Nothing = NOTHING,
                 compare: bool = True, repr: bool = True) -> None:
        self.name = ""
        self.default = default
        self.default_factory = default_factory
        self.compare = compare
        self.repr = repr


def make_dataclass(*, slots: bool, frozen: bool = False, eq: bool = True) -> Callable[[type], type]:
    """Decorate a class as `dataclasses.dataclass(slots=True)` does.

    Raises TypeError if `slots` is False, and ValueError for a mutable default.
    """
    if not slots:
        raise TypeError("dataclasses without slots are not supported here: write slots=True")
    return lambda cls: _with_slots(cls, frozen, eq)


def with_changes(instance: Value, /, **changes: object) -> Value:
    """A copy of `instance` with some fields changed. Raises TypeError for an unknown field."""
    for each in _fields(type(instance)):
        if each.name not in changes:
            changes[each.name] = getattr(instance, each.name)
    return type(instance)(**changes)


def _fields(cls: type) -> tuple[Field, ...]:
    fields: tuple[Field, ...] = getattr(cls, FIELDS)
    return fields


def _with_slots(cls: type, frozen: bool, eq: bool) -> type:
    """Create the class again with slots: they cannot be added to an existing class."""
    body = dict(cls.__dict__)
    inherited = [each for base in cls.__mro__[-1:0:-1] for each in base.__dict__.get(FIELDS, ())]
    own = [_described(name, body.pop(name, NOTHING)) for name in cls.__annotations__]
    every = {each.name: each for each in (*inherited, *own)}
    body.pop("__dict__", None)
    body.pop("__weakref__", None)
    body["__slots__"] = tuple(each.name for each in own
                              if each.name not in {known.name for known in inherited})
    body[FIELDS] = tuple(every.values())
    body["__dataclass_fields__"] = StandardFields()
    body.setdefault("__match_args__", tuple(every))
    body.setdefault("__repr__", _shown)
    late: dict[str, Callable[[type], Source]] = {"__init__": _init_of_frozen if frozen else _init}
    if frozen:
        body.update(__setattr__=_refuse_to_set, __delattr__=_refuse_to_delete, __getstate__=_state,
                    __setstate__=_set_state)
    if eq:
        late["__eq__"] = _eq
        if frozen:
            late["__hash__"] = _hash
        else:
            body.setdefault("__hash__", None)
    made = type(cls)(cls.__name__, cls.__bases__, body)
    made.__qualname__ = cls.__qualname__
    for name, write in late.items():
        if body.get(name) is None:
            setattr(made, name, _compiled_at_first_call(made, name, write))
    return made


def _described(name: str, default: object) -> Field:
    described = default if isinstance(default, Field) else Field(default=default)
    if type(described.default).__hash__ is None:
        raise ValueError(f"all instances would share the default of {name}: use default_factory")
    described.name = name
    return described


def _compiled_at_first_call(cls: type, name: str,
                            write: Callable[[type], Source]) -> Callable[..., object]:
    def method(*args: object, **kwargs: object) -> object:
        source, names = write(cls)
        exec(source, names)
        compiled: Callable[..., object] = names[name]
        setattr(cls, name, compiled)
        return compiled(*args, **kwargs)
    return method


def _init(cls: type) -> Source:
    return _written_init(cls, "self.{0} = {1}")


def _init_of_frozen(cls: type) -> Source:
    return _written_init(cls, "set_{0}(self, {1})")


def _written_init(cls: type, assignment: str) -> Source:
    names: dict[str, Any] = {"__name__": cls.__module__, "NOTHING": NOTHING}
    parameters, lines = ["self"], ["pass"]
    for each in _fields(cls):
        name, given, parameter = each.name, each.name, each.name
        names[f"set_{name}"] = getattr(cls, name).__set__
        if each.default_factory is not NOTHING:
            names[f"make_{name}"] = each.default_factory
            parameter, given = f"{name}=NOTHING", f"make_{name}() if {name} is NOTHING else {name}"
        elif each.default is not NOTHING:
            names[f"default_{name}"] = each.default
            parameter = f"{name}=default_{name}"
        parameters.append(parameter)
        lines.append(assignment.format(name, given))
    return f"def __init__({', '.join(parameters)}):\n    " + "\n    ".join(lines), names


def _eq(cls: type) -> Source:
    return ("def __eq__(self, other):\n"
            "    if other.__class__ is not self.__class__:\n"
            "        return NotImplemented\n"
            f"    return {_compared(cls, 'self')} == {_compared(cls, 'other')}"), {}


def _hash(cls: type) -> Source:
    return f"def __hash__(self):\n    return hash({_compared(cls, 'self')})", {}


def _compared(cls: type, instance: str) -> str:
    return "(" + "".join(f"{instance}.{each.name}, " for each in _fields(cls) if each.compare) + ")"


def _shown(self: object) -> str:
    parts = (f"{each.name}={getattr(self, each.name)!r}"
             for each in _fields(type(self)) if each.repr)
    return f"{type(self).__qualname__}({', '.join(parts)})"


def _refuse_to_set(self: object, name: str, value: object) -> None:
    from dataclasses import FrozenInstanceError
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: object, name: str) -> None:
    from dataclasses import FrozenInstanceError
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: object) -> list[object]:
    return [getattr(self, each.name) for each in _fields(type(self))]


def _set_state(self: object, values: list[object]) -> None:
    for each, value in zip(_fields(type(self)), values, strict=True):
        object.__setattr__(self, each.name, value)


class StandardFields:
    """The attribute that `dataclasses.fields`, `asdict` and `is_dataclass` use, created on demand.
    """

    def __get__(self, instance: object, owner: type) -> dict[str, Any]:
        import dataclasses
        twin = dataclasses.make_dataclass(owner.__name__,
                                          [(each.name, object, _standard(each))
                                           for each in _fields(owner)])
        made: dict[str, Any] = getattr(twin, "__dataclass_fields__")
        setattr(owner, "__dataclass_fields__", made)
        return made


def _standard(described: Field) -> Any:
    from dataclasses import field as standard_field
    defaults: dict[str, Any] = {name: getattr(described, name)
                                for name in ("default", "default_factory")
                                if getattr(described, name) is not NOTHING}
    return standard_field(compare=described.compare, repr=described.repr, **defaults)


if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
    from dataclasses import field as field
    from dataclasses import replace as replace
else:
    dataclass, field, replace = make_dataclass, Field, with_changes
