"""The one exception for a user's mistake: the command prints its sentence and exits with status 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LISTED = 20
"""So many known names are listed where none is near."""

CUTOFF = 0.5
"""Least similarity (difflib's ratio, 0..1) of a name that is proposed."""


class UserError(Exception):
    """What was expected, what was found, what to do; one or a few plain sentences, no traceback."""


def did_you_mean(
    name: str, known: Iterable[str], *, most: int = 1, quoted: bool = False, otherwise: str | None = None
) -> str:
    """The end of a sentence about an unknown name: `; did you mean NAME?` with the nearest of the known ones.

    most       how many are proposed, the nearest first; case does not matter
    quoted     whether they are put between quotes: names that may have blanks in them
    otherwise  what the sentence ends with where none is near; by default the first known names, "" only the full stop
    """
    names = list(dict.fromkeys(known))
    lower = {other.lower(): other for other in names}
    near = [lower[found] for found in difflib.get_close_matches(name.lower(), lower, n=most, cutoff=CUTOFF)]
    if near:
        return f"; did you mean {' or '.join(repr(other) if quoted else other for other in near)}?"
    if otherwise is None:
        more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
        otherwise = f"expected one of {', '.join(names[:LISTED]) or 'none'}{more}"
    return f"; {otherwise}." if otherwise else "."


def demand_known(name: str, known: Iterable[str], sentence: str) -> None:
    """Raises UserError beginning with the sentence, with the nearest of the known names, unless the name is one."""
    names = list(known)
    if name not in names:
        raise UserError(f"{sentence} '{name}'{did_you_mean(name, names)}")


def printable(name: object) -> str:
    """A file name as text that can be printed and written: each byte that is not UTF-8 becomes `\\xNN`."""
    return str(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
