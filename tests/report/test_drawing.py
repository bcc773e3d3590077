"""Boxes on an image."""

import numpy as np
import pytest
import torch

from headstart.report.colours import class_colour
from headstart.report.drawing import GREY, Drawn, draw_boxes
from headstart.report.font import font_for, shorten, text_width
from headstart.structures import CellIndex, Detections

CLASSES = ("cat", "dog")


def image(height=600, width=600, value=90):
    return np.full((height, width, 3), value, np.uint8)


def boxes(*rows, labels=None, **more):
    return Drawn(np.array(rows, float).reshape(-1, 4), np.array(labels or [0] * len(rows), int), **more)


def count(picture, colour):
    return int((picture == colour).all(axis=2).sum())


def test_a_box_is_outlined_in_its_class_colour_and_the_image_left_alone():
    before = image()
    picture = draw_boxes(before, boxes([100, 200, 300, 400], labels=[1]), CLASSES)
    assert picture.shape == before.shape and (before == 90).all()
    assert tuple(picture[300, 100]) == tuple(picture[300, 300]) == tuple(picture[400, 200]) == class_colour(1)
    assert (picture[250:350, 150:250] == 90).all()
    assert count(picture, class_colour(0)) == 0


def test_small_images_are_enlarged_and_large_ones_kept():
    assert draw_boxes(image(64, 128), boxes(), CLASSES).shape == (240, 480, 3)
    assert draw_boxes(image(64, 128), boxes(), CLASSES, shortest=0).shape == (64, 128, 3)
    assert draw_boxes(image(700, 900), boxes(), CLASSES).shape == (700, 900, 3)
    enlarged = draw_boxes(image(100, 100), boxes([10, 10, 90, 90]), CLASSES, shortest=1000)
    assert tuple(enlarged[500, 101]) == class_colour(0)


def test_nothing_to_draw_changes_nothing():
    np.testing.assert_array_equal(draw_boxes(image(), boxes(), CLASSES), image())


def test_ignored_boxes_are_grey_and_missed_ones_dashed():
    grey = draw_boxes(image(), boxes([100, 200, 300, 400], ignored=np.array([True])), CLASSES)
    assert count(grey, class_colour(0)) == 0 and count(grey, GREY) > 500
    dashed = draw_boxes(image(), boxes(), CLASSES, missed=np.array([[100, 200, 300, 400]]))
    edge = (dashed[200, 100:300] == 255).all(axis=1)
    assert 0.3 < edge.mean() < 0.7


@pytest.mark.parametrize(
    "box",
    [[-50, -50, 9999, 9999], [0, 0, 0, 0], [599, 599, 600, 600], [700, 700, 800, 800], [50, 50, 40, 40]],
    ids=["beyond every side", "empty", "in the corner", "outside", "turned round"],
)
def test_odd_boxes_are_drawn_inside(box):
    assert draw_boxes(image(), boxes(box, scores=np.array([0.5])), CLASSES).shape == (600, 600, 3)
    assert draw_boxes(image(1, 1), boxes(box), CLASSES, missed=np.array([box], float)).shape == (480, 480, 3)


def test_names_give_way_to_each_other():
    one = draw_boxes(image(), boxes([200, 200, 400, 400], labels=[1]), ("a", "some long name"))
    two = draw_boxes(image(), boxes([200, 200, 400, 400], [200, 200, 400, 400], labels=[1, 1]), ("a", "some long name"))
    assert count(two, class_colour(1)) > 1.5 * count(one, class_colour(1))


def test_a_name_wider_than_the_image_is_cut():
    assert draw_boxes(image(), boxes([10, 10, 50, 50]), ("x" * 500, "y")).shape == (600, 600, 3)
    short = shorten("x" * 500, 20, 100)
    assert short.endswith("…") and text_width(short, 20) <= 100
    assert shorten("short", 20, 100) == "short"


@pytest.mark.parametrize("text", ["žába", "猫", "кот", ""])
def test_any_name_has_a_font(text):
    assert font_for(text, 14).getlength(text) >= 0


@pytest.mark.parametrize("bad", [np.zeros((4, 4), np.uint8), np.zeros((3, 4, 4), np.uint8), np.zeros((4, 4, 3))])
def test_another_kind_of_image(bad):
    with pytest.raises(ValueError, match=r"\(H, W, 3\) of uint8, found"):
        draw_boxes(bad, boxes(), CLASSES)


@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_without_a_class(label):
    with pytest.raises(ValueError, match=r"labels must be in 0\.\.1"):
        draw_boxes(image(), boxes([1, 1, 5, 5], labels=[label]), CLASSES)


def test_the_best_detections_are_chosen():
    detections = Detections(
        torch.arange(16.0).reshape(4, 4).bfloat16(),
        torch.tensor([0.2, 0.9, 0.4, 0.8]),
        torch.tensor([0, 1, 0, 1]),
        CellIndex.none(4),
    )
    drawn = Drawn.of(detections, threshold=0.3, most=2)
    assert drawn.scores == pytest.approx([0.9, 0.8])
    assert drawn.labels.tolist() == [1, 1] and drawn.labels.dtype == np.int64
    assert drawn.boxes.tolist() == [[4, 5, 6, 7], [12, 13, 14, 15]]
    assert len(Drawn.of(detections, threshold=0.85).labels) == 1
