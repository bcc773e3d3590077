"""What predicts at cells, on both sides."""

import torch

from headstart.methods import Method
from headstart.methods.allstage.cells import RPNTower
from headstart.methods.scores import student_outputs, teacher_outputs
from headstart.methods.step import Needs, Step
from laws.tiny import MIDWAY, scene
from methods.pairs import frozen, tiny


def step_of(family):
    student = tiny(family)
    return Step(student, *scene(size=64), MIDWAY, Needs(trace=True))


def test_an_rpn_runs_alone_and_once_in_a_step():
    teacher, step = frozen("fasterrcnn"), step_of("retinanet")
    found = teacher_outputs(teacher, step)
    goal = teacher.model.head(teacher.features(step.batch), step.batch.sizes)
    assert all(torch.equal(a, b) for a, b in zip(found.cls, goal.rpn.cls)) and teacher_outputs(teacher, step) is found
    assert not any(maps.requires_grad for maps in found.cls)


def test_a_dense_teachers_outputs_are_those_that_it_has_made():
    teacher, step = frozen("gfl"), step_of("retinanet")
    assert teacher_outputs(teacher, step) is teacher.outputs(step.batch)


def test_the_tower_of_an_rpn_on_either_side():
    step = step_of("fasterrcnn")
    rpn = step.student.head.rpn
    own = RPNTower(rpn)
    assert own.needs == Needs(trace=True) and own(step)[0] is student_outputs(step).inner["tower/0"][0]
    teacher = frozen("cascadercnn")
    there = RPNTower(teacher.model.head.rpn, teacher)
    assert there.needs == Needs() and len(there(step)) == 5 and str(there) == "teacher RPN tower"
    assert Method(step.student).student is step.student
