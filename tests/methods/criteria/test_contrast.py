"""InfoNCE by hand."""

import math

import pytest
import torch

from headstart.methods.criteria.contrast import info_nce

OWN = torch.tensor([[2.0, 0], [0, 3]])
GOAL = torch.tensor([[5.0, 0], [3, 4]])  # cosines: 1, 0.6; 0, 0.8
NOBODY = torch.zeros(2, 2, dtype=torch.bool)


def test_minus_log_of_the_share_of_ones_own():
    first = -math.log(math.exp(2) / (math.exp(2) + math.exp(1.2)))
    second = -math.log(math.exp(1.6) / (math.exp(1.6) + math.exp(0)))
    assert info_nce(OWN, GOAL, NOBODY, temperature=0.5).item() == pytest.approx((first + second) / 2, rel=1e-6)


def test_those_left_out_are_no_negatives_but_ones_own_stays():
    everybody = torch.ones(2, 2, dtype=torch.bool)
    assert info_nce(OWN, GOAL, everybody, temperature=0.07) == 0
    one = torch.tensor([[False, True], [False, False]])
    second = -math.log(math.exp(1.6) / (math.exp(1.6) + 1))
    assert info_nce(OWN, GOAL, one, temperature=0.5).item() == pytest.approx(second / 2, rel=1e-6)


@pytest.mark.parametrize("count", [0, 1])
def test_one_alone_has_nobody_to_be_told_from(count):
    own = torch.rand(count, 3, requires_grad=True)
    value = info_nce(own, torch.rand(count, 3), torch.zeros(count, count, dtype=torch.bool), temperature=0.07)
    value.backward()
    assert value == 0 and own.grad is not None
