"""The mean squared error, alone and summed over levels."""

import pytest
import torch

from headstart.methods.criteria import MSE, mse


def test_the_mean_over_all_entries():
    assert mse(torch.tensor([[1.0, 2], [3, 4]]), torch.tensor([[1.0, 0], [0, 4]])).item() == pytest.approx(13 / 4)


def test_equal_is_zero():
    x = torch.randn(3, 4)
    assert mse(x, x.clone()).item() == 0


def test_empty_is_zero_with_a_gradient():
    rows = torch.zeros(0, 4, requires_grad=True)
    found = mse(rows, torch.zeros(0, 4))
    assert found.item() == 0
    found.backward()
    assert rows.grad is not None and rows.grad.shape == (0, 4)


def test_half_precision_is_compared_in_float32():
    """300 squared does not fit into float16."""
    found = mse(torch.full((2, 2), 300.0).half(), torch.zeros(2, 2).half())
    assert found.dtype == torch.float32 and found.item() == 90_000


def test_other_shapes_are_refused():
    """Tensors that broadcast would give a number all the same."""
    with pytest.raises(ValueError, match=r"student's features are \(2, 3\), teacher's \(1, 3\)"):
        mse(torch.zeros(2, 3), torch.zeros(1, 3))


def test_levels_are_summed():
    source = [torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 1, 1)]
    target = [torch.full((1, 1, 2, 2), 2.0), torch.full((1, 1, 1, 1), 3.0)]
    assert MSE()(source, target, None) == {"": 4 + 9} and MSE().terms == {"": 1.0}


def test_a_level_too_many_is_refused():
    with pytest.raises(ValueError, match="argument 2"):
        MSE()([torch.zeros(1, 1)], [torch.zeros(1, 1)] * 2, None)
