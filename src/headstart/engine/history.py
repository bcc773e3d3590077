"""What a run has measured so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NotRequired, TypedDict

from headstart.engine.identity import Identity
from headstart.evaluation.metrics import Metrics
from headstart.report.results import DataFacts


class Evaluation(TypedDict):
    """One evaluation of one lane: after optimiser step `step`, which ended epoch `epoch`."""

    step: int
    epoch: int
    metrics: Metrics


class HistoryState(TypedDict):
    """A `History` as last.ckpt keeps it; `identity` is not in files that were written before there was one."""

    data: DataFacts
    teachers: dict[str, Metrics]
    scores: dict[str, list[Evaluation]]
    terms: dict[str, dict[str, float]]
    finished: bool
    identity: NotRequired[Identity]


@dataclass
class History:
    """What was measured so far; plain values, kept in the checkpoint.

    data      what the run was trained on: compared when it is continued
    teachers  name -> its metrics
    scores    lane -> evaluations in order
    terms     lane -> the last reading of its losses
    finished  whether the run has come to its end
    identity  what data and detectors are made of, compared when the run is continued
    """

    data: DataFacts
    teachers: dict[str, Metrics] = field(default_factory=dict)
    scores: dict[str, list[Evaluation]] = field(default_factory=dict)
    terms: dict[str, dict[str, float]] = field(default_factory=dict)
    finished: bool = False
    identity: Identity = field(default_factory=Identity)

    def best(self, lane: str) -> Evaluation | None:
        """The evaluation with the highest AP, None where no AP is defined."""
        defined = [(ap, score) for score in self.scores.get(lane, []) if (ap := score["metrics"]["AP"]) is not None]
        return max(defined, key=lambda pair: pair[0])[1] if defined else None

    def stale(self, lane: str) -> int:
        """How many evaluations of the lane in a row, up to the last, brought no higher AP than any before.

        An AP that is not defined is none.
        """
        best, since = None, 0
        for score in self.scores.get(lane, []):
            ap = score["metrics"]["AP"]
            better = ap is not None and (best is None or ap > best)
            best, since = (ap, 0) if better else (best, since + 1)
        return since

    def scored(self, lane: str, step: int) -> bool:
        """Whether the lane was evaluated after this step."""
        return any(score["step"] == step for score in self.scores.get(lane, []))

    def state(self) -> HistoryState:
        """The same as plain values."""
        return {
            "data": self.data,
            "teachers": self.teachers,
            "scores": self.scores,
            "terms": self.terms,
            "finished": self.finished,
            "identity": self.identity,
        }
