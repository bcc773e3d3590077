"""The stacked convolutions of a dense head."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from headstart.csp import RTMDET_NORM
from headstart.heads.tower import LevelTower, Tower


@pytest.mark.parametrize("norm", [False, True])
def test_blocks_and_trace(norm):
    torch.manual_seed(0)
    tower, x = Tower(6, 8, 3, norm=norm), torch.randn(2, 6, 5, 7)
    before = x.clone()
    result, trace = tower(x)
    step = tower.norms[0](tower.convs[0](x))
    assert torch.equal(trace[0], step)  # the input itself is not rectified
    for block in (1, 2):
        step = tower.norms[block](tower.convs[block](functional.relu(step)))
        assert torch.equal(trace[block], step)
    assert torch.equal(result, functional.relu(step)) and len(tower) == len(trace) == 3
    assert torch.equal(x, before) and bool((trace[-1] < 0).any())


@pytest.mark.parametrize("start", [1, 2, 3])
def test_entering_later(start):
    tower, x = Tower(6, 8, 3), torch.randn(1, 6, 5, 7)
    result, trace = tower(x)
    again, rest = tower(trace[start - 1], start)
    assert torch.equal(again, result) and len(rest) == 3 - start


@pytest.mark.parametrize("width", [64, 32, 16, 2])
def test_a_single_cell_of_a_single_image_can_be_trained_on(width):
    tower = Tower(4, width, 2, norm=True).train()
    result, _ = tower(torch.randn(1, 4, 1, 1, requires_grad=True))
    result.sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in tower.parameters())


def test_biases_go_where_no_norm_is_unless_asked_for():
    assert Tower(4, 8, 1).convs[0].bias is not None
    assert Tower(4, 8, 1, norm=True).convs[0].bias is None
    assert Tower(4, 8, 1, norm=True, bias=True).convs[0].bias is not None


@pytest.mark.parametrize("width", [256, 64, 16])
def test_narrow_towers_start_as_loud_as_wide_ones(width):
    """RetinaNet's deviation of 0.01 belongs to 256 channels; the sum over all inputs varies as much with fewer."""
    torch.manual_seed(0)
    for conv in Tower(width, width, 2).convs:
        assert conv.weight.std().item() * (width / 256) ** 0.5 == pytest.approx(0.01, rel=0.05)
        assert not conv.bias.any()


@pytest.mark.parametrize("options", [{"shared": True}, {"shared": False}, {"shared": False, "depthwise": True}])
def test_layers_of_each_level(options):
    torch.manual_seed(0)
    tower = LevelTower(6, 8, 2, 3, RTMDET_NORM, **options).eval()
    for norm in (m for m in tower.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(norm.running_mean)
    x = torch.randn(2, 6, 5, 7)
    results = [tower(x, level=level) for level in range(3)]
    assert not torch.equal(results[0][0], results[1][0]) and len(tower) == len(results[0][1]) == 2
    convs = {p.data_ptr() for p in tower.convs.parameters()}
    assert len(convs) == (2 if options["shared"] else 6 * (4 if "depthwise" in options else 1))
    result, trace = results[2]
    assert torch.equal(result, functional.silu(trace[1])) and bool((trace[0] < 0).any())
    assert torch.equal(tower(trace[0], 1, 2)[0], result)
    assert torch.equal(tower(functional.silu(trace[0]), 1, 2, activated=True)[0], result)


def test_the_least_value_of_an_activation():
    line = torch.linspace(-6, 6, 100001)
    for tower in (Tower(2, 2, 1), LevelTower(2, 2, 1, 1, RTMDET_NORM, shared=True)):
        assert tower.activate(line).min().item() == pytest.approx(tower.minimum, abs=1e-6)
