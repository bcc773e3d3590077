"""FCOS's own rules: centreness, ranges, units."""

import math

import pytest
import torch

from headstart.heads.fcos import FCOSHead, FCOSOptions
from headstart.structures import DenseOutputs, Targets

STRIDES = [8, 16]


def make(**options):
    return FCOSHead(2, 4, STRIDES, FCOSOptions(width=4, depth=1, **options))


def blank(head, size=(64, 64), count=1):
    """Outputs that are one everywhere (a distance of one unit)."""
    shapes = [(size[0] // s, size[1] // s) for s in STRIDES]
    cls = [torch.zeros(count, 2, *shape, requires_grad=True) for shape in shapes]
    reg = [torch.ones(count, 4, *shape, requires_grad=True) for shape in shapes]
    quality = [torch.zeros(count, 1, *shape, requires_grad=True) for shape in shapes]
    return DenseOutputs(cls, reg, quality, [size] * count)


def truth(*boxes, label=1):
    rows = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return Targets(rows, torch.full((len(rows),), label), torch.zeros(len(rows), dtype=torch.bool))


def test_outputs_are_distances():
    """exp keeps them positive; rectified ones may be zero; each level has a scale of its own."""
    maps = [torch.randn(1, 4, 8, 8), torch.randn(1, 4, 4, 4)]
    for normalised in (False, True):
        head = make(normalised=normalised)
        head.scales[1].data.fill_(3.0)
        outputs = head.resume(maps, maps, start=0, sizes=[(64, 64)])
        raw = [head.reg(head.reg_tower(x)[0]) for x in maps]
        raw[1] = raw[1] * 3
        expected = [r.relu() if normalised else r.exp() for r in raw]
        assert all(torch.equal(a, b) for a, b in zip(outputs.reg, expected))


@pytest.mark.parametrize("normalised", [False, True])
def test_the_unit_of_distances(normalised):
    """Pixels, or strides when normalised; the point stands in the middle of its cell."""
    head = make(normalised=normalised)
    boxes = head.decode_level(torch.tensor([[1.0, 2, 3, 4]]).repeat(16, 1), 1, (4, 4))
    unit = 16 if normalised else 1
    assert boxes[5].tolist() == [24 - unit, 24 - 2 * unit, 24 + 3 * unit, 24 + 4 * unit]


def test_who_answers_for_what():
    """The first level for boxes whose sides are near, the next for larger ones."""
    head = make(range_scale=2.0)  # 16 pixels
    assigned = head.assign(blank(head), [truth((8, 8, 24, 24))])
    first, second = assigned.positive[0].split([64, 16])
    assert first.nonzero().flatten().tolist() == [9, 10, 17, 18] and not second.any()
    assert assigned.labels[0][assigned.positive[0]].tolist() == [1] * 4 and assigned.weight.all()
    wide = head.assign(blank(head), [truth((0, 0, 64, 64))])
    assert not wide.positive[0, :64].any() and wide.positive[0, 64:].all()


def test_losses_by_hand():
    head = make(range_scale=2.0)
    outputs = blank(head)
    losses = head.loss(outputs, head.assign(outputs, [truth((8, 8, 24, 24))]))
    # Four points, 4 or 12 pixels from the sides: centreness 1/3 each, IoU of a 2 x 2 box with 16 x 16.
    assert losses["box"].item() == pytest.approx(-math.log(4 / 256), rel=1e-5)
    assert losses["quality"].item() == pytest.approx(math.log(2))
    focal = math.log(2) * 0.25 * (0.75 * (80 * 2 - 4) + 0.25 * 4) / 4
    assert losses["cls"].item() == pytest.approx(focal, rel=1e-5)


def test_giou_and_normalised_boxes_give_the_same_answer_in_strides():
    head = make(range_scale=2.0, normalised=True, box_loss="giou")
    outputs = blank(head)
    losses = head.loss(outputs, head.assign(outputs, [truth((8, 8, 24, 24))]))
    # Two by two strides around a point half a stride from the corner, against the 2 x 2 strides of the truth.
    common, hull = 1.5 * 1.5, 2.5 * 2.5
    union = 8 - common
    assert losses["box"].item() == pytest.approx(1 - common / union + (hull - union) / hull, rel=1e-5)


def test_centre_sampling_leaves_the_rim_out():
    box = truth((0, 0, 64, 64))
    everywhere, middle = (make(range_scale=8.0, centre_sampling=c) for c in (False, True))
    assert everywhere.assign(blank(everywhere), [box]).positive[0, :64].sum() == 64
    # 12 pixels around the middle, ends not included: the four cells next to it.
    assert middle.assign(blank(middle), [box]).positive[0, :64].nonzero().flatten().tolist() == [27, 28, 35, 36]


@pytest.mark.parametrize("on_box", [False, True])
def test_where_centreness_is_read(on_box):
    head = make(centreness_on_box=on_box)
    maps = [torch.randn(1, 4, 8, 8), torch.randn(1, 4, 4, 4)]
    head.resume(maps, maps, start=0, sizes=[(64, 64)]).quality[0].sum().backward()
    reached = {"cls": head.cls_tower.convs[0].weight.grad, "reg": head.reg_tower.convs[0].weight.grad}
    assert [name for name, grad in reached.items() if grad is not None] == ["reg" if on_box else "cls"]
