"""Measuring detectors during a run: each student alone, with its averaged weights if it has any."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from headstart.classmap import ClassMap
from headstart.config import Data
from headstart.data.dataset import DetectionDataset
from headstart.detectors.detector import Detector
from headstart.engine.build import validation_batches
from headstart.engine.lane import Lane
from headstart.engine.precision import Precision
from headstart.evaluation.coco import CocoScorer
from headstart.evaluation.collect import OnlyClasses
from headstart.evaluation.evaluate import Progress, evaluate
from headstart.evaluation.metrics import Metrics
from headstart.teachers.own_size import AtOwnSize


class Evaluator:
    """Scores detectors on the validation images; every process takes its share and knows the whole result."""

    def __init__(
        self,
        data: Data,
        dataset: DetectionDataset,
        *,
        device: torch.device,
        precision: Precision,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.loader = validation_batches(data, dataset, rank, world)
        self.scorer = CocoScorer(dataset)
        self.device, self.precision = device, precision

    def score(
        self, detector: Detector | AtOwnSize, progress: Progress | None = None, *, classes: ClassMap | None = None
    ) -> Metrics:
        """AP and its relatives in percent, `per_class` and `images`.

        classes  of a detector that has others than the data: what it finds is translated, and only the objects of
                 classes that it knows are to be found
        """
        if classes is None or classes.identical:
            scorer, translate = self.scorer, None
        else:
            scorer, translate = CocoScorer(OnlyClasses(self.scorer.dataset, classes.known)), classes.detections
        return evaluate(
            detector,
            self.loader,
            scorer,
            device=self.device,
            autocast=self.precision.dtype,
            progress=progress,
            translate=translate,
        )

    def score_lane(self, lane: Lane, progress: Progress | None = None) -> Metrics:
        """The same of a lane's student, with its averaged weights if it has any."""
        with ema_weights(lane):
            return self.score(lane.method.student, progress)


def ema_weights(lane: Lane) -> AbstractContextManager[None]:
    """A context in which the lane's student has the weights that are scored and saved: averaged, if it has those."""
    return lane.ema.applied() if lane.ema is not None else nullcontext()
