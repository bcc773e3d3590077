"""The methods by name."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Sequence
from typing import Any

from headstart.detectors.detector import Detector
from headstart.errors import UserError
from headstart.methods.base import Frozen, Method, list_teachers
from headstart.methods.baseline import Baseline
from headstart.methods.head import HEAD

METHODS: dict[str, type[Method]] = {"baseline": Baseline, "head": HEAD}


def method_options(name: str) -> list[str]:
    """The options that method `name` takes. Raises UserError for an unknown name."""
    if name not in METHODS:
        near = difflib.get_close_matches(name.lower(), METHODS, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(METHODS)}."
        raise UserError(f"no method is called '{name}'; {hint}")
    return [p for p in inspect.signature(METHODS[name]).parameters if p not in ("student", "teacher")]


def build_method(
    name: str, student: Detector, teacher: Frozen | Sequence[Frozen] | None = None, **options: Any
) -> Method:
    """The method called `name` for this student and its teachers, if any.

    Raises UserError for an unknown name or option, an impossible pair, or more teachers than the method takes.
    """
    known = method_options(name)
    for option in options:
        if option not in known:
            near = difflib.get_close_matches(option, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known) or 'none'}."
            raise UserError(f"method {name} has no option '{option}'; {hint}")
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
