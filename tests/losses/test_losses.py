"""Losses: hand-made numbers, torchvision's and torch's answers, and what happens to nothing at all."""

import math

import pytest
import torch
from torch.nn import functional
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

from headstart.losses.box import giou, iou_log, smooth_l1
from headstart.losses.classification import bce_with_logits, cross_entropy, focal, quality_focal
from headstart.losses.distribution import distribution_focal, integral


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.5, 1.5)])
def test_focal_as_torchvision(alpha, gamma):
    torch.manual_seed(0)
    ours = (torch.randn(50, 4) * 3).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    labels, weight = torch.randint(0, 5, (50,)), torch.rand(50)
    found = focal(ours, labels, weight, alpha=alpha, gamma=gamma)
    one_hot = functional.one_hot(labels, 5)[:, :4].float()
    goal = (sigmoid_focal_loss(theirs, one_hot, alpha=alpha, gamma=gamma) * weight[:, None]).sum()
    torch.testing.assert_close(found, goal)
    found.backward()
    goal.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


def test_focal_by_hand():
    """Half probability: alpha * 0.25 * log 2 for an object, (1 - alpha) * 0.25 * log 2 for background."""
    logits, one = torch.zeros(1, 1), torch.ones(1)
    assert focal(logits, torch.tensor([0]), one).item() == pytest.approx(0.25 * 0.25 * math.log(2))
    assert focal(logits, torch.tensor([1]), one).item() == pytest.approx(0.75 * 0.25 * math.log(2))


@pytest.mark.parametrize("size", [100.0, 1e4])
def test_focal_of_extreme_logits_is_finite(size):
    logits = torch.tensor([[size, -size]], requires_grad=True)
    focal(logits, torch.tensor([1]), torch.ones(1)).backward()
    assert bool(logits.grad.isfinite().all())


def test_focal_leaves_out_what_has_no_weight():
    logits = torch.randn(3, 2, requires_grad=True)
    focal(logits, torch.tensor([0, 1, 2]), torch.tensor([0.0, 1.0, 0.0])).backward()
    assert logits.grad.any(dim=1).tolist() == [False, True, False]


def test_smooth_l1_is_a_parabola_below_beta():
    prediction, goal = torch.tensor([0.5, -3.0]), torch.zeros(2)
    assert smooth_l1(prediction, goal).item() == pytest.approx(3.5)
    assert smooth_l1(prediction, goal, 1.0).item() == pytest.approx(0.125 + 2.5)
    assert smooth_l1(prediction, goal, 0.25).item() == pytest.approx(0.375 + 2.875)


def test_quality_focal_as_mmdetection():
    """Two rows, the first an object of class 0 and quality 0.7: 1.8497750 in all."""
    logits, rows, quality = torch.tensor([[0.5, -1], [2, 0]]), torch.tensor([0]), torch.tensor([0.7])
    found = quality_focal(logits, torch.tensor([0, 2]), torch.ones(2), rows, quality)
    assert found.item() == pytest.approx(1.8497750, rel=1e-6)


@pytest.mark.parametrize("beta", [1.0, 2.0, 1.5])
def test_quality_focal_entry_by_entry(beta):
    torch.manual_seed(0)
    ours = (torch.randn(50, 4) * 3).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    labels, weight, quality = torch.randint(0, 5, (50,)), torch.rand(50), torch.rand(50)
    rows = (labels < 4).nonzero().flatten()
    found = quality_focal(ours, labels, weight, rows, quality[rows], beta=beta)
    goal = functional.one_hot(labels, 5)[:, :4] * quality[:, None]
    entropy = functional.binary_cross_entropy_with_logits(theirs, goal, reduction="none")
    expected = (entropy * (goal - theirs.sigmoid()).abs() ** beta * weight[:, None]).sum()
    torch.testing.assert_close(found, expected)
    found.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-5)


def test_quality_focal_of_background_only():
    logits, nobody = torch.randn(3, 2, requires_grad=True), torch.zeros(0, dtype=torch.int64)
    quality_focal(logits, torch.full((3,), 2), torch.tensor([1.0, 0, 1]), nobody, torch.zeros(0)).backward()
    assert logits.grad.any(dim=1).tolist() == [True, False, True]


def test_distribution_focal_as_mmdetection():
    logits = torch.tensor([[0.0, 1, 2, 0.5]])
    found = distribution_focal(logits, torch.tensor([1.3]), torch.ones(1))
    assert found.item() == pytest.approx(1.2460064, rel=1e-6)
    whole = distribution_focal(logits, torch.tensor([2.0]), torch.tensor([3.0]))
    assert whole.item() == pytest.approx(-3 * logits.log_softmax(1)[0, 2].item(), rel=1e-6)
    assert distribution_focal(logits[:0], torch.zeros(0), torch.zeros(0)).item() == 0


def test_the_best_distribution_has_the_goal_as_its_expectation():
    logits = torch.zeros(1, 6, requires_grad=True)
    goal = torch.tensor([3.25])
    for _ in range(200):
        (grad,) = torch.autograd.grad(distribution_focal(logits, goal, torch.ones(1)), logits)
        logits = (logits - 2 * grad).detach().requires_grad_()
    assert integral(logits).item() == pytest.approx(3.25, abs=0.02)
    assert logits.argsort(descending=True)[0, :2].tolist() == [3, 4]


def test_expectation():
    assert integral(torch.zeros(2, 3, 5)).tolist() == [[2.0] * 3] * 2
    assert integral(torch.tensor([0.0, -1e4, math.log(3)])).item() == pytest.approx(1.5)


def test_binary_is_a_weighted_sum():
    logits, goal, weight = torch.randn(6), torch.tensor([0, 1, 0.3, 1, 0, 1]), torch.rand(6)
    each = functional.binary_cross_entropy_with_logits(logits, goal, reduction="none")
    torch.testing.assert_close(bce_with_logits(logits, goal, weight), (each * weight).sum())
    torch.testing.assert_close(bce_with_logits(logits, goal), each.sum())


def test_softmax_entropy_is_a_sum_and_takes_no_rows():
    logits = torch.zeros(3, 4, requires_grad=True)
    assert cross_entropy(logits, torch.tensor([0, 3, 1])).item() == pytest.approx(3 * math.log(4))
    none = cross_entropy(logits[:0], torch.zeros(0, dtype=torch.int64))
    none.backward()
    assert none == 0 and not logits.grad.any()


A = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10]])
B = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [20, 0, 30, 10]])


def test_box_losses_by_hand():
    each = [giou(A[i : i + 1], B[i : i + 1], torch.ones(1)).item() for i in range(3)]
    assert each == pytest.approx([0, 2 / 3, 1 + 1 / 3], abs=1e-6)
    logs = [iou_log(A[i : i + 1], B[i : i + 1], torch.ones(1)).item() for i in range(3)]
    assert logs == pytest.approx([0, math.log(3), -math.log(1e-6)], abs=1e-5)
    assert smooth_l1(A, B).item() == 10 + 40


def test_smooth_by_hand():
    """Squared up to beta, a line from there on, without a step between them."""
    zero = torch.zeros(4)
    each = [smooth_l1(torch.tensor([d]), zero[:1], 0.5).item() for d in (0.2, -0.5, 0.5001, 2.0)]
    assert each == pytest.approx([0.04, 0.25, 0.2501, 1.75], rel=1e-4)
    assert smooth_l1(torch.tensor([0.2, -0.5, 0, 2]), zero, 0.5).item() == pytest.approx(2.04)
    assert smooth_l1(zero[:0], zero[:0], 0.5).item() == 0


def test_giou_as_torchvision():
    torch.manual_seed(0)
    corner, other = torch.rand(20, 2) * 20, torch.rand(20, 2) * 20
    a = torch.cat([corner, corner + 1 + torch.rand(20, 2) * 20], dim=1).requires_grad_()
    b = torch.cat([other, other + 1 + torch.rand(20, 2) * 20], dim=1)
    theirs, weight = a.detach().clone().requires_grad_(), torch.rand(20)
    found, goal = giou(a, b, weight), (generalized_box_iou_loss(theirs, b) * weight).sum()
    torch.testing.assert_close(found, goal, rtol=1e-4, atol=1e-4)
    found.backward()
    goal.backward()
    torch.testing.assert_close(a.grad, theirs.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("loss", [giou, iou_log])
def test_box_losses_of_nothing_and_of_boxes_without_area(loss):
    none = torch.zeros(0, 4, requires_grad=True)
    loss(none, none.detach(), torch.zeros(0)).backward()
    assert none.grad is not None
    point = torch.tensor([[3.0, 3, 3, 3]], requires_grad=True)
    value = loss(point, torch.tensor([[0.0, 0, 10, 10]]), torch.ones(1))
    value.backward()
    assert bool(value.isfinite()) and bool(point.grad.isfinite().all())
