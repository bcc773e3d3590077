"""What RTMDet and YOLOX read of an image: resized, padded with 114, in BGR, against the official pipelines."""

import pytest
import torch
from torch import nn

from headstart.backbones import build_backbone
from headstart.data.dataset import Sample
from headstart.data.transforms import Transform
from headstart.detectors.detector import Detector
from headstart.detectors.weights.mmdetection.config import DETECTRON2
from headstart.heads.fcos import FCOSHead, FCOSOptions
from headstart.necks import FPN
from headstart.structures import ImageBatch
from parity.official import close, tensor

RAW = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "BGR")
PIPELINES = {"rtmdet": DETECTRON2, "yolox_mmdet": RAW}


class Halves(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3 if not i else 2, 2, 3, stride=2, padding=1) for i in range(5))

    def forward(self, x):
        maps = []
        for conv in self.convs:
            x = conv(x)
            maps.append(x)
        return maps[1:]


@pytest.mark.parametrize("image", ["wide", "tall", "even"])
@pytest.mark.parametrize("name", PIPELINES)
def test_pixels_and_boxes(name, image, reference):
    arrays = reference("students_preprocess")
    side = int(arrays[f"{image}/side"])
    rgb = tensor(arrays[f"{image}/rgb"]).permute(2, 0, 1)
    boxes = tensor(arrays[f"{image}/boxes"])
    sample = Sample(rgb, boxes, torch.zeros(2, dtype=torch.int64), torch.zeros(2, dtype=torch.bool), 0, rgb.shape[1:])
    resized = Transform(short=side, long=side, flip=0.0, resize="opencv")(sample)
    height, width = resized.image.shape[1:]
    pixels = torch.zeros(1, 3, side, side, dtype=torch.uint8)
    pixels[0, :, :height, :width] = resized.image
    body = build_backbone(Halves(), pretrained=False)
    neck = FPN(body.channels, body.strides, width=4)
    mean, std, order = PIPELINES[name]
    head = FCOSHead(1, 4, neck.strides, FCOSOptions(width=4, depth=1))
    detector = Detector(body, neck, head, ["a"], mean=mean, std=std, order=order, pad=114)
    found = detector.normalise(ImageBatch(pixels, [(height, width)], [0], [(height, width)]))[0]
    goal = tensor(arrays[f"{image}/{name}/input"])
    assert found.shape == goal.shape
    # OpenCV computes with whole numbers, and may round a value to the one beside it.
    step = 1.01 / min(std)
    assert (found - goal).abs().max() <= step and ((found - goal).abs() > 1e-4).float().mean() < 0.25
    padded = torch.ones(side, side, dtype=torch.bool)
    padded[:height, :width] = False
    close(found[:, padded], goal[:, padded], 1e-6)
    close(resized.boxes, arrays[f"{image}/{name}/boxes_in"], 1e-5)
