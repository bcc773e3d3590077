"""From raw pixels to boxes: normalisation, padding, and the parts in their order."""

import pytest
import torch
from torch import nn

from headstart.backbones import build_backbone
from headstart.detectors.detector import Detector
from headstart.errors import UserError
from headstart.heads.fcos import FCOSHead, FCOSOptions
from headstart.necks import FPN
from headstart.structures import ImageBatch, Targets
from laws.tiny import CLASSES, scene, stir


class Stages(nn.Module):
    """Four stages, two convolutions each at most: a backbone of one's own."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=4, padding=1)
        self.rest = nn.ModuleList(nn.Conv2d(4, 4, 3, stride=2, padding=1) for _ in range(3))

    def forward(self, x):
        stages = [self.stem(x).relu()]
        for conv in self.rest:
            stages.append(conv(stages[-1]).relu())
        return stages


@pytest.fixture
def built():
    torch.manual_seed(0)
    body = build_backbone(Stages())
    neck = FPN(body.channels, body.strides, width=8)
    head = FCOSHead(len(CLASSES), 8, neck.strides, FCOSOptions(width=8, depth=1))
    return stir(Detector(body, neck, head, CLASSES, mean=(10.0, 20.0, 30.0), std=(1.0, 2.0, 4.0)))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_normalisation(built, dtype):
    pixels = torch.full((2, 3, 32, 64), 50).to(dtype)
    batch = ImageBatch(pixels, [(32, 40), (20, 64)], [0, 1], [(32, 40), (20, 64)])
    found = built.normalise(batch)
    assert found[0, :, 0, 0].tolist() == [40, 15, 5]
    assert not found[0, :, :, 40:].any() and not found[1, :, 20:].any()
    assert found[0, :, :, :40].all() and found[1, :, :20].all()
    assert (pixels == 50).all() and found.dtype == torch.float32


def test_channels_in_caffes_order(built):
    """Mean and deviation are in the order of the weights; batches are RGB always, and stay so."""
    turned = Detector(built.backbone, built.neck, built.head, CLASSES, mean=(1, 2, 3), std=(1, 1, 1), order="BGR")
    pixels = torch.tensor([10, 20, 30])[None, :, None, None].expand(1, 3, 32, 32).to(torch.uint8)
    found = turned.normalise(ImageBatch(pixels, [(32, 32)], [0], [(32, 32)]))
    assert found[0, :, 0, 0].tolist() == [29, 18, 7] and pixels[0, :, 0, 0].tolist() == [10, 20, 30]
    with pytest.raises(UserError, match="RGB or BGR, not 'GBR'"):
        Detector(built.backbone, built.neck, built.head, CLASSES, order="GBR")


def test_each_detector_has_its_own_normalisation(built):
    other = Detector(built.backbone, built.neck, built.head, CLASSES)
    batch, _ = scene(size=64)
    assert not torch.equal(built.normalise(batch), other.normalise(batch))
    assert [round(v, 3) for v in other.mean.flatten().tolist()] == [123.675, 116.28, 103.53]
    assert not {"mean", "std"} & set(built.state_dict())


def test_features_name_their_strides(built):
    batch, _ = scene(size=64)
    features = built.extract(batch)
    assert features.stage_strides == [4, 8, 16, 32] and features.strides == [8, 16, 32, 64, 128]
    for maps, stride in (*zip(features.stages, features.stage_strides), *zip(features.pyramid, features.strides)):
        assert maps.shape[-1] == -(-64 // stride) and len(maps) == 2


def test_training_and_detecting(built):
    batch, targets = scene()
    outputs = built(batch, targets, trace=True)
    assert len(outputs.cls_trace) == 1 and built(batch).cls_trace == []
    losses = built.loss(outputs, targets)
    assert set(losses) == {"cls", "box", "quality"} and all(v.requires_grad for v in losses.values())
    found = built.eval().detect(batch)
    assert len(found) == 2 and all(len(image) for image in found)
    assert not any(image.scores.requires_grad for image in found)


def test_forward_is_the_same_in_training_and_evaluation(built):
    """No return type and no value depends on the mode (there is no batch norm here)."""
    batch, targets = scene()
    ours = built.train().loss(built(batch, targets), targets)
    theirs = built.eval().loss(built(batch, targets), targets)
    assert {k: v.item() for k, v in ours.items()} == {k: v.item() for k, v in theirs.items()}


def test_a_recipe_is_optional(built):
    assert built.recipe == {} and built.classes == CLASSES


def test_moving_it_moves_its_normalisation(built):
    batch, _ = scene(size=64)
    assert built.double().normalise(batch).dtype == torch.float64


def test_targets_are_per_image(built):
    batch, targets = scene()
    losses = built.loss(built(batch), [targets[0], Targets.empty()])
    assert not torch.equal(losses["cls"], built.loss(built(batch), targets)["cls"])


def test_the_last_part_of_a_training_is_for_heads_that_have_a_loss_of_it(built):
    built.last_part(True)
    assert not hasattr(built.head, "extra_l1")
    built.head.extra_l1 = False
    for on in (True, False):
        built.last_part(on)
        assert built.head.extra_l1 is on


def test_a_padding_of_its_own(built):
    """A raw value for all channels, normalised as the pixels are, in the order of the weights."""
    parts = (built.backbone, built.neck, built.head, CLASSES)
    turned = Detector(*parts, mean=(1, 2, 3), std=(1, 2, 4), order="BGR", pad=115)
    pixels = torch.full((2, 3, 32, 64), 50, dtype=torch.uint8)
    found = turned.normalise(ImageBatch(pixels, [(32, 40), (20, 64)], [0, 1], [(32, 40), (20, 64)]))
    for padding in (found[0, :, :, 40:], found[1, :, 20:]):
        assert all(set(one.flatten().tolist()) == {goal} for one, goal in zip(padding, (114, 56.5, 28), strict=True))
    assert found[0, :, 0, 39].tolist() == [49, 24, 11.75]
    with pytest.raises(UserError, match="between 0 and 255, not 256"):
        Detector(*parts, pad=256)
