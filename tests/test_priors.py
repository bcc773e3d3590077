"""Anchors and points: where they are, in which order, and which cell they belong to."""

import pytest
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator

from headstart.boxes import areas
from headstart.priors import base_anchors, grid, index_cells, place_anchors, place_points, valid_flags


def test_base_anchors_are_ratio_major_and_centred():
    """RetinaNet's nine of stride 8; ratios are height / width, three octave steps each."""
    scales = [4 * 2 ** (octave / 3) for octave in range(3)]
    base = base_anchors(8, scales, [0.5, 1.0, 2.0])
    sides = [(45.3, 22.6), (57.0, 28.5), (71.8, 35.9), (32, 32), (40.3, 40.3), (50.8, 50.8)]
    sides += [(22.6, 45.3), (28.5, 57.0), (35.9, 71.8)]
    torch.testing.assert_close(base[:, 2:] - base[:, :2], torch.tensor(sides), rtol=0, atol=0.06)
    assert not (base[:, 2:] + base[:, :2]).any()
    torch.testing.assert_close(areas(base), torch.tensor([s * s * 64 for s in scales] * 3), rtol=1e-4, atol=0)


def test_anchors_stand_on_corners_points_in_the_middle():
    base = torch.tensor([[-2.0, -1, 2, 1], [-1, -2, 1, 2]])
    placed = place_anchors(base, 2, 3, 8)
    assert placed.shape == (12, 4)
    assert placed[0].tolist() == [-2, -1, 2, 1] and placed[1].tolist() == [-1, -2, 1, 2]
    assert placed[2].tolist() == [6, -1, 10, 1]  # next column first
    assert placed[6].tolist() == [-2, 7, 2, 9]  # then the next row
    points = place_points(2, 3, 8)
    assert points.tolist() == [[4, 4], [12, 4], [20, 4], [4, 12], [12, 12], [20, 12]]
    assert torch.equal(place_points(2, 3, 8, within=0.0), points - 4)


def test_steps_of_each_axis():
    """torchvision shares the padded image evenly among cells, and puts FCOS's points on their corners."""
    base = torch.tensor([[-2.0, -1, 2, 1]])
    assert place_anchors(base, 2, 2, (7, 8))[3].tolist() == [6, 6, 10, 8]
    assert place_points(2, 2, (7, 8), within=0.0).tolist() == [[0, 0], [8, 0], [0, 7], [8, 7]]


def test_whole_anchors_are_those_of_torchvision():
    sizes = [4 * 2 ** (octave / 3) for octave in range(3)]
    own = base_anchors(8, sizes, [0.5, 1.0, 2.0], whole=True)
    theirs = AnchorGenerator(((32, 40, 50),), ((0.5, 1.0, 2.0),)).cell_anchors[0]
    assert torch.equal(own, theirs) and not torch.equal(own, base_anchors(8, sizes, [0.5, 1.0, 2.0]))


def test_grid_is_row_major():
    y, x = grid(2, 3)
    assert y.tolist() == [0, 0, 0, 1, 1, 1] and x.tolist() == [0, 1, 2, 0, 1, 2]
    assert y.dtype == x.dtype == torch.int64


def test_cells_follow_the_order_of_the_anchors():
    """Each row's cell is the one at which its anchor or point stands."""
    shapes, strides, anchors = [(4, 6), (2, 3), (1, 2)], [8, 16, 32], 2
    cells = index_cells(shapes, anchors)
    base = torch.tensor([[-3.0, -1, 3, 1], [-1.0, -3, 1, 3]])
    placed = torch.cat([place_anchors(base, *shape, stride) for shape, stride in zip(shapes, strides)])
    assert len(cells) == len(placed) == (24 + 6 + 2) * 2
    stride = torch.tensor(strides)[cells.level]
    shift = torch.stack([cells.x, cells.y, cells.x, cells.y], dim=1) * stride[:, None]
    assert torch.equal(placed, shift + base[cells.anchor])


@pytest.mark.parametrize(
    ("size", "rows", "columns"),
    [((64, 96), 8, 12), ((33, 96), 8, 12), ((32, 65), 4, 12), ((32, 64), 4, 8), ((1, 1), 4, 4)],
)
def test_cells_beyond_an_images_own_padding_are_outside(size, rows, columns):
    """In a batch padded to 64 x 96: each image counts as padded to multiples of 32 by itself, and no further."""
    cells = index_cells([(8, 12), (4, 6), (1, 2)], 1)
    found = valid_flags(cells, [8, 16, 64], size)
    for level, stride in enumerate([8, 16, 64]):
        own = cells.level == level
        expected = (cells.y[own] < rows * 8 / stride) & (cells.x[own] < columns * 8 / stride)
        assert torch.equal(found[own], expected)
