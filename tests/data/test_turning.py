"""Turned pictures: boxes follow the pixels, and a mosaic's corners stay covered."""

from dataclasses import replace

import pytest
import torch

from headstart.data.dataset import Sample
from headstart.data.patch import FILL
from headstart.data.turning import Turn

TURNS = [Turn(0), Turn(10), Turn(-30, (5, -8)), Turn(90), Turn(0, (20, 0)), Turn(0, (0, 12)), Turn(173, (-3, 3))]


def picture(height=200, width=280):
    """Black, with a white rectangle off the middle."""
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    image[:, 60:100, 110:190] = 255
    box = torch.tensor([[110.0, 60.0, 190.0, 100.0]])
    return Sample(image, box, torch.tensor([2]), torch.tensor([False]), 7, (height, width))


def seen(image):
    """The box around what is white."""
    white = (image > 127).all(0)
    rows, columns = white.any(1).nonzero(), white.any(0).nonzero()
    return torch.tensor([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]]).float()


@pytest.mark.parametrize("turn", TURNS, ids=str)
def test_a_box_becomes_the_box_around_its_turned_corners(turn):
    given = picture()
    found = turn(given)
    assert found.image.shape == given.image.shape and found.image.dtype == torch.uint8
    assert (found.id, found.original, found.labels.tolist()) == (7, (200, 280), [2])
    torch.testing.assert_close(found.boxes, seen(found.image), rtol=0, atol=1.5)


def test_no_angle_changes_nothing():
    found = Turn(0)(picture())
    assert found.image.equal(picture().image)
    torch.testing.assert_close(found.boxes, picture().boxes)


def test_clockwise_is_clockwise_as_it_is_seen():
    """A quarter to the right: what is above the middle comes to the right of it."""
    found = Turn(90)(picture(200, 200))
    centre = (found.boxes[0, :2] + found.boxes[0, 2:]) / 2
    torch.testing.assert_close(centre, torch.tensor([120.0, 150.0]), rtol=0, atol=0.01)


def test_what_is_not_covered_is_grey():
    corner = Turn(45)(picture()).image[:, 0, 0]
    assert corner.tolist() == [FILL] * 3


def test_boxes_that_leave_the_picture_are_dropped_but_ignored_ones_are_kept_while_seen():
    boxes = torch.tensor([[0.0, 0.0, 12.0, 12.0], [0.0, 0.0, 100.0, 100.0], [100.0, 80.0, 180.0, 120.0]])
    given = replace(picture(), boxes=boxes, labels=torch.arange(3), ignored=torch.tensor([False, True, False]))
    found = Turn(45)(given)
    assert found.labels.tolist() == [1, 2] and found.ignored.tolist() == [True, False]
    assert bool((found.boxes >= 0).all()) and bool(
        (found.boxes[:, 2] <= 280).all() and (found.boxes[:, 3] <= 200).all()
    )


@pytest.mark.parametrize("turn", TURNS, ids=str)
@pytest.mark.parametrize("side", [64, 97])
def test_the_needed_square_covers_the_picture_and_little_more(turn, side):
    window = turn.needed(side)
    assert (window - side) % 2 == 0 and window >= side
    full = turn.pixels(torch.zeros(3, window, window, dtype=torch.uint8), (side, side))
    assert full.shape == (3, side, side) and bool((full == 0).all())
    if turn.needed(side) > side + 8:
        less = turn.pixels(torch.zeros(3, window - 8, window - 8, dtype=torch.uint8), (side, side))
        assert bool((less != 0).any())
