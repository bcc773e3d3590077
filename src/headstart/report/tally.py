"""What a detector found, missed and made up in one picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headstart.evaluation.voc import matches
from headstart.report.drawing import Drawn

OVERLAP = 0.5


@dataclass(frozen=True)
class Tally:
    """found: objects that some drawn box of their class overlaps by half; missed (M, 4): the boxes of the others;
    wrong: drawn boxes that hit no object of their class, or one that a better box has already."""

    found: int
    wrong: int
    missed: np.ndarray

    @property
    def wanted(self) -> int:
        """How many objects were to be found."""
        return self.found + len(self.missed)

    def __str__(self) -> str:
        found = f"{self.found} of {self.wanted} found" if self.wanted else "no objects"
        return found + (f", {self.wrong} wrong" if self.wrong else "")


def tally(drawn: Drawn, truth: Drawn) -> Tally:
    """Compare drawn boxes with the ground truth, class by class; ignored objects count neither way."""
    ignored = np.zeros(len(truth.labels), bool) if truth.ignored is None else truth.ignored.astype(bool)
    hit, wrong = np.zeros(len(truth.labels), bool), 0
    scores = np.ones(len(drawn.labels)) if drawn.scores is None else drawn.scores
    for label in np.unique(drawn.labels):
        rows = np.flatnonzero(drawn.labels == label)
        rows = rows[np.argsort(-scores[rows], kind="stable")]
        objects = np.flatnonzero(truth.labels == label)
        boxes, wanted = drawn.boxes[rows].astype(float), truth.boxes[objects].astype(float)
        best, overlap = matches(boxes, np.zeros(len(rows)), wanted, np.zeros(len(objects)))  # all of one image
        owners = objects[best[overlap >= OVERLAP]]
        claims = owners[~ignored[owners]]
        hit[claims] = True
        wrong += int((overlap < OVERLAP).sum()) + len(claims) - len(np.unique(claims))
    return Tally(int(hit.sum()), wrong, truth.boxes[~hit & ~ignored])
