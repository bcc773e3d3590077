"""Backbones by the shapes of their tensors."""

import pytest
import timm
import torch

from headstart.detectors.weights.architecture import (
    RESNETS,
    count_layers,
    name_resnet,
    order_crops,
    shape_of,
    take_rows,
)
from headstart.detectors.weights.hints import Hints
from headstart.detectors.weights.mmdetection.backbones import SWINS, read_backbone
from headstart.errors import UserError


@pytest.mark.parametrize("name", RESNETS.values())
def test_resnets_of_every_depth(name):
    """timm's, which have the official names but for the prefix."""
    with torch.device("meta"):
        state = timm.create_model(name).state_dict()
    assert name_resnet({f"body.{key}": value for key, value in state.items()}, "body.") == name


@pytest.mark.parametrize(("channels", "blocks"), SWINS)
def test_swins_of_every_size(channels, blocks):
    """Every block of timm's is one of mmdetection's."""
    name = SWINS[channels, blocks]
    with torch.device("meta"):
        built = timm.create_model(name)
    assert tuple(len(stage.blocks) for stage in built.layers) == blocks and built.embed_dim == channels
    state = {f"backbone.stages.{s}.blocks.{b}.norm1.weight": torch.ones(1) for s in range(4) for b in range(blocks[s])}
    state["backbone.patch_embed.projection.weight"] = torch.zeros(channels, 3, 4, 4)
    state["backbone.stages.0.blocks.0.attn.w_msa.relative_position_bias_table"] = torch.zeros(169, 3)
    assert read_backbone(state, {}, Hints("x"), plain_fcos=False, assisted=False).name == name
    state["backbone.stages.0.blocks.0.attn.w_msa.relative_position_bias_table"] = torch.zeros(529, 3)
    with pytest.raises(UserError, match="windows of 7"):
        read_backbone(state, {}, Hints("x"), plain_fcos=False, assisted=False)


@pytest.mark.parametrize(
    ("hints", "order", "deviation"),
    [("faster_rcnn_x101_32x8d_fpn_mstrain_3x_coco", "BGR", 57.375), ("detectron2", "BGR", 57.375)],
)
def test_the_resnext_of_detectron2(hints, order, deviation):
    with torch.device("meta"):
        state = {f"backbone.{k}": v for k, v in timm.create_model("resnext101_32x8d").state_dict().items()}
    body = read_backbone(state, {}, Hints(hints), plain_fcos=False, assisted=False)
    assert body.name == "resnext101_32x8d" and body.pixels[2] == order and body.pixels[1][0] == deviation
    with pytest.raises(UserError, match="two ways are common: give --as detectron2"):
        read_backbone(state, {}, Hints("epoch_12"), plain_fcos=False, assisted=False)


def test_what_is_looked_up_must_be_there():
    tensors = {"a": torch.zeros(2, 3), "b.0.c": torch.zeros(1), "b.1.c": torch.zeros(1), "n": torch.tensor(0)}
    assert shape_of(tensors, "a", 2) == (2, 3) and count_layers(tensors, r"b\.(\d)\.c") == 2
    for wrong in (lambda: shape_of(tensors, "x", 2), lambda: take_rows(tensors, "x", 2, {})):
        with pytest.raises(UserError, match="lacks x"):
            wrong()
    for wrong in (
        lambda: shape_of(tensors, "a", 4),
        lambda: take_rows(tensors, "a", 3, {}),
        lambda: take_rows(tensors, "n", 1, {}),
    ):
        with pytest.raises(UserError, match="of shape"):
            wrong()


def test_crops_are_put_in_order():
    tensors = {"fc": torch.arange(2 * 8.0).reshape(2, 8)}
    order_crops(tensors, "fc", 2)
    assert tensors["fc"][0].tolist() == [0, 4, 1, 5, 2, 6, 3, 7]
    with pytest.raises(UserError, match="reads no crops of 3 channels"):
        order_crops({"fc": torch.zeros(2, 8)}, "fc", 3)
