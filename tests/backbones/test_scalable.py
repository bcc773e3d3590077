"""Backbones of any width and depth."""

import pytest
import torch

from headstart.backbones import build_backbone
from headstart.backbones.pretrained import load_file
from headstart.errors import UserError


def test_any_width_and_depth():
    for name in ("cspnext_l", "csp_darknet_tiny"):
        small = build_backbone(name, pretrained=False, widen=0.125, deepen=0.2)
        deep = build_backbone(name, pretrained=False, widen=0.125, deepen=1.0)
        assert small.channels == deep.channels == [16, 32, 64, 128] and small.strides == [4, 8, 16, 32]
        assert len(small.state_dict()) < len(deep.state_dict())


def test_what_cannot_be_had_is_said():
    with pytest.raises(UserError, match=r"no ImageNet weights of csp_darknet_s, YOLOX trains from scratch.*--weights"):
        build_backbone("csp_darknet_s")
    with pytest.raises(UserError, match=r"no ImageNet weights of cspnext_s at another widen"):
        build_backbone("cspnext_s", widen=0.25)
    with pytest.raises(UserError, match=r"widen and deepen are for cspnext_tiny, .*; backbone r18 has one size"):
        build_backbone("r18", pretrained=False, deepen=0.5)
    with pytest.raises(UserError, match="did you mean csp_darknet_s"):
        build_backbone("csp_darknet_S1", pretrained=False)


def test_weights_of_the_whole_timm_model_are_read(tmp_path):
    """timm's CSPNeXt holds the classifier's model inside its feature network."""
    body = build_backbone("cspnext_tiny", pretrained=False, widen=0.125).body
    state = {key.removeprefix("model."): torch.rand_like(value.float()) for key, value in body.state_dict().items()}
    torch.save(state | {"head.fc.weight": torch.rand(2, 2)}, tmp_path / "w.pth")
    load_file(body, "cspnext_tiny", "cspnext_tiny", tmp_path / "w.pth")
    assert torch.equal(body.state_dict()["model.stem.0.conv.weight"], state["stem.0.conv.weight"])
