"""CSPNeXt, CSPDarknet and their PAFPNs against mmdetection's numbers: stages, pyramids, statistics, gradients."""

import pytest
import torch
from torch import nn

from headstart.backbones import build_backbone
from headstart.detectors.weights.key_mapping import rename_tensors
from headstart.detectors.weights.mmdetection import names
from headstart.necks import PAFPN
from parity.official import close, tensor

CASES = {
    "body_cspnext": ("cspnext_s", names.CSPNEXT, {"kind": "cspnext"}),
    "body_csp_darknet": ("csp_darknet_s", names.CSP_DARKNET, {"kind": "darknet"}),
    "body_csp_darknet_nano": ("csp_darknet_nano", names.CSP_DARKNET, {"kind": "darknet", "depthwise": True}),
}


class Features(nn.Module):
    def __init__(self, body, rules, options):
        super().__init__()
        self.backbone = build_backbone(body, pretrained=False, widen=0.09375, deepen=0.33)
        self.neck = PAFPN(self.backbone.channels, self.backbone.strides, width=24, **options)
        self.rules = [*rules, *names.PAFPN]

    def load(self, arrays):
        weights = {key.removeprefix("w/"): tensor(value) for key, value in arrays.items() if key.startswith("w/")}
        missing, unknown = self.load_state_dict(rename_tensors(weights, self.rules).tensors, strict=False)
        assert not unknown and all(key.endswith("num_batches_tracked") for key in missing)

    def forward(self, pixels):
        stages = self.backbone(pixels)
        return stages, self.neck(stages)


@pytest.fixture(params=CASES)
def case(request, reference):
    arrays = reference(request.param)
    built = Features(*CASES[request.param])
    built.load(arrays)
    return arrays, built


def test_stages_and_pyramid(case):
    arrays, built = case
    assert (built.backbone.channels, built.backbone.strides) == ([12, 24, 48, 96], [4, 8, 16, 32])
    assert (built.neck.width, built.neck.strides) == (24, [8, 16, 32])
    with torch.no_grad():
        stages, pyramid = built.eval()(tensor(arrays["in/img"]))
    for number, maps in enumerate(stages):
        close(maps, arrays[f"eval/stage{number}"], 1e-5)
    for level, maps in enumerate(pyramid):
        close(maps, arrays[f"eval/level{level}"], 1e-5)


def test_training_mode(case):
    """Batch statistics, what is left of them, and the gradient of the sum of mean squares.

    In double precision: 40 cells make the last statistics, and single precision loses 1e-4 on the way there.
    """
    arrays, built = case
    built.double()
    pixels = tensor(arrays["in/img"]).double().requires_grad_()
    _, pyramid = built.train()(pixels)
    for level, maps in enumerate(pyramid):
        close(maps, arrays[f"train/level{level}"], 1e-4)
    after = {k.removeprefix("bn_after/"): tensor(v) for k, v in arrays.items() if k.startswith("bn_after/")}
    state = built.state_dict()
    for name, value in rename_tensors(after, built.rules).tensors.items():
        close(state[name].double(), value.double(), 1e-5)
    loss = torch.stack([maps.square().mean() for maps in pyramid]).sum()
    close(loss, tensor(arrays["train/loss"]), 1e-5)
    loss.backward()
    close(pixels.grad[:, :, ::4, ::4], arrays["grad/img_every4"], 1e-3)
    own = dict(built.named_parameters())
    official = [str(name) for name in arrays["grad/params/names"]]
    ours = {name: rename_tensors({name: torch.zeros(())}, built.rules).tensors for name in official}
    for name, row in zip(official, arrays["grad/params/l2_sum_abssum"], strict=True):
        (key,) = ours[name]
        flat = own[key].grad.double().flatten()
        found = torch.stack([flat.norm(), flat.sum(), flat.abs().sum()])
        assert (found - torch.tensor(row)).abs().max() <= 1e-3 * max(row[2], 1e-6), name
