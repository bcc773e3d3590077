"""The teacher as methods see it."""

import copy

import pytest
import torch

from headstart.methods import Frozen, build_method
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
