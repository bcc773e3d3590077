"""CSPDarknet beyond its parity: what a detector is told of it."""

import torch

from headstart.backbones import build_backbone


def test_pixels_are_read_as_they_are():
    body = build_backbone("csp_darknet_nano", pretrained=False, widen=0.125)
    assert body.mean == (0, 0, 0) and all(abs(255 * one - 1) < 1e-9 for one in body.std)
    assert [m.shape[1] for m in body(torch.rand(2, 3, 64, 64))] == body.channels == [16, 32, 64, 128]
