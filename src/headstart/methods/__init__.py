"""The methods by name, and how one or several become what a student learns from."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, get_type_hints

from headstart.detectors.detector import Detector
from headstart.errors import UserError, demand_known
from headstart.method_choice import BASELINE
from headstart.methods.allstage import allstage
from headstart.methods.baseline import baseline
from headstart.methods.bckd import bckd
from headstart.methods.crosskd import crosskd
from headstart.methods.cwd import cwd
from headstart.methods.defeat import defeat
from headstart.methods.fgd import fgd
from headstart.methods.fgfi import fgfi
from headstart.methods.fitnet import fitnet
from headstart.methods.frs import frs
from headstart.methods.gid import gid
from headstart.methods.guidance import Guidance
from headstart.methods.head import head
from headstart.methods.ld import ld
from headstart.methods.method import Method
from headstart.methods.mgd import mgd
from headstart.methods.mimic import mimic
from headstart.methods.pkd import pkd
from headstart.methods.pseudo import pseudo
from headstart.methods.sgfi import sgfi
from headstart.options import check_options
from headstart.pace import NAMES, Pace, take_pace
from headstart.teachers import Frozen, Teacher

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

MethodFunction = Callable[..., list[Guidance]]
"""(student, teachers, options) -> guidances. `options` is annotated with a dataclass: its fields are the options."""

METHODS: dict[str, MethodFunction] = {
    "baseline": baseline,
    "head": head,
    "crosskd": crosskd,
    "mimic": mimic,
    "pkd": pkd,
    "cwd": cwd,
    "fitnet": fitnet,
    "frs": frs,
    "fgd": fgd,
    "mgd": mgd,
    "defeat": defeat,
    "fgfi": fgfi,
    "ld": ld,
    "bckd": bckd,
    "gid": gid,
    "sgfi": sgfi,
    "allstage": allstage,
    "pseudo": pseudo,
}


def options_class(name: str) -> type[DataclassInstance]:
    """The dataclass of the options of method `name`. Raises UserError for an unknown name."""
    demand_known(name, METHODS, "no method is called")
    return get_type_hints(METHODS[name])["options"]


def method_options(name: str) -> list[str]:
    """The options that method `name` takes, its own and then the common ones. Raises UserError for an unknown name."""
    return [field.name for field in fields(options_class(name))] + [*(NAMES if name != BASELINE else ())]


def build_method(
    name: str, student: Detector, teachers: Teacher | Sequence[Teacher] | None = None, **options: object
) -> Method:
    """The method called `name` for this student and its teachers, if any; `A+B` is both on one pass of the student.

    options  of a single method its own and the common ones (`headstart.pace`); of several, the options of each as a
             mapping under its name. They are checked and converted by the types of the options: "false" for a switch is
             False, "ten" for a number is refused

    Where several methods guide a student, their automatic weights are shared out: each counts 1 / their number.
    Raises UserError for an unknown name or option, a value that an option cannot have, or an impossible pair.
    """
    listed = [] if teachers is None else list(teachers) if isinstance(teachers, Sequence) else [teachers]
    chosen = check_method(name, options)
    guidances: list[Guidance] = []
    for part, (checked, pace) in chosen.items():
        found = METHODS[part](student, listed, checked)
        for guidance in found:
            guidance.share(1 / len(chosen))
            guidance.pace = pace
        guidances += found
    return Method(student, guidances, listed)


def check_method(name: str, options: Mapping[str, object]) -> dict[str, tuple[DataclassInstance, Pace]]:
    """The own and the common options of each of the methods `A+B`, checked as far as that needs no detectors.

    `options` and what is raised: as for `build_method`.
    """
    names = name.split("+")
    if len(names) == 1:
        chosen = {name: options}
    else:
        pace, rest = take_pace(options)
        chosen = {part: pace | own for part, own in _by_method(names, rest).items()}
    return {part: _check_one(part, own) for part, own in chosen.items()}


def _check_one(name: str, options: Mapping[str, object]) -> tuple[DataclassInstance, Pace]:
    made, who = options_class(name), f"method {name}"
    pace, own = take_pace(options) if name != BASELINE else ({}, options)
    return check_options(made, own, who), check_options(Pace, pace, who)


def _by_method(names: Sequence[str], options: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """The options of each of several methods."""
    if len(set(names)) < len(names):
        raise UserError(f"methods {' and '.join(names)}: each can be there once only")
    chosen: dict[str, dict[str, object]] = {name: {} for name in names}
    for option, value in options.items():
        if option not in names or not isinstance(value, Mapping):
            raise UserError(
                f"methods {' and '.join(names)}: say of which of them an option is: {names[0]}.{option}, such as "
                f"--set method.{names[0]}.{option}=VALUE"
            )
        chosen[option] = dict(value)
    return chosen


def refusals(detector: Detector) -> list[str]:
    """The methods by which a detector cannot learn from one of its own kind.

    Each is tried with the detector as student and a copy of it as teacher; one on torch's meta device will do.
    """
    refused = []
    teacher = Frozen(copy.deepcopy(detector))
    for name in METHODS:
        try:
            with detector.mean.device:
                build_method(name, detector, teacher)
        except UserError:
            refused.append(name)
    return refused


__all__ = [
    "METHODS",
    "Frozen",
    "Guidance",
    "Method",
    "Teacher",
    "build_method",
    "method_options",
    "options_class",
    "refusals",
]
