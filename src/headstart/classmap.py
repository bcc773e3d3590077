"""Which class of the student each class of a teacher stands for, and what that means for labels, scores and weights."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from headstart.cached_tensor import cached_tensor
from headstart.errors import UserError, did_you_mean
from headstart.ordering import stable_nms
from headstart.structures import Detections

LEFT_OUT = -1
"""The number in place of a student's class for a teacher's class that no class of the student's corresponds to."""

SPELLINGS = {"aeroplane": "airplane", "motorbike": "motorcycle", "sofa": "couch", "tvmonitor": "tv"}
"""Pascal VOC's words for COCO's classes, where they differ by more than spaces, underscores, hyphens and case."""

NO_CLASS = ("N/A", "__background__")
"""What lists with numbers that nobody uses (torchvision's 91 of COCO) put in the gaps."""

SHOWN = 12


@dataclass(frozen=True)
class ClassMap:
    """Made by `match_classes`. K_t and K_s classes of teacher and student; J of the student's are known to the teacher.

    goal  (K_t) for each class of the teacher the number of the student's, or LEFT_OUT

    Several classes of the teacher may stand for one of the student's; each method below says how they are merged.
    """

    teacher: tuple[str, ...]
    student: tuple[str, ...]
    goal: tuple[int, ...]

    @property
    def identical(self) -> bool:
        """Whether number i means the same on both sides, whatever the spelling."""
        return self.goal == tuple(range(len(self.student)))

    @cached_property
    def known(self) -> tuple[int, ...]:
        """The student's classes that the teacher knows, (J) ascending."""
        return tuple(sorted({number for number in self.goal if number != LEFT_OUT}))

    @property
    def merges(self) -> bool:
        """Whether several classes of the teacher stand for one of the student's."""
        return len(self.known) < sum(number != LEFT_OUT for number in self.goal)

    @property
    def unmatched_teacher(self) -> tuple[str, ...]:
        """The teacher's classes that are left out; gaps of its list are not named."""
        return tuple(
            name for name, number in zip(self.teacher, self.goal) if number == LEFT_OUT and name not in NO_CLASS
        )

    @property
    def unmatched_student(self) -> tuple[str, ...]:
        """The student's classes that the teacher does not know."""
        return tuple(name for number, name in enumerate(self.student) if number not in self.known)

    def sources(self, number: int) -> tuple[str, ...]:
        """The teacher's classes that stand for one of the student's."""
        return tuple(name for name, goal in zip(self.teacher, self.goal) if goal == number)

    def labels(self, labels: Tensor) -> Tensor:
        """The student's numbers for the teacher's (N,); background K_t becomes K_s, what is left out LEFT_OUT."""
        return cached_tensor([*self.goal, len(self.student)], torch.int64, labels.device)[labels]

    def detections(self, found: Detections, overlap: float = 0.5) -> Detections:
        """What a teacher found, with the student's labels; boxes of classes that are left out are dropped.

        Merged classes may have found one object twice: NMS within the new classes keeps the better box.
        """
        labels = self.labels(found.labels)
        kept = (labels != LEFT_OUT).nonzero().flatten()
        found = Detections(found.boxes[kept], found.scores[kept], labels[kept], found.cells[kept])
        if not self.merges:
            return found
        return found[stable_nms(found.boxes.float(), found.scores.float(), found.labels, overlap)]

    def pull_scores(self, scores: Tensor, *, merge: Literal["sum", "max"], dim: int = -1) -> Tensor:
        """The teacher's probabilities of the classes that the student shares: K_t -> J along `dim`, as in `known`.

        merge  "sum" for classes that exclude each other (softmax: the probability of any of them, the rest is
               background), "max" for classes judged one by one (sigmoid)
        The student's own for comparison: `pick`. What the teacher does not know is not compared.
        """
        return self._gather(scores, dim, "sum" if merge == "sum" else "amax")

    def pull_logits(self, logits: Tensor, *, dim: int = -1) -> Tensor:
        """The same for logits, K_t -> J along `dim`: of merged classes the largest, as "max" does for sigmoids."""
        return self._gather(logits, dim, "amax")

    def pick(self, values: Tensor, *, dim: int = -1) -> Tensor:
        """The student's values of the classes that the teacher knows: K_s -> J along `dim`."""
        return values.index_select(dim, cached_tensor(self.known, torch.int64, values.device))

    def pull_rows(self, teacher: Tensor, own: Tensor) -> Tensor:
        """`own` (K_s, ...) with the teacher's rows (K_t, ...) where it knows the class: of merged ones the mean."""
        rows = [row for row, number in enumerate(self.goal) if number != LEFT_OUT]
        goal = cached_tensor([self.goal[row] for row in rows], torch.int64, own.device)
        sums = torch.zeros_like(own).index_add(0, goal, teacher.to(own)[cached_tensor(rows, torch.int64, own.device)])
        count = self.counts(own.device).reshape(-1, *[1] * (own.ndim - 1))
        return torch.where(count > 0, sums / count.clamp(min=1), own)

    def counts(self, device: torch.device | str | None = None) -> Tensor:
        """How many classes of the teacher stand for each of the student's: (K_s,) int64."""
        return cached_tensor([self.goal.count(number) for number in range(len(self.student))], torch.int64, device)

    def describe(
        self,
        who: tuple[str, str] = ("student", "teacher"),
        unknown: str = "(unknown: learned from the ground truth alone)",
    ) -> list[dict[str, str]]:
        """The rows of a table: the student's classes with the teacher's, then those in short that need no words.

        who      what the two are called;  unknown  what is said of a class that the teacher does not know
        """
        own, other = who
        rows, same = [], []
        for number, name in enumerate(self.student):
            sources = self.sources(number)
            if sources == (name,):
                same.append(name)
            else:
                rows.append({own: name, other: " + ".join(sources) or unknown})
        rest = {"(same name)": same, "(left out)": self.unmatched_teacher}
        return rows + [{own: what, other: shorten(names)} for what, names in rest.items() if names]

    def _gather(self, values: Tensor, dim: int, reduce: str) -> Tensor:
        rows = [row for row, number in enumerate(self.goal) if number != LEFT_OUT]
        taken = values.index_select(dim, cached_tensor(rows, torch.int64, values.device))
        place = cached_tensor([self.known.index(self.goal[row]) for row in rows], torch.int64, values.device)
        shape = list(taken.shape)
        shape[dim] = len(self.known)
        along = [1] * taken.ndim
        along[dim] = -1
        index = place.reshape(along).expand_as(taken)
        return taken.new_zeros(shape).scatter_reduce(dim, index, taken, reduce, include_self=False)


def match_classes(
    teacher: Sequence[str],
    student: Sequence[str],
    given: Mapping[str, str | None] | None = None,
    *,
    who: tuple[str, str] = ("teacher", "student"),
    needed: bool = True,
) -> ClassMap:
    """Matches classes by name: exactly, else by the same word in another spelling (case, separators, `SPELLINGS`).

    given  teacher's class -> student's class, or None to leave it out; replaces what the names say for these classes
    who    what the two are called in error messages
    needed whether it is an error that nothing matches at all

    Raises UserError if a given name does not exist (with the nearest), if a name could mean several classes, and if
    nothing matches where that is `needed`.
    """
    chosen: dict[int, int] = {}
    for name, other in (given or {}).items():
        if not isinstance(name, str) or not isinstance(other, str | None):
            raise UserError(
                f"class map: expected `{who[0]} class: {who[1]} class` (or null), found {name!r}: {other!r}"
            )
        row = find_class(name, teacher, who[0])
        if row is None:
            near = did_you_mean(name, _classes(teacher), quoted=True)
            raise UserError(f"class map: the {who[0]} has no class {name!r}{near}")
        number = LEFT_OUT if other is None else find_class(other, student, who[1])
        if number is None:
            near = did_you_mean(other or "", student, quoted=True)
            raise UserError(f"class map: the {who[1]} has no class {other!r}{near}")
        if row in chosen:
            raise UserError(f"class map: the {who[0]}'s class {teacher[row]!r} is given twice.")
        chosen[row] = number
    goal = [chosen[row] if row in chosen else _guess(name, student, who[1]) for row, name in enumerate(teacher)]
    if needed and all(number == LEFT_OUT for number in goal):
        raise UserError(
            f"{who[0]} and {who[1]} have no class in common: the {who[0]} finds {shorten(_classes(teacher))}; "
            f"the {who[1]} {'has ' * (who[1] == 'data')}{shorten(student)}. Say which belong together by --class-map "
            f"FILE, lines of `{who[0]} class: {who[1]} class`, or use another {who[0]}."
        )
    return ClassMap(tuple(teacher), tuple(student), tuple(goal))


def spelling(name: str) -> str:
    """One form for all spellings of a class: `TV-Monitor`, `tvmonitor` and `tv` are the same."""
    plain = re.sub(r"[\s_-]+", "", name.casefold())
    return SPELLINGS.get(plain, plain)


def _guess(name: str, student: Sequence[str], who: str) -> int:
    if name in NO_CLASS:
        return LEFT_OUT
    found = find_class(name, student, who)
    return LEFT_OUT if found is None else found


def find_class(name: str, classes: Sequence[str], who: str) -> int | None:
    """The number of a class in a list, None if it is not there."""
    if name in classes:
        return list(classes).index(name)
    plain = spelling(name)
    same = [number for number, other in enumerate(classes) if spelling(other) == plain]
    if len(same) > 1:
        options = " or ".join(repr(classes[number]) for number in same)
        raise UserError(f"the class {name!r} may be the {who}'s {options}: say which by --class-map FILE.")
    return same[0] if same else None


def _classes(names: Sequence[str]) -> list[str]:
    return [name for name in names if name not in NO_CLASS]


def shorten(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
