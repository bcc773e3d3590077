"""GFL's own rules: edges as distributions, scores as qualities, weights of the losses."""

import math

import pytest
import torch

from headstart.heads.gfl import GFLHead, GFLOptions
from headstart.structures import DenseOutputs, Targets

STRIDES = [8, 16]
REACH = 4


def make(**options):
    return GFLHead(2, 4, STRIDES, GFLOptions(width=4, depth=1, anchor_scale=2.0, reg_max=REACH, **options))


def blank(count=1):
    """Outputs of zeros: scores of one half, edges two strides away."""
    shapes = [(64 // s, 64 // s) for s in STRIDES]
    cls = [torch.zeros(count, 2, *shape, requires_grad=True) for shape in shapes]
    reg = [torch.zeros(count, 4 * (REACH + 1), *shape, requires_grad=True) for shape in shapes]
    return DenseOutputs(cls, reg, None, [(64, 64)] * count)


def truth(*boxes, label=1):
    rows = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return Targets(rows, torch.full((len(rows),), label), torch.zeros(len(rows), dtype=torch.bool))


def test_the_code_is_logits_of_four_edges():
    head, maps = make(), [torch.randn(2, 4, 8, 8), torch.randn(2, 4, 4, 4)]
    head.scales[1].data.fill_(3.0)
    outputs = head.resume(maps, maps, start=0, sizes=[(64, 64)] * 2)
    raw = [head.reg(head.reg_tower(x)[0]) for x in maps]
    assert outputs.quality is None and outputs.reg[0].shape == (2, 4 * 5, 8, 8)
    assert torch.equal(outputs.reg[0], raw[0]) and torch.equal(outputs.reg[1], raw[1] * 3)
    assert make().code_size == 20 and GFLHead(2, 4, STRIDES, GFLOptions(width=4)).code_size == 68


def test_boxes_are_read_off_the_expectations_in_strides():
    """Channels are edge by edge (left, top, right, bottom), place by place."""
    code = torch.full((16, 4, REACH + 1), -50.0)
    for edge, place in enumerate((1, 0, 2, 4)):
        code[:, edge, place] = 0
    code[:, 2, 3] = math.log(3)  # 2 and 3 as one to three: 2.75
    box = make().decode_level(code.flatten(1), 1, (4, 4))[5]
    assert box.tolist() == pytest.approx([16 - 16, 16, 16 + 16 * 2.75, 16 + 64], abs=1e-4)


def test_losses_by_hand():
    """One anchor, its box as predicted: from two strides before its corner to two strides behind."""
    head, outputs = make(), blank(count=2)
    assigned = head.assign(outputs, [truth((9, 9, 25, 25)), Targets.empty()])
    assert assigned.positive[0].nonzero().flatten().tolist() == [2 * 8 + 2]
    losses = head.loss(outputs, assigned)
    union, hull = 32 * 32, 32 * 32  # the predicted box (0, 0, 32, 32) holds the truth
    quality = 256 / union
    # The only weight is one half; what divides is at least 1.
    assert losses["box"].item() == pytest.approx(2 * 0.5 * (1 - quality - (hull - union) / hull), rel=1e-5)
    assert losses["distribution"].item() == pytest.approx(0.25 * 0.5 * math.log(5), rel=1e-5)
    entropy = math.log(2)  # of one half, whatever the goal
    cls = 0.25 * entropy * (160 * 2 - 1) + (quality - 0.5) ** 2 * entropy
    assert losses["cls"].item() == pytest.approx(cls / 2, rel=1e-5)


def test_the_best_class_weighs_the_box_and_gets_no_gradient_from_it():
    head, outputs = make(), blank()
    assigned = head.assign(outputs, [truth((9, 9, 25, 25), (41, 9, 57, 25))])
    first, second = assigned.positive[0].nonzero().flatten().tolist()
    with torch.no_grad():
        outputs.cls[0].flatten()[first] = 5.0  # class 0, though the object is of class 1
    losses = head.loss(outputs, assigned)
    (losses["box"] + losses["distribution"]).backward()
    assert all(m.grad is None or not m.grad.any() for m in outputs.cls)
    strength = outputs.reg[0].grad[0].flatten(1).norm(dim=0)
    ratio = torch.tensor(5.0).sigmoid() / 0.5
    assert (strength[first] / strength[second]).item() == pytest.approx(ratio.item(), rel=1e-4)


def test_the_quality_is_a_goal_not_a_path():
    """The class loss teaches no edge."""
    head, outputs = make(), blank()
    head.loss(outputs, head.assign(outputs, [truth((9, 9, 25, 25))]))["cls"].backward()
    assert outputs.cls[0].grad.any() and outputs.reg[0].grad is None


def test_the_quality_of_a_box_is_the_best_score():
    """Raising or lowering the score from the IoU only costs."""
    head, outputs = make(), blank()
    assigned = head.assign(outputs, [truth((9, 9, 25, 25))])
    place = int(assigned.positive[0].nonzero())
    costs = []
    for score in (0.2, 0.25, 0.3):
        with torch.no_grad():
            outputs.cls[0][0, 1].flatten()[place] = torch.logit(torch.tensor(score))
        costs.append(head.loss(outputs, assigned)["cls"].item())
    assert costs[1] < costs[0] and costs[1] < costs[2]


def test_edges_out_of_reach_pull_to_the_last_place_and_stay_finite():
    head, outputs = make(), blank()
    targets = [truth((0, 0, 64, 64))]
    assigned = head.assign(outputs, targets)
    assigned.positive[0, 2 * 8 + 2] = True
    assigned.labels[0, 2 * 8 + 2] = 1
    assigned.boxes[0, 2 * 8 + 2] = torch.tensor([0.0, 0, 64, 64])
    head.loss(outputs, assigned)["distribution"].backward()
    pull = -outputs.reg[0].grad[0, :, 2, 2].unflatten(0, (4, REACH + 1))
    assert pull.isfinite().all() and pull[2].argmax() == pull[3].argmax() == REACH
    assert pull[0].argmax() == pull[1].argmax() == 2  # exactly two strides away
