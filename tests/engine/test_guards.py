import random

import numpy as np
import pytest
import torch
import toys

from headstart.engine.guards import check_lane, with_objects
from headstart.engine.precision import Precision
from headstart.errors import UserError
from headstart.structures import Objective
from headstart.teachers import Frozen

CPU = torch.device("cpu")


def check(method, teacher, batches=None, **more):
    batches = [toys.batch_of()] if batches is None else batches
    teachers = teacher if isinstance(teacher, list) else [teacher] if teacher else []
    return check_lane("copy", method, teachers, batches, 100, device=CPU, precision=Precision(), **more)


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


def test_a_teacher_needs_a_class_of_the_students():
    teacher = toys.teacher()
    method = toys.Copying(toys.Student(("square", "cat", "Circle")), teacher)
    assert check(method, teacher)
    method = toys.Copying(toys.Student(("cat", "dog")), teacher)
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


class UntilTheDrop(toys.Copying):
    """Its term grows from 0 and ends where the rate is first lowered."""

    def forward(self, batch, targets, progress):
        objective = super().forward(batch, targets, progress)
        ended = progress.first_drop is not None and progress.step >= progress.first_drop
        terms = {n: t * 0 if ended and n == "copy/vector" else t for n, t in objective.terms.items()}
        return Objective(terms)


@pytest.mark.parametrize("first_drop", [None, 2, 30, 66, 500])
def test_a_term_that_ends_at_the_first_drop_is_proved_before_it(first_drop):
    teacher = toys.teacher()
    check(UntilTheDrop(toys.Student(), teacher), teacher, first_drop=first_drop)


def test_a_term_that_is_never_there_is_dead():
    teacher = toys.teacher()
    with pytest.raises(UserError, match="exactly zero"):
        check(UntilTheDrop(toys.Student(), teacher), teacher, first_drop=0)


def test_every_teacher_is_looked_at():
    one, other = toys.teacher(), toys.teacher()
    method = toys.Copying(toys.Student(), one)
    assert check(method, [one, other])
    other.name = "second"
    other.model.norm.train()
    with pytest.raises(UserError, match="The teacher second's norm is in training mode"):
        check(method, [one, other])
