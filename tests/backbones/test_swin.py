"""Swin as detectors use it: the same maps as torchvision's Swin, which pads before it shifts too."""

import re

import pytest
import torch
import torchvision

from headstart.backbones import build_backbone
from headstart.backbones.swin import join_windows, split_windows, window_mask
from headstart.errors import UserError


def torchvisions_name(key):
    stage = re.match(r"layers_(\d)\.(downsample|blocks)\.(.*)", key)
    if stage is None:
        return key.replace("patch_embed.proj", "features.0.0").replace("patch_embed.norm", "features.0.2")
    place = 2 * int(stage[1]) + (stage[2] == "blocks")
    return f"features.{place}.{stage[3]}".replace("mlp.fc1", "mlp.0").replace("mlp.fc2", "mlp.3")


def test_maps_are_torchvisions():
    """At a size that must be padded to whole windows in every stage, and shifted in the last one too."""
    torch.manual_seed(0)
    backbone = build_backbone("swin_t", pretrained=False, normed_stages=[1, 3]).eval()
    official = torchvision.models.swin_t(weights=None).eval()
    own, theirs = backbone.body.features.state_dict(), official.state_dict()
    for key, value in own.items():
        if "norm" not in key:
            value.normal_(std=0.05)
        theirs[torchvisions_name(key)].copy_(value)
    x = torch.randn(1, 3, 32 * 9, 32 * 8)
    with torch.no_grad():
        found, goal = backbone(x), x
        for index, layer in enumerate(official.features):
            goal = layer(goal)
            if index in (3, 7):
                normed = torch.nn.functional.layer_norm(goal, goal.shape[-1:]).permute(0, 3, 1, 2)
                torch.testing.assert_close(found[index // 4], normed, rtol=1e-4, atol=1e-4)
    assert backbone.channels == [192, 768] and backbone.strides == [8, 32]


def test_windows_there_and_back():
    x = torch.arange(2 * 4 * 6 * 3.0).reshape(2, 4, 6, 3)
    windows = split_windows(x, 2)
    assert windows.shape == (12, 4, 3) and torch.equal(windows[1, :, 0], x[0, :2, 2:4, 0].flatten())
    assert torch.equal(join_windows(windows, x.shape, 2), x)


def test_only_neighbours_see_each_other():
    """A map of 4 x 4 in windows of 2, shifted by 1: the last window is made of four corners."""
    mask = window_mask(4, 4, 2, 1)
    assert mask.shape == (4, 4, 4) and not mask[0].any()
    assert torch.equal(mask[3] == 0, torch.eye(4, dtype=torch.bool))
    assert (mask[1] == 0).float().sum() == 8


def test_it_trains_and_is_for_swin_only():
    backbone = build_backbone("swin_t", pretrained=False, normed_stages=[1, 2, 3])
    sum(m.square().mean() for m in backbone(torch.rand(1, 3, 64, 64))).backward()
    assert all(p.grad is not None for p in backbone.parameters())
    with pytest.raises(UserError, match="normed_stages is for Swin, not for r18"):
        build_backbone("r18", pretrained=False, normed_stages=[1])
