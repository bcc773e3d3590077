"""BCKD's losses by hand."""

import math

import pytest
import torch

from headstart.boxes import aligned_giou
from headstart.classmap import match_classes
from headstart.heads.cells import flatten
from headstart.methods import Frozen
from headstart.methods.criteria.binary import BinaryPredictions
from headstart.methods.criteria.predictions import decode_all
from headstart.methods.criteria.soft_labels import soft_focal
from headstart.methods.cross_head import TeacherOutputs
from headstart.methods.step import Needs, Step
from headstart.structures import Progress
from laws.tiny import CLASSES, detector, scene


def made(student, teacher, **options):
    own, theirs = detector(student, 0), detector(teacher, 1)
    images, targets = scene(size=64)
    step = Step(own, images, targets, Progress(1, 10), Needs())
    target = TeacherOutputs(Frozen(theirs), len(own.head.strides))(step)
    classes = match_classes(CLASSES, CLASSES)
    criterion = BinaryPredictions(own.head, theirs.head, classes, {"cls": 1.0, "box": 4.0}, **options)
    return criterion(step.outputs, target, step), step, target, theirs.head


@torch.no_grad()
@pytest.mark.parametrize("region", ["all", "positives"])
def test_difference_times_cross_entropy_and_overlap(region):
    found, step, target, other = made("gfl", "gfl", per_prior=True, region=region)
    head, assignment = step.student.head, step.assignment
    own, goal = (flatten(x.cls, 3).sigmoid() for x in (step.outputs, target))
    kept = assignment.positive if region == "positives" else assignment.weight > 0
    effort = -(goal * own.log() + (1 - goal) * (1 - own).log()) * (goal - own).abs()
    count = assignment.positive.sum(dim=1).clamp(min=1).sum()
    assert found["cls"].item() == pytest.approx((effort.sum(-1)[kept].sum() / count).item(), rel=1e-4)
    apart = 1 - aligned_giou(decode_all(head, step.outputs), decode_all(other, target))
    gap = (goal - own).abs().amax(-1)
    assert found["box"].item() == pytest.approx(((apart * gap)[kept].sum() / count).item(), rel=1e-4)


def test_one_entry():
    """p_s = 0.5, p_t = 0.8: 0.3 times the cross-entropy log 2."""
    entry = 0.3 * (0.8 + 0.2) * math.log(2)
    logits = torch.zeros(1, 1), torch.tensor([[math.log(4.0)]])
    assert soft_focal(*logits, torch.ones(1)).item() == pytest.approx(entry, rel=1e-5)


def test_the_weight_of_a_box_has_no_gradient():
    found, step, _, _ = made("gfl", "gfl", per_prior=True)
    grads = torch.autograd.grad(found["box"], step.outputs.cls, allow_unused=True)
    assert all(grad is None for grad in grads)
    assert any(bool(grad.any()) for grad in torch.autograd.grad(found["box"], step.outputs.reg))


@pytest.mark.parametrize("student", ["retinanet", "yolox"])
def test_cells_of_other_kinds(student):
    found, *_ = made(student, "fcos", per_prior=False, region="positives")
    few = {name: value.item() for name, value in found.items()}
    found, *_ = made(student, "fcos", per_prior=False)
    assert all(0 < few[name] < value.item() for name, value in found.items())
