"""Which method trains a student, or which several together, in every form that a recipe may give. No torch here."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from headstart.pace import take_pace
from headstart.plain import Plain

BASELINE = "baseline"
"""The method that learns from the ground truth alone."""

WHOSE_OPTION = "whose_option"
"""The type of the validation error for an option that stands beside several methods instead of under one of them."""


class MethodChoice(Plain):
    """One method and its options, or several methods that train one student together.

    One:      `head`, or `{name: head, regions: 64}`; which options there are, the method's own signature says.
    Several:  `head+pkd`, `[head, {name: pkd, weight: 2}]`, or in full, as all of these are kept and written down,
              `{name: head+pkd, head: {}, pkd: {weight: 2}}`: the options of each method under its name. The options
              that all methods have in common (`headstart.pace`) may stand beside the names: they are those of each
              method that does not give its own.
    """

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    name: str = Field(description="see `headstart methods`; several that train one student together: head+pkd")
    teachers: list[str] | None = Field(None, description="which of the run's teachers it learns from; default all")

    @model_validator(mode="before")
    @classmethod
    def _in_full(cls, value: object) -> object:
        return spell_out_method(value)

    @model_validator(mode="after")
    def _teachers_of_whom_it_can_learn(self) -> MethodChoice:
        if self.teachers and not self.distils:
            raise ValueError(f"method {self.name} learns from no teacher; leave out teachers")
        return self

    @property
    def options(self) -> dict[str, object]:
        """Of one method its options; of several the options of each, by its name."""
        return dict(self.model_extra or {})

    @property
    def parts(self) -> list[tuple[str, dict[str, object]]]:
        """Name and options of each method, in order."""
        names = split_methods(self.name)
        if len(names) == 1:
            return [(self.name, self.options)]
        given = {name: self.options.get(name) for name in names}
        return [(name, dict(options) if isinstance(options, dict) else {}) for name, options in given.items()]

    @property
    def distils(self) -> bool:
        """Whether the student learns from anything besides the ground truth."""
        return any(name != BASELINE for name, _ in self.parts)

    @property
    def needs_teacher(self) -> bool:
        """Whether any of its methods distils without an option `assistants` that says who teaches instead."""
        return any(name != BASELINE and options.get("assistants") is None for name, options in self.parts)


def split_methods(name: str) -> list[str]:
    """The methods that a name such as `head+pkd` stands for, in order."""
    return [part.strip() for part in name.split("+")]


def spell_out_method(value: object) -> object:
    """A choice of methods in any of its forms as the mapping that `MethodChoice` keeps; no form of one: unchanged.

    Raises ValueError with a sentence, or the PydanticCustomError "whose_option", for a combination that cannot be.
    """
    if isinstance(value, str):
        value = {"name": value}
    elif isinstance(value, list | tuple):
        value = _join_methods(list(value))
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        return value
    full = dict(value)
    names = split_methods(full.pop("name"))
    name = "+".join(names)
    if len(names) == 1:
        return {"name": name, **full}
    if "" in names:
        raise ValueError(f"a method is missing beside a + in '{name}'")
    twice = next((one for one in names if names.count(one) > 1), None)
    if twice is not None:
        raise ValueError(f"method {twice} is named twice in {name}; there is one of each")
    if BASELINE in names:
        raise ValueError(f"{BASELINE} adds nothing to another method: leave it out of {name}, or give it its own lane")
    whole = {"teachers": full.pop("teachers")} if "teachers" in full else {}
    pace, full = take_pace(full)
    for key in full:
        if key not in names:
            raise PydanticCustomError(
                WHOSE_OPTION, "say of which method: {one}.{option}", {"option": key, "one": names[0]}
            )
    return {"name": name, **whole, **{one: pace | _options_of(one, full.get(one)) for one in names}}


def _options_of(name: str, options: object) -> dict[str, object]:
    """The options of one of several methods. Raises ValueError if they are no mapping, or speak of all methods."""
    if not isinstance(options, Mapping | None):
        raise ValueError(f"the options of {name} must be a mapping such as {name}: {{weight: 2}}, found {options!r}")
    given = dict(options or {})
    for key in ("name", "teachers"):
        if key in given:
            raise ValueError(f"{key} stands beside the methods, not among the options of {name}")
    return given


def _join_methods(methods: list[object]) -> object:
    """`[head, {name: pkd, weight: 2}]` as one mapping. Raises ValueError for an entry that is no method."""
    joined: dict[str, object] = {}
    names: list[str] = []
    for method in methods:
        one = {"name": method} if isinstance(method, str) else method
        if not isinstance(one, Mapping) or not isinstance(one.get("name"), str):
            raise ValueError(f"expected methods such as [head, {{name: pkd, weight: 2}}], found {method!r} among them")
        name, options = one["name"].strip(), {key: option for key, option in one.items() if key != "name"}
        if len(methods) == 1:
            return {"name": name, **options}
        if "+" in name and options:
            raise ValueError(f"give each of the methods {name} an entry of its own")
        names.append(name)
        joined |= {name: options} if options else {}
    if not names:
        raise ValueError("expected at least one method, found an empty list")
    return {"name": "+".join(names), **joined}
