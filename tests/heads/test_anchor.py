"""RetinaNet's head and the RPN: what is trained, what is drawn, what divides the loss."""

import math

import pytest
import torch

from headstart.heads.retina import RetinaHead, RetinaOptions
from headstart.heads.rpn import RPNHead, RPNOptions
from headstart.structures import DenseOutputs, Targets

STRIDES = [8, 16]


def blank(head, sizes, side=(64, 64)):
    """Outputs of zeros for images of the given valid sizes in a batch padded to `side`."""
    shapes = [(side[0] // s, side[1] // s) for s in STRIDES]
    cls = [torch.zeros(len(sizes), head.num_anchors * head.num_classes, *shape) for shape in shapes]
    reg = [torch.zeros(len(sizes), head.num_anchors * 4, *shape) for shape in shapes]
    return DenseOutputs(cls, reg, None, sizes)


def truth(*boxes, label=1):
    rows = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return Targets(rows, torch.full((len(rows),), label), torch.zeros(len(rows), dtype=torch.bool))


def test_retina_assigns_anchors():
    head = RetinaHead(2, 4, STRIDES, RetinaOptions(width=4, depth=1))
    anchor = head.all_anchors(blank(head, [(64, 64)]))[(3 * 8 + 4) * 9 + 4]
    assigned = head.assign(blank(head, [(64, 64), (64, 64)]), [truth(anchor.tolist()), Targets.empty()])
    assert assigned.positive[0, (3 * 8 + 4) * 9 + 4] and assigned.labels[0][assigned.positive[0]].eq(1).all()
    torch.testing.assert_close(assigned.boxes[0][assigned.positive[0]][0], anchor)
    assert not assigned.positive[1].any() and (assigned.labels[1] == 2).all() and assigned.weight[1].all()
    assert (assigned.weight[0] == 0).any()  # those between 0.4 and 0.5


def test_anchors_beyond_an_images_own_padding_are_not_trained():
    head = RetinaHead(2, 4, STRIDES, RetinaOptions(width=4, depth=1))
    outputs = blank(head, [(64, 64), (30, 64)])
    assigned = head.assign(outputs, [Targets.empty(), truth((0, 30, 30, 62))])
    cells = head.cells(outputs)
    row = cells.y * torch.tensor(STRIDES)[cells.level]
    assert assigned.weight[0].all() and not assigned.weight[1][row >= 32].any()
    assert not assigned.positive[1][row >= 32].any() and assigned.weight[1][row < 32].any()


def test_retinas_losses_by_hand():
    """Divided by the positives, at least one per image."""
    head = RetinaHead(2, 4, STRIDES, RetinaOptions(width=4, depth=1))
    outputs = blank(head, [(64, 64), (64, 64)])
    anchor = head.all_anchors(outputs)[(3 * 8 + 4) * 9 + 4].tolist()
    assigned = head.assign(outputs, [truth(anchor), Targets.empty()])
    positives, trained = int(assigned.positive.sum()), int(assigned.weight.sum())
    found = head.loss(outputs, assigned)
    focal = math.log(2) * 0.25 * (0.75 * (2 * trained - positives) + 0.25 * positives)
    assert found["cls"].item() == pytest.approx(focal / (positives + 1), rel=1e-4)
    nothing = head.assign(outputs, [Targets.empty(), Targets.empty()])
    assert head.loss(outputs, nothing)["cls"].item() == pytest.approx(
        math.log(2) * 0.25 * 0.75 * 2 * nothing.weight.sum().item() / 2, rel=1e-4
    )


@pytest.mark.parametrize("objects", [1, 0])
def test_the_rpn_draws_a_sample(objects):
    head = RPNHead(4, STRIDES, RPNOptions(width=4, sample=32))
    outputs = blank(head, [(64, 64), (64, 64)])
    targets = [truth(*[(8, 8, 60, 60)] * objects), truth(*[(10.0 * i, 8, 10 * i + 40, 50) for i in range(3)])]
    torch.manual_seed(0)
    assigned = head.assign(outputs, targets)
    assert assigned.weight.sum(dim=1).tolist() == [32, 32]
    assert assigned.positive.sum(dim=1).max() <= 16 and assigned.positive[0].any() == bool(objects)
    assert (assigned.weight[assigned.positive] == 1).all() and (assigned.labels[assigned.positive] == 0).all()
    torch.manual_seed(1)
    assert not torch.equal(assigned.weight, head.assign(outputs, targets).weight)


def test_anchors_that_reach_out_of_the_image_may_be_left_out():
    size = (50, 60)
    every, inner = (
        RPNHead(4, STRIDES, RPNOptions(width=4, sample=10**6, anchor_scale=2, crossing=c)) for c in (True, False)
    )
    anchors = every.all_anchors(blank(every, [size]))
    weights = [head.assign(blank(head, [size]), [Targets.empty()]).weight[0] for head in (every, inner)]
    contained = (anchors >= 0).all(dim=1) & (anchors < torch.tensor([60, 50, 60, 50])).all(dim=1)
    assert weights[0].all() and torch.equal(weights[1] > 0, contained) and 0 < contained.sum() < len(anchors)


def test_the_rpns_losses_by_hand():
    """Divided by the sampled anchors, one more for each image without objects."""
    head = RPNHead(4, STRIDES, RPNOptions(width=4, sample=32))
    outputs = blank(head, [(64, 64), (64, 64)])
    assigned = head.assign(outputs, [truth((8, 8, 60, 60)), Targets.empty()])
    assert head.loss(outputs, assigned)["cls"].item() == pytest.approx(math.log(2) * 64 / 65, rel=1e-5)


def test_all_classes_are_one_object_to_the_rpn():
    head = RPNHead(4, STRIDES, RPNOptions(width=4, sample=10**6))
    outputs = blank(head, [(64, 64)])
    one, two = (head.assign(outputs, [truth((8, 8, 60, 60), label=k)]) for k in (0, 5))
    assert torch.equal(one.labels, two.labels) and set(one.labels.unique().tolist()) == {0, 1}


def test_an_rpn_is_entered_in_its_only_tower():
    head = RPNHead(4, STRIDES, RPNOptions(width=4, depth=2))
    maps = [torch.randn(1, 4, 8, 8), torch.randn(1, 4, 4, 4)]
    outputs = head.resume(maps, start=0, sizes=[(64, 64)], trace=True)
    assert list(outputs.inner) == ["tower/0", "tower/1"] and outputs.cls_trace == outputs.reg_trace == []
    again = head.resume(outputs.inner["tower/0"], start=1, sizes=[(64, 64)], trace=True)
    assert list(again.inner) == ["tower/1"]
    assert torch.equal(again.cls[0], outputs.cls[0]) and torch.equal(again.reg[1], outputs.reg[1])
