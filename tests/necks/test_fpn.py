"""The pyramid: strides, odd sizes, gradients everywhere, initial values, mistakes."""

import copy
from typing import get_args

import pytest
import torch

from headstart.errors import UserError
from headstart.necks import FPN
from headstart.necks.fpn import Extra

CHANNELS, STRIDES = [4, 8, 16, 32], [4, 8, 16, 32]


def stages(height=96, width=160):
    return [torch.randn(2, c, height // s, width // s) for c, s in zip(CHANNELS, STRIDES, strict=True)]


@pytest.mark.parametrize("extra", get_args(Extra))
@pytest.mark.parametrize(("start", "levels"), [(0, 4), (0, 5), (1, 3), (1, 4), (1, 5), (2, 6)])
def test_strides_match_the_maps(extra, start, levels):
    neck = FPN(CHANNELS, STRIDES, width=8, start=start, levels=levels, extra=extra)
    pyramid = neck(stages(256, 256))
    assert len(pyramid) == len(neck.strides) == levels
    assert [tuple(p.shape) for p in pyramid] == [(2, 8, max(256 // s, 1), max(256 // s, 1)) for s in neck.strides]


@pytest.mark.parametrize("extra", get_args(Extra))
def test_every_parameter_gets_a_gradient(extra):
    neck = FPN(CHANNELS, STRIDES, width=8, extra=extra)
    sum(p.square().mean() for p in neck(stages())).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in neck.parameters())


def test_a_coarse_map_of_odd_size_is_brought_to_the_finer_one():
    maps = [torch.randn(1, 4, 13, 21), torch.randn(1, 8, 7, 11), torch.randn(1, 16, 4, 6), torch.randn(1, 32, 2, 3)]
    pyramid = FPN(CHANNELS, STRIDES, width=8)(maps)
    assert [tuple(p.shape[2:]) for p in pyramid] == [(7, 11), (4, 6), (2, 3), (1, 2), (1, 1)]


def test_gradients_in_bf16_on_maps_of_one_column():
    """A fault of oneDNN: wrong or infinite where the processor has bf16, unless the map is widened."""
    torch.manual_seed(0)
    neck = FPN(CHANNELS, STRIDES, width=32).to(torch.bfloat16)
    exact = copy.deepcopy(neck).float()
    maps = [m.to(torch.bfloat16) for m in stages(32, 32)]
    for own, given in ((neck, maps), (exact, [m.float() for m in maps])):
        sum(p.float().sum() for p in own(given)).backward()
    for own, other in zip(neck.extra.parameters(), exact.extra.parameters(), strict=True):
        torch.testing.assert_close(own.grad.float(), other.grad, rtol=0.05, atol=0.05 * other.grad.abs().max().item())


def test_batch_norm_after_every_convolution():
    neck = FPN(CHANNELS, STRIDES, width=64, norm="batch")
    layers = [*neck.lateral, *neck.output, *neck.extra]
    assert all(layer[0].bias is None and isinstance(layer[1], torch.nn.BatchNorm2d) for layer in layers)
    assert [p.shape[1] for p in neck.eval()(stages())] == [64] * 5


def test_initial_values():
    neck = FPN(CHANNELS, STRIDES, width=64)
    assert all(not conv.bias.any() for group in (neck.lateral, neck.output, neck.extra) for conv in group)
    weight = neck.output[0].weight
    bound = (6 / (2 * 64 * 9)) ** 0.5
    assert 0.9 * bound < float(weight.detach().abs().max()) <= bound


@pytest.mark.parametrize("extra", get_args(Extra))
def test_group_norm_after_every_convolution(extra):
    """In place of their biases; every map comes out normalised."""
    neck = FPN(CHANNELS, STRIDES, width=8, extra=extra, norm="group")
    convs = [m for m in neck.modules() if isinstance(m, torch.nn.Conv2d)]
    norms = [m for m in neck.modules() if isinstance(m, torch.nn.GroupNorm)]
    assert len(convs) == len(norms) and all(conv.bias is None for conv in convs)
    pyramid = neck(stages(256, 256))
    assert [tuple(p.shape) for p in pyramid] == [(2, 8, 256 // s, 256 // s) for s in neck.strides]
    for maps in pyramid[:3]:
        assert maps.unflatten(1, (4, 2)).mean(dim=(2, 3, 4)).abs().max() < 1e-5
    sum((p * torch.randn_like(p)).sum() for p in pyramid).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in neck.parameters())


@pytest.mark.parametrize("options", [{"extra": "on_top"}, {"levels": 2}, {"start": 4}, {"norm": "layer"}])
def test_mistakes_are_explained(options):
    with pytest.raises(UserError, match="FPN"):
        FPN(CHANNELS, STRIDES, **options)
