"""Two box heads' predictions for the same regions."""

from types import SimpleNamespace

import pytest
import torch

from headstart.cached_tensor import cached_tensor
from headstart.classmap import LEFT_OUT, match_classes
from headstart.heads.roi import BoxHead
from headstart.methods.allstage.region_logits import RegionLogits
from headstart.structures import RegionOutputs, Regions


def head(classes, agnostic=False):
    return BoxHead(classes, 8, [4, 8, 16, 32], BoxHead.Options(hidden=16, class_agnostic=agnostic))


def regions_of(classes, boxes):
    one = Regions(boxes, torch.zeros(len(boxes), dtype=torch.int64), boxes, None)
    return SimpleNamespace(
        classes=classes,
        sets=lambda step: SimpleNamespace(own=[one], theirs=[one]),
        kept=lambda device: cached_tensor(
            [r for r, n in enumerate(classes.goal) if n != LEFT_OUT], torch.int64, device
        ),
    )


def boxes(count=5):
    corner = torch.rand(count, 2) * 20
    return torch.cat([corner, corner + 10 + 20 * torch.rand(count, 2)], dim=1)


def outputs(classes, count=5, width=None):
    return RegionOutputs([], torch.randn(count, classes + 1), 0.3 * torch.randn(count, width or 4 * classes))


def test_equal_predictions_have_no_distance():
    same = match_classes(("a", "b"), ("a", "b"))
    criterion = RegionLogits(head(2), head(2), regions_of(same, boxes()))
    said = outputs(2)
    found = criterion(said, said, None)
    assert found["cls"].item() == pytest.approx(0, abs=1e-5) and found["box"].item() == pytest.approx(0, abs=1e-5)
    other = criterion(outputs(2), said, None)
    assert other["cls"] > 0.01 and other["box"] > 0.01


def test_classes_by_their_meaning_whatever_their_order_and_the_rest_is_background():
    """The teacher's b, a and c for the student's a, b and d: c counts as background there, d here."""
    classes = match_classes(("b", "a", "c"), ("a", "b", "d"))
    criterion = RegionLogits(head(3), head(3, agnostic=True), regions_of(classes, boxes()))
    p = torch.tensor([[0.2, 0.3, 0.1, 0.4]]).repeat(5, 1)  # b, a, c, background
    q = torch.tensor([[0.3, 0.2, 0.25, 0.25]]).repeat(5, 1)  # a, b, d, background: the same with 0.5 for the rest
    reg = torch.zeros(5, 12, requires_grad=True)
    found = criterion(RegionOutputs([], q.log(), reg), RegionOutputs([], p.log(), torch.zeros(5, 4)), None)
    assert found["cls"].item() == pytest.approx(0, abs=1e-5)
    moved = criterion(RegionOutputs([], q.log(), reg), RegionOutputs([], p.log(), 0.5 * torch.ones(5, 4)), None)
    moved["box"].backward()
    reached = reg.grad.abs().amax(dim=0).reshape(3, 4).amax(dim=1) > 0
    assert reached.tolist() == [True, False, False]  # the teacher's likeliest is a


def test_merged_classes_are_one():
    classes = match_classes(("car", "bus"), ("vehicle",), {"car": "vehicle", "bus": "vehicle"})
    criterion = RegionLogits(head(1), head(2), regions_of(classes, boxes()))
    p = torch.tensor([[0.3, 0.4, 0.3]]).repeat(5, 1)
    q = torch.tensor([[0.7, 0.3]]).repeat(5, 1)
    found = criterion(
        RegionOutputs([], q.log(), torch.zeros(5, 4)), RegionOutputs([], p.log(), torch.zeros(5, 8)), None
    )
    assert found["cls"].item() == pytest.approx(0, abs=1e-5)


def test_no_region_gives_zero():
    same = match_classes(("a", "b"), ("a", "b"))
    criterion = RegionLogits(head(2), head(2), regions_of(same, boxes(0)))
    found = criterion(outputs(2, 0), outputs(2, 0), None)
    assert found["cls"] == found["box"] == 0
