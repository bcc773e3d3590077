"""What the user says by --as: followed, or refused."""

import pytest
import torch

from headstart.detectors.weights.check_read_as import check_read_as
from headstart.detectors.weights.key_mapping import ParsedCheckpoint
from headstart.errors import UserError


def parsed(name, backbone, order="RGB", **recipe):
    recipe = {"name": name, "backbone": backbone, **recipe}
    return ParsedCheckpoint("a detector", recipe, {"x": torch.zeros(1)}, {}, (0.0,) * 3, (1.0,) * 3, order, {})


CAFFE = {"body_options": {"first_stride": True}}
TORCHVISION = {"convention": "torchvision"}
PARSED = {
    "retina": parsed("retinanet", "resnet50"),
    "caffe": parsed("retinanet", "resnet50", "BGR", **CAFFE),
    "gfl18": parsed("gfl", "resnet18"),
    "cascade": parsed("cascadercnn", "resnext101_32x8d", "BGR"),
    "mask": parsed("fasterrcnn", "resnet50", neck_norm="batch", **TORCHVISION),
    "first": parsed("retinanet", "resnet50", norm=False, **TORCHVISION),
    "mobile": parsed("fasterrcnn", "mnv3l_pair", **TORCHVISION),
    "relu6": parsed("retinanet", "mobilenetv2_100"),
    "fcos": parsed("fcos", "resnet101", "BGR", improved=True, **CAFFE),
    "swin": parsed("retinanet", "swin_tiny_patch4_window7_224"),
    "wide": parsed("fasterrcnn", "wide_resnet50_2"),
}


@pytest.mark.parametrize(
    ("what", "read_as"),
    [
        ("retina", "pytorch"),
        ("retina", "retinanet_r50_fpn_1x_coco"),
        ("caffe", "caffe"),
        ("caffe", "retinanet_r50_caffe_fpn_1x_coco"),
        ("gfl18", "crosskd_r18_gflv1_r101-2x-ms_fpn_1x_coco"),
        ("cascade", "cascade_mask_rcnn_x101_32x8d_fpn_mstrain_3x_coco"),
        ("cascade", "detectron2"),
        ("mask", "maskrcnn_resnet50_fpn_v2_coco"),
        ("first", "retinanet_resnet50_fpn_coco"),
        ("mobile", "fasterrcnn_mobilenet_v3_large_320_fpn"),
        ("relu6", "retinanet_mobilenetv2_fpn_relu6_coco"),
        ("fcos", "fcos_center-normbbox-centeronreg-giou_caffe"),
        ("swin", "retinanet_swin-t-p4-w7_fpn_1x_coco"),
        ("wide", "wide_resnet50"),
        ("wide", None),
    ],
)
def test_what_agrees(what, read_as):
    check_read_as(read_as, PARSED[what])


@pytest.mark.parametrize(
    ("what", "read_as", "wrong"),
    [
        ("retina", "fcos_r50_fpn", "fcos"),
        ("retina", "retinanet_r101_fpn", "resnet101"),
        ("retina", "caffe", "caffe"),
        ("caffe", "pytorch", "pytorch"),
        ("retina", "leaky", "leaky"),
        ("mask", "cascade_mask_rcnn_r50", "cascadercnn"),
        ("mask", "maskrcnn_resnet50_fpn", "version 1"),
        ("first", "retinanet_resnet50_fpn_v2", "version 2"),
        ("fcos", "relu6", "relu6"),
    ],
)
def test_what_does_not_agree(what, read_as, wrong):
    with pytest.raises(UserError, match=rf"is a detector and does not agree with --as {read_as} \({wrong}\)"):
        check_read_as(read_as, PARSED[what])


def test_words_without_a_meaning():
    with pytest.raises(UserError, match="--as best says nothing of it"):
        check_read_as("best", PARSED["retina"])
