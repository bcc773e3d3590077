"""The teacher as methods see it."""

import copy

import pytest
import torch

from headstart.errors import UserError
from headstart.methods import METHODS, Frozen, build_method
from headstart.methods.baseline import Baseline
from laws.tiny import detector, run, scene


class Counting:
    """Counts how often a detector extracts features."""

    def __init__(self, model):
        self.calls = 0
        inner = model.extract

        def extract(batch):
            self.calls += 1
            return inner(batch)

        model.extract = extract


@pytest.fixture
def teacher():
    return Frozen(detector("fasterrcnn").train())


def test_it_is_frozen_and_in_evaluation_mode(teacher):
    assert not any(module.training for module in teacher.model.modules())
    assert not any(p.requires_grad for p in teacher.model.parameters())
    assert teacher.classes == teacher.model.classes


def test_one_pass_per_batch(teacher):
    counting = Counting(teacher.model)
    batch, _ = scene(size=64)
    first = teacher.extract(batch)
    assert teacher.extract(batch) is first and counting.calls == 1
    assert not any(maps.requires_grad for maps in first.pyramid)
    other, _ = scene(size=64)
    assert torch.equal(teacher.extract(other).pyramid[0], first.pyramid[0]) and counting.calls == 2
    teacher.forget()
    teacher.extract(other)
    assert counting.calls == 3


def test_the_head_is_asked_once_per_batch():
    teacher = Frozen(detector("retinanet"), name="dense")
    assert teacher.title == "teacher dense" and Frozen(detector("fcos")).title == "teacher"
    counting = Counting(teacher.model)
    batch, _ = scene(size=64)
    said = teacher.ask(batch)
    assert teacher.ask(batch) is said and counting.calls == 1
    assert said.cls_trace and not any(maps.requires_grad for maps in (*said.cls, *said.reg))
    features = teacher.extract(batch)
    assert counting.calls == 1
    assert torch.equal(teacher.model.head(features, batch.sizes).cls[0], said.cls[0])
    other, _ = scene(1, size=64)
    assert not torch.equal(teacher.ask(other).cls[0], said.cls[0]) and counting.calls == 2
    teacher.extract(batch)  # nothing of the batch before is kept when another comes
    assert teacher.ask(batch) is not said and counting.calls == 3
    teacher.forget()
    teacher.ask(batch)
    assert counting.calls == 4


class Both(Baseline):
    several_teachers = True


def test_one_several_or_no_teachers(teacher, monkeypatch):
    other = Frozen(detector("retinanet"), name="dense")
    student = detector("retinanet")
    for given, guides in ((None, []), (teacher, [teacher]), ([teacher], [teacher]), ([teacher, other],) * 2):
        method = Both(student, given)
        assert method.guides == guides and method.teacher is (guides[0] if guides else None)
        assert copy.deepcopy(method).guides == guides
        assert not [name for name in method.state_dict() if not name.startswith("student.")]
    monkeypatch.setitem(METHODS, "both", Both)
    assert build_method("both", student, [teacher, other]).guides == [teacher, other]
    with pytest.raises(UserError, match=r"method head learns from one teacher, found 2 \(teacher, dense\)"):
        monkeypatch.setattr(METHODS["head"], "several_teachers", False)
        build_method("head", student, [teacher, other])


def test_all_lanes_share_the_pass(teacher):
    lanes = [build_method("head", detector(student), teacher) for student in ("retinanet", "fcos")]
    lanes.append(copy.deepcopy(lanes[0]))
    counting = Counting(teacher.model)
    for step in range(2):
        batch, targets = scene(step, size=64)
        for lane in lanes:
            with torch.no_grad():
                run(lane, batch, targets)
        assert counting.calls == step + 1


def test_gradients_may_pass_through_its_model(teacher):
    pyramid = [torch.randn(1, 16, side, side, requires_grad=True) for side in (16, 8, 4, 2, 1)]
    teacher.model.head.roi(pyramid, [torch.tensor([[3.0, 4, 40, 50]])]).cls.sum().backward()
    assert bool((pyramid[0].grad != 0).any())
    assert all(p.grad is None for p in teacher.model.parameters())


def test_moving_it_forgets_what_it_remembers(teacher):
    batch, _ = scene(size=64)
    before = teacher.extract(batch)
    assert teacher.to(torch.float64) is teacher
    after = teacher.extract(batch)
    assert after.pyramid[0].dtype == torch.float64
    torch.testing.assert_close(after.pyramid[0].float(), before.pyramid[0], rtol=1e-3, atol=1e-3)
