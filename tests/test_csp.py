"""The layers of the CSP networks."""

import pytest
import torch

from headstart.csp import SPP, YOLOX_NORM, CSPLayer, DarknetBlock, DepthwiseConv, Focus, scale_depth, scale_width
from headstart.errors import UserError


def test_focus_takes_the_left_columns_first():
    """The order of the four images is that of the official weights: top left, bottom left, top right, bottom right."""
    focus = Focus(12, YOLOX_NORM).eval()
    torch.nn.init.dirac_(focus.conv.conv.weight)
    pixels = torch.rand(1, 3, 4, 6)
    corners = [pixels[..., y::2, x::2] for y, x in ((0, 0), (1, 0), (0, 1), (1, 1))]
    expected = torch.nn.functional.silu(torch.cat(corners, 1) / (1 + 1e-3) ** 0.5)
    torch.testing.assert_close(focus(pixels), expected)


def test_layers_keep_the_size_and_stride_halves_it():
    x = torch.rand(2, 8, 6, 10)
    layer = CSPLayer(8, 12, 2, DarknetBlock, YOLOX_NORM, add=True)
    assert layer(x).shape == (2, 12, 6, 10) and len(layer.blocks) == 2
    assert SPP(8, 16, YOLOX_NORM)(x).shape == (2, 16, 6, 10)
    assert DepthwiseConv(8, 4, 3, YOLOX_NORM, stride=2)(x).shape == (2, 4, 3, 5)


def test_a_block_adds_its_input_only_if_told():
    x = torch.rand(2, 4, 3, 3)
    blocks = [DarknetBlock(4, add, YOLOX_NORM).eval() for add in (False, True)]
    blocks[1].load_state_dict(blocks[0].state_dict())
    torch.testing.assert_close(blocks[1](x) - x, blocks[0](x))


def test_scaling_cuts_channels_and_rounds_blocks_to_even():
    assert [scale_width(64, w) for w in (0.375, 0.09375, 1.25)] == [24, 6, 80]
    assert [scale_depth(n, 0.167) for n in (3, 9)] == [1, 2] and scale_depth(5, 0.5) == 2
    with pytest.raises(UserError, match=r"widen 0.01 leaves 0 of 64 channels"):
        scale_width(64, 0.01)
