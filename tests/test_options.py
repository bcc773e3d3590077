"""Options whose types are their schema: what is converted, and what is refused in which words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest
from pydantic import Field

from headstart.errors import UserError
from headstart.options import check_options


@dataclass(frozen=True)
class Toy:
    on: bool = True
    count: Annotated[int, Field(ge=1)] = 1
    steps: Annotated[int, Field(ge=0)] | None = 5
    stop: Annotated[int, Field(ge=0)] | Literal["auto"] | None = "auto"
    part: Annotated[float, Field(gt=0, lt=1)] = 0.5
    kind: Literal["linear", "cubic"] = "linear"
    name: str = "a"
    names: Sequence[str] = ()
    each: Mapping[str, object] = field(default_factory=dict)
    some: str | Mapping[str, object] | Sequence[str] | None = None


def check(**given):
    return check_options(Toy, given, "method toy")


def test_without_options_the_defaults():
    assert check() == Toy()


@pytest.mark.parametrize(
    ("option", "given", "value"),
    [
        ("on", "false", False),
        ("on", "true", True),
        ("on", False, False),
        ("count", "10", 10),
        ("count", 10.0, 10),
        ("part", "0.25", 0.25),
        ("steps", None, None),
        ("stop", None, None),
        ("stop", "auto", "auto"),
        ("stop", "100", 100),
        ("stop", 0, 0),
        ("names", ["a", "b"], ["a", "b"]),
        ("some", "a, b", "a, b"),
        ("some", {"a": {}}, {"a": {}}),
        ("some", ["a"], ["a"]),
        ("some", None, None),
    ],
)
def test_values_are_converted_by_their_type(option, given, value):
    """A switch that is believed to be on because its word is not empty would be the worst of all."""
    found = getattr(check(**{option: given}), option)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("on", "maybe", "true or false"),
        ("on", None, "true or false"),
        ("count", "ten", "a whole number"),
        ("count", 1.5, "a whole number"),
        ("count", None, "a whole number"),
        ("count", 0, "at least 1"),
        ("steps", -1, "at least 0"),
        ("steps", "soon", "a whole number"),
        ("stop", "never", "a whole number or auto"),
        ("part", "half", "a number"),
        ("part", 0, "more than 0.0"),
        ("part", 1, "less than 1.0"),
        ("kind", "liner", "linear or cubic"),
        ("name", 3, "a word"),
        ("names", 3, "a list"),
        ("each", 3, "a mapping"),
        ("some", 3, "a word or a mapping or a list"),
    ],
)
def test_values_that_cannot_be_are_refused_with_what_is_allowed(option, value, allowed):
    with pytest.raises(UserError) as refused:
        check(**{option: value})
    assert str(refused.value) == f"method toy: {option} must be {allowed}, not '{value}'"
    assert refused.value.__cause__ is None and refused.value.__suppress_context__


def test_the_first_wrong_option_is_named():
    with pytest.raises(UserError, match=r"^method toy: count must be at least 1, not '0'$"):
        check(count=0, kind="x")


@pytest.mark.parametrize(
    ("option", "ending"), [("cuont", "; did you mean count?"), ("zzzzzz", "; expected one of on, count, steps, ")]
)
def test_unknown_options_are_refused_with_the_nearest(option, ending):
    with pytest.raises(UserError) as refused:
        check(**{option: 1})
    assert str(refused.value).startswith(f"method toy has no option '{option}'{ending}")


def test_an_unknown_option_is_refused_before_values_are_looked_at():
    with pytest.raises(UserError, match="no option 'kinf'; did you mean kind"):
        check(count="ten", kinf=1)
