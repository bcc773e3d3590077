"""A part of a picture that becomes a part of another: pixels, boxes, and what is left of them."""

import pytest
import torch

from headstart.data.patch import Patch, visible_patch

NONE_IGNORED = torch.zeros(1, dtype=torch.bool)


@pytest.mark.parametrize(
    ("edges", "bounds", "wanted"),
    [
        ((0, 0, 40, 30), (0, 0, 40, 30), ((0, 0, 40, 30), (0, 0, 40, 30))),  # as it is
        ((10, 20, 50, 50), (0, 0, 100, 100), ((0, 0, 40, 30), (10, 20, 50, 50))),  # elsewhere
        ((-20, -10, 20, 20), (0, 0, 100, 100), ((20, 10, 40, 30), (0, 0, 20, 20))),  # cut left and above
        ((0, 0, 80, 60), (0, 0, 41, 40), ((0, 0, 21, 20), (0, 0, 41, 40))),  # twice as large; the last pixel in part
        ((5.4, 0, 25.4, 15), (0, 0, 100, 100), ((0, 0, 40, 30), (5, 0, 25, 15))),  # half as large
        ((50, 0, 90, 30), (0, 0, 50, 50), None),  # outside
        ((0, 0, 0.3, 30), (0, 0, 50, 50), None),  # less than half a pixel wide
    ],
)
def test_what_is_seen_of_a_picture(edges, bounds, wanted):
    assert visible_patch((30, 40), edges, bounds) == (wanted and Patch(*wanted))


def test_pixels_and_boxes_move_together():
    """A bright rectangle on whole pixels of the source, enlarged three times."""
    image = torch.zeros(3, 30, 40, dtype=torch.uint8)
    image[:, 10:20, 8:16] = 200
    patch = visible_patch((30, 40), (-9, -12, 111, 78), (0, 0, 90, 60))
    pixels = patch.pixels(image)
    boxes, left = patch.boxes(torch.tensor([[8.0, 10.0, 16.0, 20.0]]), NONE_IGNORED)
    assert pixels.shape == (3, 60, 90) and pixels.dtype == torch.uint8
    assert left.tolist() == [True] and boxes.tolist() == [[15, 18, 39, 48]]
    rows, columns = (pixels[0] > 100).any(1).nonzero(), (pixels[0] > 100).any(0).nonzero()
    assert [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1] == [15, 18, 39, 48]


def test_a_picture_that_is_not_resized_is_not_copied():
    image = torch.zeros(3, 30, 40, dtype=torch.uint8)
    assert Patch((5, 5, 20, 20), (0, 0, 15, 15)).pixels(image).data_ptr() == image[:, 5:, 5:].data_ptr()


@pytest.mark.parametrize(
    ("box", "ignored", "kept"),
    [
        ([0, 0, 40, 10], False, True),  # half of it inside
        ([0, 0, 22, 10], False, False),  # 2 px of 22: less than 10 %
        ([2, 0, 22, 10], False, True),  # 2 px of 20
        ([18.5, 0, 21.9, 10], False, False),  # 1.9 px wide inside
        ([30, 5, 31.5, 20], False, False),  # whole, but 1.5 px wide
        ([0, 0, 22, 10], True, True),  # ignored: what is seen of it is still no background
        ([0, 0, 20, 10], True, False),  # ignored, but outside
    ],
)
def test_which_boxes_are_left(box, ignored, kept):
    patch = Patch((20, 0, 40, 30), (0, 0, 20, 30))
    boxes, left = patch.boxes(torch.tensor([box], dtype=torch.float32), torch.tensor([ignored]))
    assert left.tolist() == [kept]
    assert (boxes >= 0).all() and (boxes <= torch.tensor([20, 30, 20, 30])).all()


def test_the_share_counts_after_the_resize():
    patch = Patch((20, 0, 40, 30), (0, 0, 2, 3))
    _, left = patch.boxes(torch.tensor([[20.0, 0, 40, 20], [20, 0, 40, 19]]), torch.zeros(2, dtype=torch.bool))
    assert left.tolist() == [True, False]
