"""Options whose types are their schema: values from YAML, the command line or Python, checked and converted.

A group of options is a frozen, keyword-only dataclass. Groups are put together by inheritance, and an option may itself
be a group (`selection` of a head). `aliases`, a class variable, maps former names of a group's options to today's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, TypeVar, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from headstart.errors import UserError, beginning, demand_known
from headstart.plain import stray_switch

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Options = TypeVar("Options", bound="DataclassInstance")

Count = Annotated[int, Field(ge=1, le=1_000_000)]
"""A number of things, at least one."""

Width = Annotated[int, Field(ge=1, le=4096)]
"""Channels of a layer."""

Depth = Annotated[int, Field(ge=1, le=64)]
"""Layers one after another."""

Layers = Annotated[int, Field(ge=0, le=64)]
"""A number of layers, perhaps none."""

Number = Annotated[int, Field(ge=0, le=1_000_000)]
"""A number of things, perhaps none."""

Steps = Annotated[int, Field(ge=0, le=10**9)]
"""A number of steps of a run."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""A real number above 0."""

Positives = Annotated[tuple[Positive, ...], Field(min_length=1)]
"""One or more real numbers above 0."""

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""A real number from 0 on, such as the weight of a term: a negative one would push the student away."""

Share = Annotated[float, Field(ge=0, le=1)]
"""A real number from 0 to 1."""


def check_options(made: type[Options], given: Mapping[str, object], who: str) -> Options:
    """The dataclass `made` from options by name, converted where their type says how ("false" to False, "10" to 10).

    Former names are understood (`aliases`). For an option that is a group itself, a mapping changes only what it names.
    Raises UserError, beginning with `who`, for an unknown option (with the nearest known one), for both names of one
    option, and for a value that an option cannot have.
    """
    given = _use_current_names(made, given, who)
    defaults = {field.name: field.default for field in fields(made)}
    for option in given:
        demand_known(option, defaults, f"{who} has no option")
    for option, value in given.items():
        group = defaults[option]
        if is_dataclass(group) and not isinstance(group, type) and isinstance(value, Mapping):
            inside = f"{who}: {option}"
            changes = _use_current_names(type(group), value, inside)
            given[option] = check_options(type(group), vars(group) | changes, inside)
    types = get_type_hints(made, include_extras=True)
    for option, value in given.items():
        switch = stray_switch(types[option], value)
        if switch is not None:
            raise UserError(f"{who}: {option} must be a number, not '{str(switch).lower()}'")
    try:
        return _adapter(made).validate_python(given)
    except ValidationError as error:
        raise UserError(explain(error.errors(), given, who)) from None


def plain_options(checked: object, given: Mapping[str, object]) -> dict[str, object]:
    """Those options of a dataclass from `check_options` that were `given`, as plain values that JSON and YAML can hold.

    Under today's names; of a group only what was named; tuples as lists.
    """
    names = aliases_of(type(checked))
    found = {}
    for option, value in given.items():
        name = names.get(option, option)
        own = getattr(checked, name)
        if is_dataclass(own):
            own = plain_options(own, value if isinstance(value, Mapping) else vars(own))
        found[name] = list(own) if isinstance(own, tuple) else own
    return found


def part_of(made: type[Options], options: object, **more: object) -> Options:
    """The group `made` out of larger `options`: every field that both have, and `more`."""
    names = [field.name for field in fields(made)]
    return made(**{name: getattr(options, name) for name in names if hasattr(options, name)} | more)


def aliases_of(made: type) -> dict[str, str]:
    """Former names of a dataclass's options, and today's: its own and those of the groups that it inherits."""
    found: dict[str, str] = {}
    for base in reversed(made.__mro__):
        found |= vars(base).get("aliases", {})
    return found


def explain(errors: list[ErrorDetails], given: Mapping[str, object], who: str) -> str:
    """One sentence about the first option whose value cannot be used: what it may be, and what it is."""
    option = str(errors[0]["loc"][0])
    allowed = list(dict.fromkeys(_allowed(error) for error in errors if str(error["loc"][0]) == option))
    return f"{who}: {option} must be {' or '.join(allowed)}, not '{beginning(given.get(option))}'"


def _use_current_names(made: type, given: Mapping[str, object], who: str) -> dict[str, object]:
    names = aliases_of(made)
    for former, name in names.items():
        if former in given and name in given:
            raise UserError(f"{who}: {former} is the former name of {name}; give only {name}")
    return {names.get(option, option): value for option, value in given.items()}


def _allowed(error: ErrorDetails) -> str:
    """What a value would have to be for this error to go away."""
    kind, context = error["type"], error.get("ctx", {})
    words = {
        "bool": "true or false",
        "int": "a whole number",
        "float": "a number",
        "string": "a word",
        "path": "a path",
        "mapping": "a mapping",
        "dict": "a mapping",
        "dataclass": "a mapping",
        "sequence": "a list",
        "list": "a list",
        "tuple": "a list",
        "none": "null",
    }
    if kind == "is_instance_of":  # pydantic's word for what is no Sequence at all
        kind = str(context["class"]).lower()
    if kind == "literal_error":
        return str(context["expected"]).replace("'", "")
    if kind in ("greater_than_equal", "greater_than", "less_than_equal", "less_than"):
        side = {"greater_than_equal": "at least", "greater_than": "more than", "less_than_equal": "at most"}
        return f"{side.get(kind, 'less than')} {next(iter(context.values())):g}"
    return next((text for word, text in words.items() if kind.startswith(word)), error["msg"].lower())


@cache
def _adapter(made: type[Options]) -> TypeAdapter[Options]:
    return TypeAdapter(made)
