"""ATSS's own rules: its code's units, centreness, what divides the losses."""

import math

import pytest
import torch

from headstart.boxes import encode_deltas
from headstart.heads.atss import ATSSHead, ATSSOptions
from headstart.structures import DenseOutputs, Targets

STRIDES = [8, 16]


def make(**options):
    return ATSSHead(2, 4, STRIDES, ATSSOptions(width=4, depth=1, anchor_scale=2.0, **options))


def blank(sizes=((64, 64),)):
    shapes = [(64 // s, 64 // s) for s in STRIDES]
    maps = {channels: [torch.zeros(len(sizes), channels, *shape) for shape in shapes] for channels in (2, 4, 1)}
    return DenseOutputs(maps[2], maps[4], maps[1], list(sizes))


def truth(*boxes, label=1):
    rows = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return Targets(rows, torch.full((len(rows),), label), torch.zeros(len(rows), dtype=torch.bool))


def test_one_square_anchor_per_cell_around_its_corner():
    head = make()
    anchors = head.level_anchors(1, (4, 4))
    assert head.num_anchors == 1 and anchors[5].tolist() == [0, 0, 32, 32]


def test_deltas_are_in_tenths_and_fifths():
    head = make()
    box = head.decode_level(torch.tensor([[1.0, -1, math.log(2) / 0.2, 0]]).expand(16, 4), 1, (4, 4))[5]
    assert box.tolist() == pytest.approx([16 + 3.2 - 32, -3.2, 16 + 3.2 + 32, 28.8], abs=1e-4)


def test_each_level_has_its_own_factor():
    head, maps = make(), [torch.randn(1, 4, 8, 8), torch.randn(1, 4, 4, 4)]
    head.scales[1].data.fill_(3.0)
    outputs = head.resume(maps, maps, start=0, sizes=[(64, 64)])
    raw = [head.reg(head.reg_tower(x)[0]) for x in maps]
    assert torch.equal(outputs.reg[0], raw[0]) and torch.equal(outputs.reg[1], raw[1] * 3)


def test_centreness_is_read_from_the_box_tower():
    head, maps = make(), [torch.randn(1, 4, 8, 8), torch.randn(1, 4, 4, 4)]
    head.resume(maps, maps, start=0, sizes=[(64, 64)]).quality[0].sum().backward()
    assert head.cls_tower.convs[0].weight.grad is None and head.reg_tower.convs[0].weight.grad is not None


def test_anchors_beyond_an_images_own_padding_are_not_trained():
    head, outputs = make(), blank([(64, 64), (30, 64)])
    assigned = head.assign(outputs, [truth((20, 44, 36, 60))] * 2)
    below = head.cells(outputs).y * head.row_strides(outputs) >= 32
    assert assigned.weight[0].all() and torch.equal(assigned.weight[1] == 0, below)
    assert assigned.positive[0][below].any() and not assigned.positive[1][below].any()


def test_losses_by_hand():
    """An object that is exactly an anchor, and three more beside it that reach the threshold."""
    head, outputs = make(), blank([(64, 64), (64, 64)])
    assigned = head.assign(outputs, [truth((17, 17, 33, 33)), Targets.empty()])
    assert assigned.positive[0].nonzero().flatten().tolist() == [3 * 8 + 3]
    losses = head.loss(outputs, assigned)
    # The anchor (16, 16, 32, 32) has its centre (24, 24) one pixel off the middle.
    common, union, hull = 15 * 15, 2 * 256 - 15 * 15, 17 * 17
    giou = common / union - (hull - union) / hull
    # Centreness 7 / 9 of one anchor: the sum that divides is at least 1.
    centred = 7 / 9
    assert losses["box"].item() == pytest.approx(2 * centred * (1 - giou), rel=1e-5)
    assert losses["quality"].item() == pytest.approx(math.log(2) / 2, rel=1e-5)
    focal = math.log(2) * 0.25 * (0.75 * (160 * 2 - 1) + 0.25) / 2
    assert losses["cls"].item() == pytest.approx(focal, rel=1e-5)


def test_the_box_loss_is_a_weighted_mean_once_there_is_enough_of_it():
    head, outputs = make(), blank()
    boxes = [(17.0 + 16 * i, 17 + 16 * j, 33 + 16 * i, 33 + 16 * j) for i in range(2) for j in range(2)]
    one, four = (head.loss(outputs, head.assign(outputs, [truth(*some)]))["box"] for some in (boxes[:1], boxes))
    assert four.item() == pytest.approx(one.item() / (7 / 9), rel=1e-5)


def test_a_perfect_answer_costs_nothing():
    head, outputs = make(), blank()
    assigned = head.assign(outputs, [truth((18, 14, 34, 40))])
    codes = encode_deltas(head.all_anchors(outputs), torch.tensor([18.0, 14, 34, 40]).expand(80, 4), head.stds)
    reg = [c.T.reshape(1, 4, side, side) for c, side in zip(codes.split([64, 16]), (8, 4))]
    perfect = DenseOutputs(outputs.cls, reg, outputs.quality, outputs.sizes)
    assert assigned.positive.any() and head.loss(perfect, assigned)["box"].item() == pytest.approx(0, abs=1e-4)
