"""The one exception for a user's mistake: the command prints its sentence and exits with status 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LISTED = 20
"""So many known names are listed where none is near."""

CUTOFF = 0.5
"""Least similarity (difflib's ratio, 0..1) of a name that is proposed."""


LONGEST = 80
"""So many characters of a value are shown in a message."""


class UserError(Exception):
    """What was expected, what was found, what to do; one or a few plain sentences, no traceback."""


def beginning(value: object, most: int = LONGEST) -> str:
    """The beginning of a value's text on one line, for messages: a value from a file may be of any length."""
    text = " ".join(str(value)[: 4 * most].split())
    return text if len(text) <= most else f"{text[: most - 3]}..."


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
    given = name[:LONGEST].lower()
    near = [lower[found] for found in difflib.get_close_matches(given, lower, n=most, cutoff=CUTOFF)]
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
        raise UserError(f"{sentence} '{beginning(name)}'{did_you_mean(name, names)}")
