"""A data set made of arrays, batches and detections for the scorers' tests."""

from dataclasses import dataclass

import numpy as np
import torch

from headstart.structures import CellIndex, Detections, ImageBatch


@dataclass
class Annotated:
    """The part of a DetectionDataset that scorers use; every image is 200 x 300 pixels."""

    truth: dict[int, tuple[list, list, list]]
    classes: tuple[str, ...] = ("cat", "dog", "owl")

    @property
    def ids(self):
        return list(self.truth)

    @property
    def sizes(self):
        return np.full((len(self.truth), 2), (200, 300))

    def annotations(self, index):
        boxes, labels, ignored = self.truth[self.ids[index]]
        return (
            np.array(boxes, np.float32).reshape(-1, 4),
            np.array(labels, np.int64).reshape(-1),
            np.array(ignored, bool).reshape(-1),
        )


def batch_of(ids, size=(200, 300), original=(200, 300)):
    return ImageBatch(
        torch.zeros(len(ids), 3, 1, 1, dtype=torch.uint8), [size] * len(ids), list(ids), [original] * len(ids)
    )


def found(boxes=(), scores=(), labels=()):
    count = len(scores)
    return Detections(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(scores, dtype=torch.float32).reshape(-1),
        torch.tensor(labels, dtype=torch.int64).reshape(-1),
        CellIndex.none(count),
    )


def random_scene(seed, images=12, classes=5, objects=6):
    """Ground truth and detections near it; the last class never has an object, every third image has none at all."""
    random = np.random.default_rng(seed)
    truth, detections = {}, {}
    for number in range(images):
        image = 7 * number + 3
        count = 0 if number % 3 == 2 else int(random.integers(1, objects))
        corner = random.uniform(0, 120, (count, 2))
        side = random.choice([12, 50, 130], (count, 1)) * random.uniform(0.6, 1.3, (count, 2))
        boxes = np.clip(np.concatenate([corner, corner + side], 1), 0, (300, 200, 300, 200)).astype(np.float32)
        labels = random.integers(0, classes - 1, count)
        truth[image] = (boxes.tolist(), labels.tolist(), (random.random(count) < 0.2).tolist())
        chosen = random.integers(0, count, 2 * count) if count else np.zeros(0, int)
        near = boxes[chosen] + random.normal(0, 1.5, (len(chosen), 4))
        far = np.concatenate([random.uniform(0, 80, (4, 2)), random.uniform(90, 200, (4, 2))], 1)
        rows = np.concatenate([near, far])
        scores = random.random(len(rows)).round(2)
        named = np.concatenate([labels[chosen], random.integers(0, classes, len(far))])
        detections[image] = found(rows.tolist(), scores.tolist(), named.tolist())
    return Annotated(truth, tuple(f"class {k}" for k in range(classes))), detections
