"""Deformable convolution as a sparse product against torchvision's kernel."""

import pytest
import torch
from torch.nn import functional
from torchvision.ops import deform_conv2d

from headstart.heads.deformable import DeformableConv, base_taps

SHAPES = [(2, 5, 7), (1, 1, 1), (3, 2, 1), (2, 8, 3)]


def draw(shape, reach, seed=0):
    generator = torch.Generator().manual_seed(seed)
    batch, height, width = shape
    x = torch.randn(batch, 4, height, width, generator=generator)
    offsets = torch.randn(batch, 18, height, width, generator=generator) * reach
    return x.requires_grad_(), offsets.requires_grad_()


def make(channels=4, width=6):
    torch.manual_seed(0)
    return DeformableConv(channels, width)


@pytest.mark.parametrize("reach", [0.4, 3.0, 100.0])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_as_torchvision(shape, reach):
    layer = make()
    found, goal = {}, {}
    for kind, into in (("ours", found), ("theirs", goal)):
        x, offsets = draw(shape, reach)
        weight = layer.weight.detach().clone().requires_grad_()
        if kind == "ours":
            layer.weight = torch.nn.Parameter(weight)
            result, weight = layer(x, offsets), layer.weight
        else:
            result = deform_conv2d(x, offsets, weight, padding=(1, 1))
        factor = torch.randn(result.shape, generator=torch.Generator().manual_seed(1))
        (result * factor).sum().backward()
        into |= {"result": result.detach(), "x": x.grad, "offsets": offsets.grad, "weight": weight.grad}
    for name in goal:
        torch.testing.assert_close(found[name], goal[name], rtol=1e-4, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


def test_without_offsets_it_is_a_convolution():
    layer, (x, offsets) = make(), draw((2, 5, 7), 0.0)
    torch.testing.assert_close(layer(x, offsets), functional.conv2d(x, layer.weight, padding=1))


def test_what_lies_outside_is_zero():
    """Whole cells away the map ends; half a cell away half of its last cell is left."""
    layer, x = make(1, 1), torch.ones(1, 1, 4, 4)
    torch.nn.init.ones_(layer.weight)
    centred = -base_taps()[None, :, None, None].expand(1, 18, 4, 4)
    assert layer(x, centred).eq(9).all()
    assert not layer(x, centred - 10).any()
    up = centred - torch.tensor([0.5, 0.0]).repeat(9)[None, :, None, None]
    assert layer(x, up)[0, 0, :, 0].tolist() == [4.5, 9, 9, 9]


def test_gradients_by_differences():
    layer = make(2, 2).double()
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(1, 2, 3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    offsets = torch.rand(1, 18, 3, 4, generator=generator, dtype=torch.float64) * 0.8 + 0.1  # away from whole cells
    assert torch.autograd.gradcheck(layer, (x, offsets.requires_grad_()), fast_mode=True)


def test_half_precision_keeps_its_type_and_the_coordinates_exact():
    layer, (x, offsets) = make(), draw((2, 5, 7), 1.0)
    plain = layer(x, offsets)
    halved = layer.bfloat16()(x.bfloat16(), offsets)
    assert halved.dtype == torch.bfloat16
    torch.testing.assert_close(halved.float(), plain, rtol=0.05, atol=0.1)


def test_elsewhere_the_kernel_serves():
    """On a device without numbers, at least in the right shape and type."""
    layer, (x, offsets) = make().bfloat16().to("meta"), draw((2, 5, 7), 1.0)
    result = layer(x.to("meta", torch.bfloat16), offsets.to("meta"))
    assert result.shape == (2, 6, 5, 7) and result.dtype == torch.bfloat16 and result.device.type == "meta"


def test_memory_format_does_not_matter():
    layer, (x, offsets) = make(), draw((2, 5, 7), 1.0)
    plain = layer(x, offsets)
    layer.to(memory_format=torch.channels_last)
    torch.testing.assert_close(layer(x.contiguous(memory_format=torch.channels_last), offsets), plain)


def test_taps_are_rows_then_columns():
    assert base_taps().tolist() == [-1, -1, -1, 0, -1, 1, 0, -1, 0, 0, 0, 1, 1, -1, 1, 0, 1, 1]
