"""One table of all detections, joined over the processes of a distributed run, every image once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch.distributed as dist


@dataclass(frozen=True)
class DetectionTable:
    """Detections of many images as flat arrays, in pixels of the stored images.

    images (I,) int64: every image that was looked at, also those without a detection
    owners (N,) int64: the image id behind each row; boxes (N, 4) xyxy; scores (N,); labels (N,) int64 in 0..K-1
    """

    images: np.ndarray
    owners: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.owners)

    def without(self, images: np.ndarray) -> DetectionTable:
        """The same table without the given images (ids, any number of them) and their rows."""
        rows = ~np.isin(self.owners, images)
        return DetectionTable(
            self.images[~np.isin(self.images, images)],
            self.owners[rows],
            self.boxes[rows],
            self.scores[rows],
            self.labels[rows],
        )


def join(tables: list[DetectionTable]) -> DetectionTable:
    """All tables as one, sorted by image id.

    A distributed sampler repeats images so that every process gets equally many; the first table that has an image
    keeps it, later copies are dropped with all their rows. The result does not depend on how the images were split.
    """
    kept: list[DetectionTable] = []
    seen = np.zeros(0, np.int64)
    for table in tables:
        fresh = table.without(seen)
        seen = np.concatenate([seen, fresh.images])
        kept.append(fresh)
    owners = np.concatenate([table.owners for table in kept])
    order = np.argsort(owners, kind="stable")
    return DetectionTable(
        np.sort(seen),
        owners[order],
        np.concatenate([table.boxes for table in kept])[order],
        np.concatenate([table.scores for table in kept])[order],
        np.concatenate([table.labels for table in kept])[order],
    )


def gather(table: DetectionTable) -> DetectionTable:
    """The tables of all processes joined, the same on every process; without a distributed run just this one, sorted.

    A collective call: every process of the default group has to make it.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return join([table])
    tables: list[DetectionTable | None] = [None] * dist.get_world_size()
    dist.all_gather_object(tables, table)
    return join([found for found in tables if found is not None])
