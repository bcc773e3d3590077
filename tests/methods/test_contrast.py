"""The contrastive term: who is compared with whom."""

import pytest
import torch

from headstart.boxes import pairwise_iou
from headstart.methods.contrast import BoxContrast, _common, last_layer
from headstart.methods.step import Needs, Step
from headstart.methods.weight import Weight
from headstart.structures import Progress
from laws.tiny import detector, scene
from methods.pairs import frozen

NEEDS = Needs(regions=8)


def made(student, teacher, **options):
    own, taught = detector(student), frozen(teacher, **options)
    torch.manual_seed(3)
    guidance = BoxContrast("sgfi/contrast", own, taught, NEEDS, Weight(2.0))
    return guidance, Step(own, *scene(size=64), Progress(1, 10), guidance.needs)


@pytest.mark.parametrize(
    ("student", "teacher", "layers"),
    [
        ("retinanet", "fasterrcnn", ("cls_tower", "region/fc1")),
        ("fasterrcnn", "gfl", ("region/fc1", "cls_tower")),
        ("fcos", "yolox", ("cls_tower", "cls_tower")),
        ("cascadercnn", "fasterrcnn", ("region/fc1", "region/fc1")),
    ],
)
def test_the_last_layer_of_each_head_at_the_same_boxes(student, teacher, layers):
    guidance, step = made(student, teacher)
    assert (last_layer(step.student.head), last_layer(guidance.teacher.model.head)) == layers
    own, rows = guidance._student(step)
    goal, known = guidance._teacher(step)
    assert len(own) == len(rows) and len(goal) == len(known) and bool((own >= 0).any()) and not goal.requires_grad
    regions = torch.cat([r.cells.level for r in step.regions])
    for side, these in zip(layers, (rows, known)):
        every = torch.arange(len(regions))
        cut = guidance.teacher.model.head.strides if these is known else step.student.head.strides
        traced = every[(regions >= 0) & (regions < len(cut))] if side == "cls_tower" else every
        assert torch.equal(these, traced)
    (value,) = guidance(step).values()
    value.backward()
    assert value > 0 and bool(guidance.project.weight.grad.any())


def test_rows_that_both_have():
    own, goal = torch.arange(3.0)[:, None], torch.arange(4.0)[:, None] * 10
    mine, theirs, rows = _common(own, torch.tensor([1, 4, 6]), goal, torch.tensor([0, 1, 6, 9]))
    assert mine.flatten().tolist() == [0, 2] and theirs.flatten().tolist() == [10, 20] and rows.tolist() == [1, 6]


def test_overlapping_boxes_of_one_image_are_left_out():
    guidance, step = made("fasterrcnn", "fasterrcnn")
    boxes = torch.cat([r.boxes for r in step.regions])
    image = torch.cat([torch.full((len(r),), i) for i, r in enumerate(step.regions)])
    found = guidance._left_out(step, torch.arange(len(boxes)))
    for i in range(len(boxes)):
        for j in range(len(boxes)):
            overlap = pairwise_iou(boxes[i : i + 1], boxes[j : j + 1]).item() > 0.5
            assert found[i, j] == (overlap and image[i] == image[j])
    assert bool(found.any()) and not found.all()


def test_widths_that_differ_pass_a_linear_layer():
    guidance, step = made("fasterrcnn", "fasterrcnn", hidden=40)
    assert guidance.adapter.weight.shape == (40, 24) and guidance.project.weight.shape == (40, 40)
    guidance(step)["sgfi/contrast"].backward()
    assert bool(guidance.adapter.weight.grad.any())
    (row,) = guidance.describe()
    assert row.through == "linear 24 -> 40, projector to 40" and row.weight == "2"
