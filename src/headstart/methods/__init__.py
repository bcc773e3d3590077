"""The methods by name."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from headstart.detectors.detector import Detector
from headstart.errors import UserError, demand_known
from headstart.methods.base import Frozen, Method, list_teachers
from headstart.methods.baseline import Baseline
from headstart.methods.head import HEAD

METHODS: dict[str, type[Method]] = {"baseline": Baseline, "head": HEAD}


def method_options(name: str) -> list[str]:
    """The options that method `name` takes. Raises UserError for an unknown name."""
    demand_known(name, METHODS, "no method is called")
    return [p for p in inspect.signature(METHODS[name]).parameters if p not in ("student", "teacher")]


def build_method(
    name: str, student: Detector, teacher: Frozen | Sequence[Frozen] | None = None, **options: Any
) -> Method:
    """The method called `name` for this student and its teachers, if any.

    Raises UserError for an unknown name or option, an impossible pair, or more teachers than the method takes.
    """
    known = method_options(name)
    for option in options:
        demand_known(option, known, f"method {name} has no option")
    guides = list_teachers(teacher)
    if len(guides) > 1 and not METHODS[name].several_teachers:
        found = ", ".join(guide.name for guide in guides)
        raise UserError(f"method {name} learns from one teacher, found {len(guides)} ({found}); give only one of them")
    if len(guides) > 1:
        return METHODS[name](student, guides, **options)
    return METHODS[name](student, guides[0] if guides else None, **options)


def roles(detector: Detector) -> dict[str, str]:
    """The methods that this detector can teach and learn by, as the columns of a table."""
    head = detector.head
    return {
        "teaches by": ", ".join(name for name, kind in METHODS.items() if isinstance(head, kind.teachers)) or "-",
        "learns by": ", ".join(name for name, kind in METHODS.items() if isinstance(head, kind.students)) or "-",
    }


__all__ = ["METHODS", "Frozen", "Method", "build_method", "method_options", "roles"]
