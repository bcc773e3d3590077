import pytest
import torch
from torch.nn import functional

from headstart.methods.criteria.scored_classes import scored_entropy


def logits(seed):
    return torch.randn(2, 6, 3, 4, generator=torch.Generator().manual_seed(seed))


def test_value_and_gradient_are_the_papers_but_for_the_teachers_entropy():
    weight = torch.rand(2, 1, 3, 4)
    own, goal = logits(1).requires_grad_(), logits(2)
    theirs = goal.sigmoid()
    published = (functional.binary_cross_entropy(own.sigmoid(), theirs, reduction="none") * weight).sum() / weight.sum()
    (expected,) = torch.autograd.grad(published, own)
    found = scored_entropy(own, goal, weight)
    (grad,) = torch.autograd.grad(found, own)
    torch.testing.assert_close(grad, expected)
    entropy = (functional.binary_cross_entropy(theirs, theirs, reduction="none") * weight).sum() / weight.sum()
    assert found.item() == pytest.approx((published - entropy).item(), rel=1e-4)


def test_it_is_zero_where_they_agree_or_nothing_counts():
    assert scored_entropy(logits(1), logits(1), torch.ones(2, 1, 3, 4)).item() == 0
    assert scored_entropy(logits(1), logits(2), torch.zeros(2, 1, 3, 4)).item() == 0
