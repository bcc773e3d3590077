"""Collects what a detector found, image by image, until it is scored."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

import numpy as np

from headstart.errors import UserError
from headstart.evaluation.gather import DetectionTable, gather
from headstart.evaluation.original import to_original
from headstart.structures import Detections, ImageBatch


class GroundTruth(Protocol):
    """What a scorer needs of a data set; `headstart.data.dataset.DetectionDataset` has it."""

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def ids(self) -> list[int]: ...

    @property
    def sizes(self) -> np.ndarray: ...

    def annotations(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """boxes (M, 4) xyxy pixels of the stored image, labels (M,), ignored (M,) bool of image number `index`."""
        ...


class OnlyClasses:
    """A data set in which only the objects of some classes (their numbers) are to be found; numbers stay as they are.

    Images stay, too: whatever is found in them of these classes is right or wrong. The other classes' AP is undefined.
    """

    def __init__(self, dataset: GroundTruth, wanted: Collection[int]) -> None:
        self.dataset, self.wanted = dataset, list(wanted)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.dataset.classes

    @property
    def ids(self) -> list[int]:
        return self.dataset.ids

    @property
    def sizes(self) -> np.ndarray:
        return self.dataset.sizes

    def annotations(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        boxes, labels, ignored = self.dataset.annotations(index)
        rows = np.isin(labels, self.wanted)
        return boxes[rows], labels[rows], ignored[rows]


class Collector:
    """The part that all scorers share: `update` with each batch, then the table of everything that was found.

    A round ends when the table is taken: the next update begins a new one, so that the detections of two epochs
    never mix. An image that comes twice in a round (a distributed sampler pads with copies) counts once.

    partial: accept that only some images of the data set were looked at; the numbers then speak of these alone.
    """

    def __init__(self, dataset: GroundTruth, *, partial: bool = False) -> None:
        self.dataset = dataset
        self.partial = partial
        self._known = frozenset(dataset.ids)
        self.reset()

    def reset(self) -> None:
        """Forget everything that was collected."""
        self._found: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        self._table: DetectionTable | None = None

    def update(self, batch: ImageBatch, detections: list[Detections]) -> None:
        """Add the detections of one batch, given in pixels of its padded input.

        Raises ValueError for an image that the data set does not have, a label without a class, or another number of
        detections than images; UserError for boxes or scores that are not finite.
        """
        if len(detections) != len(batch):
            raise ValueError(f"expected detections for {len(batch)} images, found them for {len(detections)}")
        if self._table is not None:
            self.reset()
        for index, image in enumerate(batch.ids):
            if image not in self._known:
                raise ValueError(
                    f"image id {image} is not one of the {len(self._known)} images that are scored; "
                    "the loader and the scorer have to be built from the same data set and split"
                )
            if image not in self._found:
                self._found[image] = self._arrays(image, to_original(detections[index], batch, index))

    def _arrays(self, image: int, found: Detections) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        boxes = found.boxes.detach().float().cpu().numpy()
        scores = found.scores.detach().float().cpu().numpy()
        labels = found.labels.detach().cpu().numpy().astype(np.int64)
        if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
            raise UserError(
                f"the detector's boxes or scores are not finite numbers (image id {image}): "
                "its weights have diverged. Train it with a lower learning rate or a longer warm-up."
            )
        count = len(self.dataset.classes)
        if len(labels) and not (labels.min() >= 0 and labels.max() < count):
            raise ValueError(
                f"labels must be in 0..{count - 1}, found {labels.min()}..{labels.max()} in image id {image}"
            )
        return boxes, scores, labels

    def table(self) -> DetectionTable:
        """Everything found in this round, over all processes; a collective call in a distributed run.

        Raises ValueError when images of the data set were never looked at, unless `partial`.
        """
        if self._table is None:
            self._table = gather(self._local())
        missing = len(self._known) - len(self._table.images)
        if missing and not self.partial:
            raise ValueError(
                f"{missing} of the {len(self._known)} images were never looked at, so the score would be too low; "
                "score the whole split or build the scorer with partial=True"
            )
        return self._table

    def _local(self) -> DetectionTable:
        found = list(self._found.values())
        counts = [len(scores) for _, scores, _ in found]
        images = np.array(list(self._found), dtype=np.int64)
        return DetectionTable(
            images,
            np.repeat(images, counts),
            np.concatenate([np.zeros((0, 4), np.float32), *(boxes for boxes, _, _ in found)]),
            np.concatenate([np.zeros(0, np.float32), *(scores for _, scores, _ in found)]),
            np.concatenate([np.zeros(0, np.int64), *(labels for _, _, labels in found)]),
        )
