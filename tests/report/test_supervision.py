"""Detections for the package `supervision`; most of it needs the package (the extra of that name)."""

import sys
import types

import numpy as np
import pytest
import torch

from headstart.errors import UserError
from headstart.structures import CellIndex, Detections

CLASSES = ("cat", "dog")


@pytest.fixture
def found():
    boxes = torch.tensor([[1.0, 2.0, 9.0, 8.0], [3.0, 4.0, 7.0, 6.0]], requires_grad=True)
    return Detections(boxes, torch.tensor([0.75, 0.5]), torch.tensor([1, 0]), CellIndex.none(2))


def test_without_the_package_one_sentence(found, monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(UserError, match=r"pip install 'headstart\[supervision\]'"):
        found.to_supervision(CLASSES)


def test_a_package_that_is_broken_is_not_called_missing(found, monkeypatch):
    def fail(*_, **__):
        raise ModuleNotFoundError("No module named 'scipy'", name="scipy")

    monkeypatch.delitem(sys.modules, "supervision", raising=False)
    monkeypatch.setattr(sys, "meta_path", [types.SimpleNamespace(find_spec=fail), *sys.meta_path])
    with pytest.raises(ModuleNotFoundError, match="scipy"):
        found.to_supervision()


def test_the_same_boxes(found):
    supervision = pytest.importorskip("supervision", reason="the extra `supervision` is not installed")
    given = found.to_supervision(CLASSES)
    assert isinstance(given, supervision.Detections)
    assert given.xyxy.tolist() == found.boxes.tolist() and given.xyxy.dtype == np.float32
    assert given.confidence.tolist() == [0.75, 0.5] and given.class_id.tolist() == [1, 0]
    assert list(given["class_name"]) == ["dog", "cat"]
    given.xyxy[0] = 0
    assert found.boxes[0, 2] == 9  # a copy
    assert "class_name" not in found.to_supervision().data


def test_nothing_found(found):
    supervision = pytest.importorskip("supervision", reason="the extra `supervision` is not installed")
    none = found[:0].to_supervision(CLASSES)
    assert len(none) == 0 and len(supervision.Detections.merge([none, found.to_supervision(CLASSES)])) == 2


def test_the_package_draws_them(found):
    supervision = pytest.importorskip("supervision", reason="the extra `supervision` is not installed")
    picture = np.zeros((12, 12, 3), np.uint8)
    assert supervision.BoxAnnotator(thickness=1).annotate(picture.copy(), found.to_supervision(CLASSES)).any()


def test_a_label_without_a_name(found):
    pytest.importorskip("supervision", reason="the extra `supervision` is not installed")
    with pytest.raises(ValueError, match="label 1 has no name among 1 classes"):
        found.to_supervision(["cat"])
