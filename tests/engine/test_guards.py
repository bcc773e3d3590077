import random

import numpy as np
import pytest
import torch
import toys

from headstart.engine.guards import prove, with_objects
from headstart.engine.precision import Precision
from headstart.errors import UserError
from headstart.methods.base import Frozen, list_teachers

CPU = torch.device("cpu")


def check(method, teacher, batches=None):
    batches = [toys.batch_of()] if batches is None else batches
    return prove("copy", method, list_teachers(teacher), batches, 100, device=CPU, precision=Precision())


def test_a_sound_lane_passes_and_is_left_as_it_was():
    teacher = toys.teacher()
    method = toys.Copying(toys.Student(), teacher)
    method.eval()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    assert check(method, teacher) == method.describe()
    for name, value in method.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not method.training
    assert all(p.grad is None for p in method.parameters())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.random.get_state()[1].tolist() == states[2]


@pytest.mark.parametrize(
    "fault, sentence",
    [
        ("zero term", "distillation term copy/vector is exactly zero"),
        ("not finite", "copy/vector is inf"),
        ("changes teacher", "changes its teacher"),
        ("idle part", "adapter receives no gradient"),
        ("unused part", "spare receives no gradient"),
        ("stranger", "holds spare.weight"),
    ],
)
def test_each_fault_stops_the_run(fault, sentence):
    teacher = toys.teacher()
    with pytest.raises(UserError, match=sentence):
        check(toys.Copying(toys.Student(), teacher, fault), teacher)


def test_an_unreached_parameter_of_the_student_is_named():
    student = toys.Student()
    student.stem.requires_grad_(True)
    with pytest.raises(UserError, match=r"parameter student\.stem\.(bias|weight) is reached by no gradient"):
        check(toys.Plain(student), None)


@pytest.mark.parametrize(
    "classes, sentence",
    [(("square", "circle"), "Class 0 is circle for the teacher, square"), (("circle", "cat"), "lacks: cat")],
)
def test_classes_must_match(classes, sentence):
    teacher = toys.teacher()
    with pytest.raises(UserError, match=sentence):
        check(toys.Copying(toys.Student(classes), teacher), teacher)


def test_a_method_may_do_with_other_classes():
    teacher = toys.teacher()
    method = toys.Copying(toys.Student(("square", "cat", "Circle")), teacher)
    method.same_classes = False
    assert check(method, teacher)
    method = toys.Copying(toys.Student(("cat", "dog")), teacher)
    method.same_classes = False
    with pytest.raises(UserError, match="no class in common"):
        check(method, teacher)


def test_a_teacher_in_training_mode_or_learning_is_refused():
    teacher = toys.teacher()
    method = toys.Copying(toys.Student(), teacher)
    teacher.model.norm.train()
    with pytest.raises(UserError, match="norm is in training mode"):
        check(method, teacher)
    teacher = Frozen(teacher.model)
    teacher.model.head.requires_grad_(True)
    with pytest.raises(UserError, match=r"head.* requires a gradient"):
        check(method, teacher)


def test_data_without_objects():
    empty = toys.batch_of(objects=0)
    assert list(with_objects([empty])) == []
    with pytest.raises(UserError, match="no image with an object"):
        check(toys.Plain(toys.Student()), None, [])
