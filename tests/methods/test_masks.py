"""Cells in their image, in objects and in the background; painted one by one here, to compare."""

import math

import pytest
import torch

from headstart.boxes import pairwise_iou
from headstart.heads.retina import RetinaHead, RetinaOptions
from headstart.methods.masks import anchor_masks, anchors_of, density_masks, level_masks, valid_cells
from headstart.structures import Targets

STRIDES = (8, 16, 32)
SIZES = [(64, 90), (40, 96)]


def maps(side=96, images=2):
    return [torch.zeros(images, 1, math.ceil(64 / s), math.ceil(side / s)) for s in STRIDES]


def target(*boxes, ignored=()):
    rows = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    flags = torch.tensor([number in ignored for number in range(len(rows))], dtype=torch.bool)
    return Targets(rows, torch.zeros(len(rows), dtype=torch.int64), flags)


TARGETS = [
    target((10, 10, 30, 50), (20, 20, 85, 60), (0, 0, 9, 9), (60, 0, 80, 20), ignored=(3,)),
    target(),
]


def valid():
    return valid_cells(SIZES, maps(), STRIDES)


def test_a_cell_counts_that_starts_in_its_image():
    fine, middle, coarse = valid()
    assert fine.dtype == torch.bool and fine.shape == (2, 1, 8, 12)
    assert fine[0, 0].sum() == 8 * 12 and fine[1, 0].sum() == 5 * 12
    assert middle[1, 0].sum() == 3 * 6 and coarse[1, 0].sum() == 2 * 3
    narrow = valid_cells([(64, 80)], maps(images=1), STRIDES)[0][0, 0]
    assert narrow[:, :10].all() and not narrow[:, 10:].any()


def painted(boxes, shape, stride):
    """1 / cells of the smallest box at each cell, cell by cell."""
    found = torch.zeros(shape)
    for x1, y1, x2, y2 in boxes:
        left, top = math.floor(x1 / stride), math.floor(y1 / stride)
        right, bottom = math.ceil(x2 / stride), math.ceil(y2 / stride)
        density = 1 / ((right - left + 1) * (bottom - top + 1))
        for y in range(max(top, 0), min(bottom, shape[0] - 1) + 1):
            for x in range(max(left, 0), min(right, shape[1] - 1) + 1):
                found[y, x] = max(found[y, x], density)
    return found


def test_densities_are_those_painted_box_by_box():
    inside = valid()
    objects, rest = density_masks(TARGETS, inside, STRIDES)
    for level, stride in enumerate(STRIDES):
        wanted = TARGETS[0].wanted.boxes.tolist()
        goal = painted(wanted, inside[level].shape[-2:], stride)
        torch.testing.assert_close(objects[level][0, 0], goal)
        assert not objects[level][1].any()
        assert not (rest[level].bool() & (objects[level] > 0)).any()
        assert rest[level].sum(dim=(1, 2, 3)).tolist() == pytest.approx([float(stride < 32), 1])  # one fills its image
    assert not rest[0][0, 0, :2, 8:10].any() and not objects[0][0, 0, :2, 8:10].any()  # the ignored one
    assert not rest[0][1, 0, 5:].any()  # padding


def test_an_object_counts_once_whatever_its_size():
    one = [target((16, 16, 40, 40)), target((8, 8, 80, 30))]
    objects, _ = density_masks(one, valid_cells([(64, 96)] * 2, maps(), STRIDES), STRIDES)
    assert objects[0].sum(dim=(1, 2, 3)).tolist() == pytest.approx([1, 1])


def test_an_object_belongs_to_one_level():
    boxes = target((0, 0, 40, 40), (0, 0, 150, 150), (60, 60, 60 + 300, 60 + 300), (300, 300, 302, 302))
    images = [torch.zeros(1, 1, 512 // s, 512 // s) for s in STRIDES]
    inside = valid_cells([(512, 512)], images, STRIDES)
    objects, rest = level_masks([boxes], inside, STRIDES)
    # sides 40 and 2: the finest; 150: log2(150 / 56) = 1.4; 300: 2.4
    assert objects[0][0, 0].sum() == 5 * 5 + 1 and objects[1][0, 0].sum() == 9 * 9
    assert objects[2][0, 0].sum() == 10 * 10 and objects[2][0, 0, 1:11, 1:11].all()
    assert all(bool(((o ^ r) & i).equal(i)) for o, r, i in zip(objects, rest, inside, strict=True))


def test_an_ignored_box_is_background_on_no_level():
    objects, rest = level_masks(
        [target((0, 0, 64, 64), ignored=(0,))], valid_cells([(64, 96)], maps(images=1), STRIDES), STRIDES
    )
    assert not any(o.any() for o in objects)
    for mask, stride in zip(rest, STRIDES, strict=True):
        cells = 64 // stride
        assert not mask[0, 0, :cells, :cells].any() and mask[0, 0, :, cells:].all()


@pytest.mark.parametrize("anchored", [True, False])
def test_cells_whose_anchors_come_near_the_best(anchored):
    head = RetinaHead(3, 4, STRIDES, RetinaOptions(width=4, depth=1)) if anchored else None
    inside = valid()
    anchors = anchors_of([head], maps(), STRIDES)
    found = anchor_masks(TARGETS, inside, anchors)
    for level, priors in enumerate(anchors):
        shape = inside[level].shape[-2:]
        assert len(priors) == shape[0] * shape[1] * (9 if anchored else 1)
        goal = torch.zeros(shape, dtype=torch.bool)
        for box in TARGETS[0].wanted.boxes:
            overlap = pairwise_iou(box[None], priors).reshape(*shape, -1).amax(-1)
            goal |= overlap > overlap.max() * 0.5
        assert torch.equal(found[level][0, 0], goal) and goal.any() and not found[level][1].any()


def test_pseudo_anchors_are_squares_of_eight_strides_around_the_cell():
    (fine, *_) = anchors_of([None], maps(), STRIDES)
    assert fine[0].tolist() == [-28, -28, 36, 36] and fine[13].tolist() == [-20, -20, 44, 44]
    rows = anchors_of([RetinaHead(3, 4, [16], RetinaOptions(width=4, depth=1)), None], maps(), STRIDES)
    assert [len(r) for r in rows] == [96, 24 * 9, 6]


@pytest.mark.parametrize("make", [density_masks, level_masks])
def test_a_padded_image_has_the_masks_of_the_image_alone(make):
    """Whatever the batch is padded to."""
    one = TARGETS[:1]
    small, large = [(64, 90)], maps(side=160, images=1)
    alone = make(one, valid_cells(small, maps(images=1), STRIDES), STRIDES)
    padded = make(one, valid_cells(small, large, STRIDES), STRIDES)
    for masks, wider in zip(alone, padded, strict=True):
        for mask, wide in zip(masks, wider, strict=True):
            assert torch.equal(wide[..., : mask.shape[-1]], mask) and not wide[..., mask.shape[-1] :].any()
