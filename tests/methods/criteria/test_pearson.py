import pytest
import torch

from headstart.methods.criteria.pearson import pearson


def test_pearson_of_the_official_loss():
    first = torch.arange(24.0).reshape(2, 2, 2, 3)
    assert pearson(first, first.square() / 10).item() == pytest.approx(0.0114009, rel=1e-4)


def test_it_is_one_minus_the_mean_correlation():
    torch.manual_seed(0)
    first, second = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    rows = [torch.corrcoef(torch.stack([first[:, c].flatten(), second[:, c].flatten()]))[0, 1] for c in range(3)]
    goal = (1 - torch.stack(rows)).mean() * (40 - 1) / 40
    assert pearson(first, second).item() == pytest.approx(goal.item(), rel=1e-4)


def test_scale_and_offset_do_not_count():
    torch.manual_seed(0)
    maps = torch.randn(2, 3, 4, 5)
    assert pearson(maps, maps * 3 + 1).item() == pytest.approx(0, abs=1e-6)
    assert pearson(maps, -maps).item() == pytest.approx(2 * 39 / 40, rel=1e-4)


def test_a_single_cell_gives_zero_and_other_shapes_are_refused():
    assert pearson(torch.randn(1, 3, 1, 1), torch.randn(1, 3, 1, 1)).item() == 0
    with pytest.raises(ValueError, match="student's features are"):
        pearson(torch.randn(1, 3, 2, 2), torch.randn(1, 4, 2, 2))
