"""Localisation distillation: the region, and the published sums by hand."""

import math

import pytest
import torch

from headstart.assign.atss import ATSS
from headstart.boxes import pairwise_diou, pairwise_iou
from headstart.classmap import match_classes
from headstart.methods.criteria.edges import EdgeDistributions, valuable_region
from headstart.methods.step import Needs, Step
from headstart.priors import base_anchors, place_anchors
from headstart.structures import DenseOutputs, Progress, Targets
from laws.tiny import CLASSES, detector, scene

COUNTS = [64, 16, 4]
ANCHORS = torch.cat([place_anchors(base_anchors(s, [4.0], [1.0]), 64 // s, 64 // s, s) for s in (8, 16, 32)])
EVERYWHERE = torch.ones(len(ANCHORS), dtype=torch.bool)


def truth(*boxes, ignored=0):
    rows = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    marks = torch.arange(len(rows)) >= len(rows) - ignored
    return Targets(rows, torch.zeros(len(rows), dtype=torch.int64), marks)


def test_the_region_lies_between_a_quarter_of_the_threshold_and_the_threshold():
    boxes = [[4.0, 6, 40, 40], [30, 30, 60, 62]]
    found = valuable_region(ATSS(), ANCHORS, COUNTS, truth(*boxes), EVERYWHERE)
    limits = ATSS().thresholds(ANCHORS, COUNTS, torch.tensor(boxes))
    for row, anchor in enumerate(ANCHORS):
        inside = []
        for box, limit in zip(boxes, limits.tolist()):
            one = torch.tensor([box]), anchor[None]
            if 0.25 * limit <= pairwise_diou(*one).item() < limit:
                inside.append(pairwise_iou(*one).item())
        assert found[row].item() == pytest.approx(max(inside, default=0.0))
    assert 0 < int((found > 0).sum()) < len(ANCHORS)


def test_ignored_objects_unusable_anchors_and_empty_images_have_no_region():
    box = [4.0, 6, 40, 40]
    alone = valuable_region(ATSS(), ANCHORS, COUNTS, truth(box), EVERYWHERE)
    assert torch.equal(valuable_region(ATSS(), ANCHORS, COUNTS, truth(box, [0, 0, 9, 9], ignored=1), EVERYWHERE), alone)
    usable = alone == 0
    assert not valuable_region(ATSS(), ANCHORS, COUNTS, truth(box), usable)[~usable].any()
    assert not valuable_region(ATSS(), ANCHORS, COUNTS, Targets.empty(), EVERYWHERE).any()


def made(summed, constants=("box", "valuable", "cls")):
    """The terms of two GFL heads, the step and both outputs."""
    student, teacher = detector("gfl", 0), detector("gfl", 1)
    images, targets = scene(size=64)
    step = Step(student, images, targets, Progress(1, 10), Needs())
    with torch.no_grad():
        target = teacher(images)
    criterion = EdgeDistributions(
        student.head, match_classes(CLASSES, CLASSES), dict.fromkeys(constants, 1.0), 10.0, summed=summed
    )
    return criterion(step.outputs, target, step), step, target


def rows(outputs):
    """(B, N, 4, 17) edges and (B, N, K) classes."""
    cls = torch.cat([m.flatten(2).transpose(1, 2) for m in outputs.cls], dim=1)
    reg = torch.cat([m.flatten(2).transpose(1, 2) for m in outputs.reg], dim=1)
    return reg.unflatten(-1, (4, 17)), cls


def apart(own, goal, temperature):
    """temperature^2 times the mean over bins of p_t (log p_t - log p_s): a loop over the formula."""
    p, q = (goal / temperature).softmax(-1), (own / temperature).softmax(-1)
    return temperature**2 * (p * (p.log() - q.log())).sum(-1) / own.shape[-1]


@torch.no_grad()
def test_the_published_sums():
    """Positives: score x D summed over edges / 4. The region: IoU x D summed over edges / 16."""
    found, step, target = made(summed=True)
    (own, logits), (goal, goal_logits) = rows(step.outputs), rows(target)
    edges, assignment = apart(own, goal, 10.0), step.assignment
    image, row = assignment.positive.nonzero(as_tuple=True)
    score = logits[image, row].sigmoid().amax(-1)
    assert found["box"].item() == pytest.approx(((edges[image, row].sum(-1) * score).sum() / 4).item(), rel=1e-4)
    head, total = step.student.head, 0.0
    anchors, cells = head.all_anchors(step.outputs), head.cells(step.outputs)
    counts = [m.shape[-2] * m.shape[-1] for m in step.outputs.cls]
    for index, (wanted, size) in enumerate(zip(step.targets, step.batch.sizes)):
        region = valuable_region(head.assigner, anchors, counts, wanted, head.usable(anchors, cells, size))
        total += (edges[index].sum(-1) * region).sum().item() / 16
    assert found["valuable"].item() == pytest.approx(total, rel=1e-4) and total > 0
    classes = apart(logits, goal_logits, 2.0) * assignment.positive
    parts = zip(classes.split(counts, dim=1), assignment.positive.split(counts, dim=1))
    expected = sum(part.sum().item() / max(1, int(positive.sum())) for part, positive in parts)
    assert found["cls"].item() == pytest.approx(expected, rel=1e-4)


def test_divided_by_the_positives():
    summed, step, _ = made(summed=True)
    divided, _, _ = made(summed=False)
    count = step.assignment.positive.sum(dim=1).clamp(min=1).sum().item()
    for term in ("box", "valuable"):
        assert divided[term].item() == pytest.approx(summed[term].item() / count, rel=1e-5)
    assert divided["cls"].item() == pytest.approx(summed["cls"].item(), rel=1e-5)


def test_one_edge_by_hand():
    """Two bins far apart: the teacher is sure of the first, the student of nothing."""
    found = apart(torch.zeros(2), torch.tensor([math.log(3.0), 0.0]), 1.0)
    by_hand = (0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)) / 2
    assert found.item() == pytest.approx(by_hand, rel=1e-5)
    head = detector("gfl", reg_max=1).head
    maps = torch.zeros(1, 8, 1, 1), torch.tensor([math.log(3.0), 0.0]).repeat(4).reshape(1, 8, 1, 1)
    criterion = EdgeDistributions(head, match_classes(CLASSES, CLASSES), {"box": 1.0}, 1.0, summed=True)
    assert criterion._apart([maps[0]], [maps[1]]).item() == pytest.approx(by_hand, rel=1e-5)


def test_only_terms_with_a_constant_are_computed_and_a_shorter_teacher_compares_its_levels():
    found, step, target = made(summed=True, constants=("box",))
    assert set(found) == {"box"}
    shorter = DenseOutputs(target.cls[:1], target.reg[:1], None, target.sizes)
    criterion = EdgeDistributions(
        step.student.head,
        match_classes(CLASSES, CLASSES),
        {"box": 1.0, "valuable": 1.0, "cls": 1.0},
        10.0,
        summed=True,
    )
    less = criterion(step.outputs, shorter, step)
    assert 0 < less["box"].item() <= found["box"].item() and less["valuable"].isfinite() and less["cls"].isfinite()
