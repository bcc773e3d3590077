import pytest
import torch

from headstart.methods.criteria.weighted_mse import WeightedMSE, weighted_mse


def maps(seed=0, shape=(2, 3, 4, 5)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_with_one_weight_it_is_the_mean_squared_error():
    goal = (maps(1) - maps(2)).square().mean()
    assert weighted_mse(maps(1), maps(2), torch.full((2, 1, 4, 5), 0.3)).item() == pytest.approx(goal.item())


def test_it_is_the_weighted_mean_over_cells_of_the_batch():
    weight = torch.rand(2, 1, 4, 5, generator=torch.Generator().manual_seed(3))
    goal = ((maps(1) - maps(2)).square().sum(1) * weight[:, 0]).sum() / (3 * weight.sum())
    assert weighted_mse(maps(1), maps(2), weight).item() == pytest.approx(goal.item())
    assert torch.equal(
        weighted_mse(maps(1), maps(2), weight > 0.5), weighted_mse(maps(1), maps(2), (weight > 0.5) + 0.0)
    )


def test_gradients_reach_the_student_alone_and_where_nothing_counts_they_are_zero():
    own, goal = maps(1).requires_grad_(), maps(2).requires_grad_()
    weighted_mse(own, goal, torch.ones(2, 1, 4, 5)).backward()
    assert own.grad.any() and goal.grad is None
    own.grad = None
    none = weighted_mse(own, goal, torch.zeros(2, 1, 4, 5))
    none.backward()
    assert none.item() == 0 and not own.grad.any()


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="student's features are"):
        weighted_mse(maps(), maps(shape=(2, 3, 4, 4)), torch.ones(2, 1, 4, 5))


def test_levels_are_summed_for_every_way_to_count():
    weights = {"fine": [torch.ones(2, 1, 4, 5), torch.ones(2, 1, 4, 5)], "none": [torch.zeros(2, 1, 4, 5)] * 2}
    found = WeightedMSE({"fine": 1.0, "none": 2.0}, lambda *_: weights)([maps(1)] * 2, [maps(2)] * 2, None)
    assert found["fine"].item() == pytest.approx(2 * (maps(1) - maps(2)).square().mean().item())
    assert found["none"].item() == 0
