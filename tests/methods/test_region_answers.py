"""What each side says about shared regions, looked up one by one."""

import pytest
import torch

from headstart.methods.criteria.cells import joint_logits
from headstart.methods.pairing import stride_factors
from headstart.methods.region_answers import StudentAnswers, TeacherAnswers
from headstart.methods.step import Needs, Step
from headstart.structures import Progress
from laws.tiny import detector, scene, teach

NEEDS = Needs(regions=8)


def made(student, teacher):
    own, taught = detector(student), teach(teacher)
    step = Step(own, *scene(size=64), Progress(1, 10), NEEDS)
    classes = taught.match(own.classes)
    dense = taught.model.head.predicts_at == "cells"
    factors = tuple(stride_factors(own.head.strides, taught.model.head.strides)) if dense else ()
    return step, taught, StudentAnswers(classes, NEEDS), TeacherAnswers(taught, classes, factors)


def cells(step):
    for image, regions in enumerate(step.regions):
        c = regions.cells
        yield from ((image, *row) for row in zip(c.level.tolist(), c.y.tolist(), c.x.tolist(), c.anchor.tolist()))


@torch.no_grad()
@pytest.mark.parametrize("student", ["retinanet", "yolox"])
def test_a_dense_student_answers_by_the_prior_that_the_region_came_from(student):
    step, _, own, _ = made(student, "fasterrcnn")
    logits, boxes, known = own(step)
    proposed = torch.cat([r.boxes for r in step.regions])
    for row, (image, level, y, x, anchor) in enumerate(cells(step)):
        if level < 0:
            assert known[row] == 0 and not logits[row].any()
            continue
        said = step.outputs.cls[level][image, anchor * 3 : (anchor + 1) * 3, y, x]
        if student == "yolox":
            said = joint_logits(said, step.outputs.quality[level][image, :, y, x])
        torch.testing.assert_close(logits[row], said)
        height, width = step.batch.sizes[image]
        inside = boxes[row].clamp(min=0).minimum(torch.tensor([width, height, width, height]))
        torch.testing.assert_close(inside, proposed[row], rtol=1e-4, atol=1e-3)
    assert 0 < int(known.sum()) < len(known)


@torch.no_grad()
def test_a_dense_teacher_answers_by_the_likeliest_anchor_of_the_cell():
    step, taught, _, goal = made("fasterrcnn", "retinanet")
    logits, _, known = goal(step)
    said = taught.outputs(step.batch).cls
    for row, (image, level, y, x, _) in enumerate(cells(step)):
        if level < 0:
            assert known[row] == 0
            continue
        anchors = said[level][image, :, y // 2, x // 2].reshape(-1, 3)  # strides 8.. against 4..
        assert torch.equal(logits[row], anchors[anchors.amax(dim=1).argmax()])


@torch.no_grad()
@pytest.mark.parametrize("student", ["fasterrcnn", "cascadercnn"])
def test_two_stage_heads_answer_by_their_first_box_head(student):
    step, taught, own, goal = made(student, "cascadercnn of other classes")
    logits, boxes, known = own(step)
    head, (rows, regions) = step.student.head.box_heads[0], (step.region_rows, step.regions)
    chances = step.outputs.first.roi.cls[rows].softmax(dim=1)
    torch.testing.assert_close(logits.sigmoid(), chances[:, list(own.classes.known)], rtol=1e-3, atol=1e-5)
    assert bool(known.all()) and boxes.shape == (len(logits), 4)
    read = [r.boxes for r in regions]
    refined = torch.cat(head.refine(head(step.features.pyramid, read), read, [(10**6, 10**6)] * 2))
    torch.testing.assert_close(boxes.clamp(min=0), refined, rtol=1e-4, atol=1e-3)
    theirs, _, _ = goal(step)
    said = taught.model.head.box_heads[0](taught.model.extract(step.batch).pyramid, read)
    merged = goal.classes.pull_scores(said.cls.softmax(dim=1)[:, :4], merge="sum")
    torch.testing.assert_close(theirs.sigmoid(), merged, rtol=1e-3, atol=1e-5)
