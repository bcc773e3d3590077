"""Options whose types are their schema: values from YAML, the command line or Python, checked and converted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from headstart.errors import UserError, demand_known

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Options = TypeVar("Options", bound="DataclassInstance")


def check_options(made: type[Options], given: Mapping[str, object], who: str) -> Options:
    """The dataclass `made` from options by name, converted where their type says how ("false" to False, "10" to 10).

    Raises UserError, beginning with `who`, for an unknown option (with the nearest known one) and for a value that an
    option cannot have.
    """
    known = [field.name for field in fields(made)]
    for option in given:
        demand_known(option, known, f"{who} has no option")
    try:
        return _adapter(made).validate_python(dict(given))
    except ValidationError as error:
        raise UserError(explain(error.errors(), given, who)) from None


def explain(errors: list[ErrorDetails], given: Mapping[str, object], who: str) -> str:
    """One sentence about the first option whose value cannot be used: what it may be, and what it is."""
    option = str(errors[0]["loc"][0])
    allowed = list(dict.fromkeys(_allowed(error) for error in errors if str(error["loc"][0]) == option))
    return f"{who}: {option} must be {' or '.join(allowed)}, not '{given[option]}'"


def _allowed(error: ErrorDetails) -> str:
    """What a value would have to be for this error to go away."""
    kind, context = error["type"], error.get("ctx", {})
    words = {
        "bool": "true or false",
        "int": "a whole number",
        "float": "a number",
        "string": "a word",
        "mapping": "a mapping",
        "dict": "a mapping",
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
        return f"{side.get(kind, 'less than')} {next(iter(context.values()))}"
    return next((text for word, text in words.items() if kind.startswith(word)), error["msg"].lower())


@cache
def _adapter(made: type[Options]) -> TypeAdapter[Options]:
    return TypeAdapter(made)
