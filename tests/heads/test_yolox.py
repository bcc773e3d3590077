"""YOLOX's head beyond the official numbers, which are in tests/parity."""

from dataclasses import replace

import pytest
import torch

from headstart.heads.selection import Selection
from headstart.heads.yolox import LARGEST, YOLOXHead, YOLOXOptions
from headstart.structures import DenseOutputs, Features, Targets

SIZES = [(32, 32)]


@pytest.fixture
def head():
    torch.manual_seed(0)
    return YOLOXHead(3, 8, [8, 16], YOLOXOptions(width=8))


def outputs_with(*cells):
    """Of a level of 4 x 4 cells and one of 2 x 2: class logits, objectness and code at some cells (level, y, x)."""
    cls = [torch.full((1, 3, side, side), -9.0) for side in (4, 2)]
    reg = [torch.zeros(1, 4, side, side) for side in (4, 2)]
    objectness = [torch.full((1, 1, side, side), -9.0) for side in (4, 2)]
    for (level, y, x), logits, obj, code in cells:
        cls[level][0, :, y, x], objectness[level][0, 0, y, x] = torch.tensor(logits), obj
        reg[level][0, :, y, x] = torch.tensor(code)
    return DenseOutputs(cls, reg, objectness, SIZES)


def test_a_box_has_its_best_class_and_the_product_as_score(head):
    found = head.decode(outputs_with(((0, 1, 1), [2.0, 1.0, 3.0], 1.0, [0.5, 0.5, 0.5, 0.5])), SIZES)[0]
    assert found.labels.tolist() == [2]
    expected = torch.tensor(3.0).sigmoid() * torch.tensor(1.0).sigmoid()
    torch.testing.assert_close(found.scores[0], expected)


def test_the_threshold_is_on_the_product(head):
    """A class that is certain where there is no object is nothing."""
    cells = [((0, 1, 1), [9.0, 0, 0], -2.0, [0.5] * 4), ((1, 1, 1), [0.0, -1, -1], 3.0, [0.0] * 4)]
    head.selection = Selection(nms_pre=10, score_threshold=0.3, iou_threshold=0.65, max_detections=10)
    found = head.decode(outputs_with(*cells), SIZES)[0]
    assert found.cells.level.tolist() == [1]


def test_proposals_are_ranked_by_the_product(head):
    cells = [((0, 1, 1), [9.0, 0, 0], -2.0, [0.5] * 4), ((0, 3, 3), [0.0, -1, -1], 3.0, [0.0] * 4)]
    found = head.proposals(outputs_with(*cells), SIZES)[0]
    assert (found.cells.y[0].item(), found.cells.x[0].item()) == (3, 3)
    torch.testing.assert_close(found.scores[0], torch.tensor(0.0).sigmoid() * torch.tensor(3.0).sigmoid())


def test_boxes_compete_whole_and_are_clipped_afterwards(head):
    """Two that overlap outside the image alone both stay."""
    left = ((0, 0, 3), [3.0, 0, 0], 3.0, [2.0, 0.5, 1.2, 0.3])
    right = ((0, 1, 3), [3.0, 0, 0], 2.0, [2.0, 0.5, 1.2, 0.3])
    found = head.decode(outputs_with(left, right), SIZES)[0]
    assert len(found) == 2 and bool((found.boxes[:, 2] == 32).all())
    outside = ((0, 0, 3), [3.0, 0, 0], 3.0, [9.0, 0.5, 0.0, 0.0])
    assert len(head.decode(outputs_with(outside), SIZES)[0]) == 0


def test_sides_cannot_overflow(head):
    code = torch.tensor([[0.0, 0.0, 99.0, 99.0]]).expand(4, 4)
    boxes = head.decode_level(code, 1, (2, 2))
    torch.testing.assert_close(boxes[:, 2] - boxes[:, 0], torch.full((4,), LARGEST), rtol=1e-3, atol=0)


def test_the_l1_of_the_last_part(head):
    maps = [torch.randn(1, 8, 4, 4), torch.randn(1, 8, 2, 2)]
    outputs = head(Features([], [], maps, [8, 16]), SIZES)
    target = [Targets(torch.tensor([[6.0, 6, 26, 28]]), torch.tensor([1]), torch.tensor([False]))]
    assigned = head.assign(outputs, target)
    plain = head.loss(outputs, assigned)
    assert set(plain) == {"cls", "box", "objectness"} and head.extra_l1 is False
    head.extra_l1 = True
    more = head.loss(outputs, assigned)
    assert set(more) == {*plain, "l1"} and more["l1"] > 0 and torch.equal(more["box"], plain["box"])
    rows = assigned.positive.nonzero()[:, 1]
    codes = torch.cat([m.flatten(2) for m in outputs.reg], dim=2).detach()
    codes[0, :, rows] = head.encode(outputs, rows, assigned.boxes[0, rows]).t()
    exact = replace(outputs, reg=[codes[:, :, :16].reshape(1, 4, 4, 4), codes[:, :, 16:].reshape(1, 4, 2, 2)])
    perfect = head.loss(exact, assigned)
    assert perfect["l1"].item() == pytest.approx(0, abs=1e-4) and perfect["box"].item() == pytest.approx(0, abs=1e-4)


def test_nothing_is_shared_between_levels(head):
    names = [name for name, _ in head.named_parameters()]
    assert all(".0." in name or ".1." in name for name in names)
    first = sum(p.numel() for name, p in head.named_parameters() if name.startswith(("cls_tower.convs.0.", "cls.0.")))
    second = sum(p.numel() for name, p in head.named_parameters() if name.startswith(("cls_tower.convs.1.", "cls.1.")))
    assert first == second > 0
