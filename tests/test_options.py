"""Options from YAML, the command line or Python, checked by the types of their dataclass."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import pytest

from headstart.errors import UserError
from headstart.options import Count, Positive, Share, aliases_of, check_options, part_of, plain_options


@dataclass(frozen=True)
class Window:
    low: float
    high: float

    aliases: ClassVar[Mapping[str, str]] = {"bottom": "low"}


@dataclass(frozen=True, kw_only=True)
class Base:
    width: Count = 256
    norm: bool = False
    window: Window = Window(0.0, 1.0)

    aliases: ClassVar[Mapping[str, str]] = {"breadth": "width"}


@dataclass(frozen=True, kw_only=True)
class Whole(Base):
    ratios: tuple[Positive, ...] = (1.0,)
    share: Share | None = None
    kind: Literal["a", "b"] = "a"

    aliases: ClassVar[Mapping[str, str]] = {"part": "share"}


def test_nothing_given_is_the_defaults():
    assert check_options(Whole, {}, "it") == Whole()


def test_values_are_converted_by_their_types():
    found = check_options(Whole, {"width": "64", "norm": "true", "ratios": [1, "2"], "share": "0.5"}, "it")
    assert found == Whole(width=64, norm=True, ratios=(1.0, 2.0), share=0.5)
    assert type(found.width) is int and found.norm is True and type(found.ratios) is tuple


def test_a_group_changes_only_what_is_named():
    assert check_options(Whole, {"window": {"high": "3"}}, "it").window == Window(0.0, 3.0)
    assert check_options(Whole, {"window": Window(5.0, 6.0)}, "it").window == Window(5.0, 6.0)


def test_former_names_are_understood_in_groups_and_in_what_is_inherited():
    assert aliases_of(Whole) == {"breadth": "width", "part": "share"}
    given = {"breadth": 8, "part": 1, "window": {"bottom": -1}}
    assert check_options(Whole, given, "it") == Whole(width=8, share=1.0, window=Window(-1.0, 1.0))
    assert given == {"breadth": 8, "part": 1, "window": {"bottom": -1}}


def test_what_was_given_as_plain_values():
    given = {"breadth": "8", "ratios": (1, 2), "window": {"bottom": "2"}}
    assert plain_options(check_options(Whole, given, "it"), given) == {
        "width": 8,
        "ratios": [1.0, 2.0],
        "window": {"low": 2.0},
    }
    whole = {"window": Window(5.0, 6.0)}
    assert plain_options(check_options(Whole, whole, "it"), whole) == {"window": {"low": 5.0, "high": 6.0}}


def test_part_of_larger_options():
    assert part_of(Base, Whole(width=3, kind="b"), norm=True) == Base(width=3, norm=True)
    assert type(part_of(Base, Whole())) is Base


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"widht": 1}, "it has no option 'widht'; did you mean width?"),
        ({"width": "wide"}, "it: width must be a whole number, not 'wide'"),
        ({"width": 0}, "it: width must be at least 1, not '0'"),
        ({"width": None}, "it: width must be a whole number, not 'None'"),
        ({"norm": "perhaps"}, "it: norm must be true or false, not 'perhaps'"),
        ({"share": 1.5}, "it: share must be at most 1, not '1.5'"),
        ({"ratios": [1, 0]}, "it: ratios must be more than 0, not"),
        ({"ratios": 2}, "it: ratios must be a list, not '2'"),
        ({"kind": "c"}, "it: kind must be a or b, not 'c'"),
        ({"window": 3}, "it: window must be a mapping, not '3'"),
        ({"window": {"hihg": 3}}, "it: window has no option 'hihg'; did you mean high?"),
        ({"window": {"high": "x"}}, "it: window: high must be a number, not 'x'"),
        ({"breadth": 3, "width": 3}, "it: breadth is the former name of width; give only width"),
        ({"window": {"bottom": 3, "low": 3}}, "it: window: bottom is the former name of low; give only low"),
    ],
)
def test_mistakes_are_one_sentence(given, says):
    with pytest.raises(UserError) as refused:
        check_options(Whole, given, "it")
    assert str(refused.value).startswith(says) and "\n" not in str(refused.value)
