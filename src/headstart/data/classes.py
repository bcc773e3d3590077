"""Class names: from the data, or the part and order that the user asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from headstart.errors import UserError, did_you_mean


def choose_classes(
    found: Sequence[str], wanted: Sequence[str] | None, elsewhere: Callable[[], Sequence[str]]
) -> tuple[tuple[str, ...], np.ndarray]:
    """The classes in label order, and the label of each found class, (len(found),) int64, -1 for those left out.

    found      names in this split, in the data's own order, which is the result where nothing is wanted
    elsewhere  names in the other splits, asked only when a wanted class is missing here
    Raises UserError with the nearest name for a wanted class that the data set does not have at all.
    """
    if wanted is None:
        if not found:
            raise UserError("the annotations name no class.")
        return tuple(found), np.arange(len(found))
    wanted = [wanted] if isinstance(wanted, str) else list(wanted)
    if not wanted:
        raise UserError("classes: expected at least one name, found none.")
    doubled = {name for name in wanted if wanted.count(name) > 1}
    if doubled:
        raise UserError(f"classes: {', '.join(sorted(doubled))} is given twice.")
    missing = [name for name in wanted if name not in found]
    if missing:
        known = [*found, *elsewhere()]
        for name in missing:
            if name not in known:
                raise UserError(f"the data has no class {name!r}{did_you_mean(name, known, quoted=True)}")
    numbers = {name: number for number, name in enumerate(wanted)}
    return tuple(wanted), np.array([numbers.get(name, -1) for name in found], np.int64)
