"""RTMDet's head beyond the official numbers, which are in tests/parity."""

import pytest
import torch

from headstart.boxes import aligned_iou
from headstart.heads.rtmdet import START, RTMDetHead, RTMDetOptions
from headstart.structures import Features, Targets

SIZES = [(64, 64), (48, 64)]


def make(**options):
    torch.manual_seed(0)
    head = RTMDetHead(3, 8, [8, 16, 32], RTMDetOptions(width=8, **options))
    maps = [torch.randn(2, 8, 64 // stride, 64 // stride) for stride in head.strides]
    return head, Features([], [], maps, head.strides)


def objects():
    boxes = torch.tensor([[4.0, 6, 30, 40], [20, 20, 60, 44]])
    return [Targets(boxes, torch.tensor([0, 2]), torch.zeros(2, dtype=torch.bool)) for _ in SIZES]


@pytest.mark.parametrize("exponential", [False, True])
def test_a_fresh_head_already_overlaps_objects(exponential):
    """Boxes without extent have no IoU, which is both the weight of the box loss and the target of the classes."""
    head, features = make(exponential=exponential)
    outputs = head(features, SIZES)
    sides = torch.cat([m.flatten(2).mean(dim=(0, 2)) for m in outputs.reg]).reshape(3, 4) / torch.tensor(
        [[8.0], [16], [32]]
    )
    assert torch.allclose(sides, torch.full_like(sides, 1.0 if exponential else START), atol=0.1)
    assigned = head.assign(outputs, objects())
    quality, _ = aligned_iou(head.boxes(outputs)[assigned.positive], assigned.boxes[assigned.positive])
    assert quality.max() > 0.3
    assert all(value.item() > 0.05 for value in head.loss(outputs, assigned).values())


def test_linear_distances_may_be_negative():
    head, features = make(exponential=False)
    for layer in head.reg:
        torch.nn.init.normal_(layer.weight)
    outputs = head(features, SIZES)
    assert any(bool((m < 0).any()) for m in outputs.reg)
    assert all(value.isfinite() for value in head.loss(outputs, head.assign(outputs, objects())).values())


def test_levels_share_convolutions_and_nothing_else():
    head, features = make()
    same = Features([], [], [features.pyramid[0]] * 3, head.strides)
    head.eval()
    for level in (1, 2):
        for layer in (*head.cls_tower.norms[level], *head.reg_tower.norms[level]):
            torch.nn.init.uniform_(layer.weight)
    outputs = head(same, SIZES)
    assert not torch.equal(outputs.cls[0], outputs.cls[1]) and not torch.equal(outputs.cls[1], outputs.cls[2])
    assert len(list(head.cls_tower.convs.parameters())) == 2 and list(head.classifiers()) == ["cls.0", "cls.1", "cls.2"]


def test_the_cost_is_computed_in_single_precision():
    head, features = make()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = head(features, SIZES)
        assigned = head.assign(outputs, objects())
        losses = head.loss(outputs, assigned)
    assert outputs.cls[0].dtype == torch.bfloat16 and all(m.dtype == torch.float32 for m in outputs.reg)
    again = head.assign(outputs, objects())
    assert torch.equal(assigned.labels, again.labels)
    assert all(value.dtype == torch.float32 for value in losses.values())


def test_points_beyond_an_images_own_padding_are_not_trained():
    head, features = make()
    outputs = head(features, [(64, 64), (32, 64)])
    weight = head.assign(outputs, [Targets.empty(), Targets.empty()]).weight
    cells = head.cells(outputs)
    stride = torch.tensor(head.strides)[cells.level]
    assert bool((weight[0] == 1).all()) and torch.equal(weight[1] == 1, cells.y * stride < 32)
