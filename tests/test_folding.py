"""Folded batch norm: the same maps with fewer modules, and an honest refusal where that is impossible."""

import copy

import pytest
import torch
from torch import nn

from headstart.backbones import build_backbone
from headstart.folding import fold_batchnorm


def scatter_statistics(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.copy_(0.1 * torch.randn(len(norm.running_mean), generator=generator))
            norm.running_var.copy_(0.5 + torch.rand(len(norm.running_var), generator=generator))
            norm.weight.data.copy_(0.5 + torch.rand(len(norm.weight), generator=generator))
    return module


def count_norms(module: nn.Module) -> int:
    return sum(isinstance(m, nn.BatchNorm2d) for m in module.modules())


@pytest.mark.parametrize("name", ["r18", "r10", "r50", "mnv2", "mnv3s", "effb0"])
def test_the_maps_stay_and_the_norms_go(name):
    backbone = scatter_statistics(build_backbone(name, pretrained=False, frozen_stages=1)).train()
    before = copy.deepcopy(backbone.state_dict())
    folded, note = fold_batchnorm(backbone)
    assert count_norms(folded) == 0 and note.startswith(f"{count_norms(backbone)} batch norms folded")
    assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items()) and backbone.training
    pixels = torch.randn(1, 3, 96, 128)
    with torch.no_grad():
        for a, b in zip(folded.train().eval()(pixels), backbone.eval()(pixels), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * float(b.abs().max()))


class Backwards(nn.Module):
    """The norm is registered after the convolution but used before it."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x):
        return self.conv(self.norm(x).relu())


def test_a_wrong_guess_is_noticed():
    module = scatter_statistics(Backwards())
    kept, note = fold_batchnorm(module)
    assert count_norms(kept) == 1 and note.startswith("not folded: the maps would change")
    assert kept is not module and not kept.training


def test_nothing_to_fold():
    kept, note = fold_batchnorm(build_backbone("convnext_a", pretrained=False))
    assert note == "not folded: no batch norm directly follows a convolution" and kept.channels[0] == 40
