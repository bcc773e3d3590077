"""How many groups a width is divided into."""

import pytest
import torch

from headstart.norm import group_norm


@pytest.mark.parametrize(
    ("width", "groups"), [(256, 32), (128, 32), (96, 32), (64, 32), (48, 16), (32, 16), (16, 8), (8, 4), (6, 2), (1, 1)]
)
def test_groups_hold_at_least_two_channels(width, groups):
    layer = group_norm(width)
    assert layer.num_groups == groups
    assert layer(torch.randn(2, width, 3, 3)).shape == (2, width, 3, 3)
