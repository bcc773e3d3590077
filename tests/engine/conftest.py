"""`toys` importable from the tests beside it, and the smallest real run."""

import sys
from pathlib import Path

import pytest
import torch

from headstart.config import Run
from headstart.data.discover import open_dataset
from headstart.data.shapes import make_shapes
from headstart.detectors.weights.native import save_detector
from headstart.detectors.zoo import build_detector
from headstart.recipe import check_run

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def shapes(tmp_path_factory):
    """A folder of ten training and four validation pictures of 64 px."""
    return make_shapes(tmp_path_factory.mktemp("data") / "shapes", train=10, val=4, size=64)


@pytest.fixture(scope="session")
def teacher_file(shapes, tmp_path_factory):
    """Weights of a tiny untrained Faster R-CNN."""
    torch.manual_seed(3)
    classes = open_dataset(shapes, "val").classes
    detector = build_detector("fasterrcnn_r10", classes, width=16, hidden=16, pretrained=False)
    return save_detector(detector, tmp_path_factory.mktemp("teacher") / "student.safetensors")


@pytest.fixture(scope="session")
def dense_teacher_file(shapes, tmp_path_factory):
    """Weights of a tiny untrained GFL with towers of two blocks."""
    torch.manual_seed(4)
    classes = open_dataset(shapes, "val").classes
    detector = build_detector("gfl_r10", classes, width=32, depth=2, pretrained=False)
    return save_detector(detector, tmp_path_factory.mktemp("teacher") / "student.safetensors")


@pytest.fixture
def tiny_run(shapes, teacher_file, dense_teacher_file, tmp_path):
    """tiny_run(student=..., **changes of train) -> a Run with the lanes baseline and head; five steps make an epoch.

    method  one that a GFL teaches, in place of HEAD from a Faster R-CNN
    """

    def make(
        student: str = "retinanet_mnv2_050", distil: bool = True, batch: int = 2, method: str | None = None, **train
    ) -> Run:
        tree = {
            "data": {"path": str(shapes), "imgsz": 64, "batch": batch},
            "student": {"name": student, "width": 16, "pretrained": False, "options": {"depth": 1}},
            "train": {"steps": 12, "warmup": 2, "lr": 0.01, "eval_every": 0, "device": "cpu", **train},
            "out": str(tmp_path / "runs"),
        }
        if method is not None:
            tree |= {"teacher": str(dense_teacher_file), "method": method, "baseline": True}
        elif distil:
            tree |= {"teacher": str(teacher_file), "method": {"name": "head", "regions": 32}, "baseline": True}
        return check_run(tree)

    return make
