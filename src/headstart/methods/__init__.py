"""The methods by name."""

from __future__ import annotations

import difflib
import inspect
from typing import Any

from headstart.detectors.detector import Detector
from headstart.errors import UserError
from headstart.methods.base import Frozen, Method
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


def build_method(name: str, student: Detector, teacher: Frozen | None = None, **options: Any) -> Method:
    """The method called `name` for this pair. Raises UserError for an unknown name or option or an impossible pair."""
    known = method_options(name)
    for option in options:
        if option not in known:
            near = difflib.get_close_matches(option, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known) or 'none'}."
            raise UserError(f"method {name} has no option '{option}'; {hint}")
    return METHODS[name](student, teacher, **options)


def roles(detector: Detector) -> dict[str, str]:
    """The methods that this detector can teach and learn by, as the columns of a table."""
    head = detector.head
    return {
        "teaches by": ", ".join(name for name, kind in METHODS.items() if isinstance(head, kind.teachers)) or "-",
        "learns by": ", ".join(name for name, kind in METHODS.items() if isinstance(head, kind.students)) or "-",
    }


__all__ = ["METHODS", "Frozen", "Method", "build_method", "method_options", "roles"]
