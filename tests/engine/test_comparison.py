"""The picture of several detectors, each from its best score on."""

import numpy as np
import pytest
import torch

from headstart.config import Data
from headstart.data.discover import open_dataset
from headstart.data.shapes import make_shapes
from headstart.engine.comparison import BestScore, best_scores, compare_detectors
from headstart.recipe import check_section
from headstart.structures import CellIndex, Detections
from laws.tiny import detector


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return open_dataset(make_shapes(tmp_path_factory.mktemp("shapes") / "a", train=1, val=3, size=64), "val")


@pytest.fixture
def data(images):
    return check_section(Data, {"path": "unused", "imgsz": 64, "batch": 2})


class Knowing(torch.nn.Module):
    """Finds every object with a score of 0.6, and as many wrong ones with 0.4."""

    def __init__(self, images):
        super().__init__()
        self.truth = {image: images.annotations(index) for index, image in enumerate(images.ids)}

    def detect(self, batch):
        return [self._find(image) for image in batch.ids]

    def _find(self, image):
        boxes, labels, _ = (torch.as_tensor(part) for part in self.truth[image])
        scores = torch.cat([torch.full((len(labels),), value) for value in (0.6, 0.4)])
        cells = CellIndex(*[torch.zeros(2 * len(labels), dtype=torch.long)] * 4)
        return Detections(torch.cat([boxes, boxes + 1000]).float(), scores, torch.cat([labels, labels]), cells)


def test_the_best_score_leaves_out_what_is_wrong(images, data):
    assert best_scores({"a": Knowing(images)}, images, data) == {"a": BestScore(pytest.approx(0.6), 1.0)}


def test_a_column_for_each_detector_and_a_row_for_each_image(images, data):
    found = detector("fcos", classes=images.classes).eval()
    scores = {"one": BestScore(0.0, 0.1), "two": BestScore(2.0, 0.0)}
    both = dict.fromkeys(scores, found)
    wide = compare_detectors(both, images, data, scores=scores, shown=[0, 2], notes={"one": "AP 1", "two": "AP 2"})
    narrow = compare_detectors({"one": found}, images, data, scores=scores, shown=[0], notes={"one": "AP 1"})
    assert wide.dtype == np.uint8 and wide.shape[1] > narrow.shape[1] and wide.shape[0] > narrow.shape[0]
