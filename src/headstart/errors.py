"""The one exception for a user's mistake: the command prints its sentence and exits with status 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """What was expected, what was found, what to do; one or a few plain sentences, no traceback."""


def demand_known(name: str, known: Iterable[str], sentence: str) -> None:
    """Raises UserError beginning with the sentence, with the nearest of the known names, unless the name is one."""
    names = list(known)
    if name not in names:
        near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(names) or 'none'}."
        raise UserError(f"{sentence} '{name}'; {hint}")
