"""For each class the score from which on a detector's boxes are best taken as they are: that of the best F1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headstart.evaluation.voc import VocScorer, judge

Judged = tuple[np.ndarray, np.ndarray, int]
"""Of one class: scores (N,) falling, which are hits (N,), and how many objects were to be found."""


def best_f1(scores: np.ndarray, hits: np.ndarray, wanted: int) -> tuple[float, float]:
    """The threshold whose detections, those of this score or a higher one, have the best F1; and that F1, 0..1.

    scores (N,) falling, hits (N,) bool; `wanted` objects were to be found. F1 is 2 TP / (detections + wanted). Of equal
    F1 the higher threshold counts. Where nothing was found rightly, (1, 0).
    """
    if not hits.any():
        return 1.0, 0.0
    f1 = 2 * np.cumsum(hits) / (np.arange(1, len(hits) + 1) + wanted)
    f1[:-1][scores[:-1] == scores[1:]] = -1.0  # a threshold takes all detections of its score, or none
    best = int(f1.argmax())
    return float(scores[best]), float(f1[best])


@dataclass(frozen=True)
class Chosen:
    """Of one class: the least score of a detection that is taken as it is, and the F1 that this gives, 0..1.

    f1 is None where the class has no object, or where none of its detections is right: the score is then that of all
    classes together.
    """

    threshold: float
    f1: float | None


class ThresholdScorer(VocScorer):
    """Which score of each class to begin at, at IoU 0.5; ignored objects neither count nor cost.

    Which detection is a hit, `headstart.evaluation.voc.voc_class` says.
    """

    def choose(self) -> dict[str, Chosen]:
        """By class, of everything that was collected; a collective call in a distributed run."""
        judged = self._judged()
        together, _ = _together(judged)
        found = zip(self.dataset.classes, (best_f1(*one) for one in judged))
        return {name: Chosen(score, f1) if f1 else Chosen(together, None) for name, (score, f1) in found}

    def best(self) -> tuple[float, float]:
        """One score for all classes, and the F1 that it gives over all of them; a collective call in the same way."""
        return _together(self._judged())

    def _judged(self) -> list[Judged]:
        return [
            (*judge(found, wanted, self.threshold), int((~wanted["ignored"]).sum()))
            for found, wanted in self.by_class(self.table())
        ]


def _together(judged: list[Judged]) -> tuple[float, float]:
    scores, hits = (np.concatenate([one[part] for one in judged]) for part in (0, 1))
    order = np.argsort(-scores, kind="stable")
    return best_f1(scores[order], hits[order], sum(count for *_, count in judged))
