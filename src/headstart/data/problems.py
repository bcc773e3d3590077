"""Bad data: collected with file and reason while a folder is read, then listed at once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

SHOWN = 20

DETAILS, NUMBERS = re.compile(r" \([^)]*\)"), re.compile(r"-?\d+(\.\d+)?")
"""What differs between reasons of one kind."""


@dataclass(frozen=True)
class Problem:
    """What is wrong: the file (relative to the folder where possible), the reason, and what skipping drops."""

    file: str
    reason: str
    dropped: str = "box"


class Problems:
    """The list that grows while reading. `notes`: harmless changes worth a sentence (clipped boxes, unused classes)."""

    def __init__(self) -> None:
        self._found: list[Problem] = []
        self.notes: list[str] = []

    def add(self, file: object, reason: str, dropped: str = "box") -> None:
        """Lists a problem, see `Problem`."""
        file, reason = (text.encode("utf-8", "replace").decode() for text in (str(file), reason))
        self._found.append(Problem(file, reason, dropped))

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._found)

    def table(self) -> str:
        """Up to 20 lines `file  reason`; if there are more, how many, and how many there are of each kind."""
        shown = self._found[:SHOWN]
        width = min(60, max((len(problem.file) for problem in shown), default=0))
        lines = [f"  {problem.file:<{width}}  {problem.reason}" for problem in shown]
        if len(self) > SHOWN:
            lines.append(f"  ... and {len(self) - SHOWN} more")
            kinds = Counter(NUMBERS.sub("N", DETAILS.sub("", problem.reason)) for problem in self)
            if len(kinds) > 1:
                lines += [f"  {count} x {kind}" for kind, count in kinds.most_common(SHOWN)]
        return "\n".join(lines)

    def summary(self) -> str:
        """What skipping drops, such as `3 boxes and 1 image`."""
        plural = {"box": "boxes", "image": "images", "class": "classes", "label file": "label files"}
        counts = Counter(problem.dropped for problem in self._found)
        parts = [f"{n} {kind if n == 1 else plural[kind]}" for kind, n in sorted(counts.items())]
        return " and ".join(parts)
