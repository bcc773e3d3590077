"""Distances among vectors, by hand."""

import pytest
import torch

from headstart.methods.criteria.relation import relation

TEACHER = torch.tensor([[0.0, 0], [3, 0], [0, 4]])  # distances 3, 4, 5, whose mean is 4
STUDENT = torch.tensor([[0.0], [1], [2]])  # 1, 2, 1, whose mean is 4 / 3


def test_smooth_l1_of_distances_in_units_of_their_mean():
    """In these units 3/4, 1, 5/4 and 3/4, 3/2, 3/4; each pair counts twice of six."""
    gaps = (0.0, 0.5 * 0.5**2, 0.5 * 0.5**2)
    assert relation(STUDENT, TEACHER).item() == pytest.approx(2 * sum(gaps) / 6)
    assert relation(STUDENT, TEACHER, beta=0.25).item() == pytest.approx(2 * 2 * (0.5 - 0.125) / 6)


def test_scale_shift_and_rotation_do_not_count():
    turned = TEACHER @ torch.tensor([[0.6, 0.8], [-0.8, 0.6]]) * 7 + 3
    assert relation(turned, TEACHER).item() == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_have_no_relation(count):
    rows = torch.rand(count, 5, requires_grad=True)
    value = relation(rows, torch.rand(count, 4))
    value.backward()
    assert value == 0 and not rows.grad.any()


def test_equal_vectors_have_a_finite_gradient_and_the_teacher_none():
    own = torch.tensor([[1.0, 2], [1, 2], [0, 0]], requires_grad=True)
    goal = torch.rand(3, 4, requires_grad=True)
    relation(own, goal).backward()
    assert bool(own.grad.isfinite().all()) and bool(own.grad.any()) and goal.grad is None
