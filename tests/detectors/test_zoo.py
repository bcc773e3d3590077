"""Detectors by name: every name builds, every mistake has an answer."""

import re
from dataclasses import fields

import pytest
import torch
from torch import nn

from headstart.backbones import SHORT_NAMES
from headstart.detectors import parts, two_stage
from headstart.detectors.names import SIZES
from headstart.detectors.parts import BackboneOptions
from headstart.detectors.zoo import DETECTORS, FAMILIES, build_detector
from headstart.errors import UserError
from headstart.heads.atss import ATSSHead
from headstart.heads.cascade import CascadeHead
from headstart.heads.fcos import FCOSHead
from headstart.heads.gfl import GFLHead
from headstart.heads.reppoints import RepPointsHead
from headstart.heads.retina import RetinaHead
from headstart.heads.rtmdet import RTMDetHead
from headstart.heads.selection import Selection
from headstart.heads.two_stage import TwoStageHead
from headstart.heads.yolox import YOLOXHead
from headstart.necks import PAFPN
from headstart.options import aliases_of
from laws.tiny import CLASSES, losses, scene


def build(name, **options):
    return build_detector(name, CLASSES, pretrained=False, **({"width": 16} | options))


def test_every_family_on_every_short_name():
    assert len(DETECTORS) == len(FAMILIES) * len(SHORT_NAMES) + len(SIZES)
    assert DETECTORS["retinanet_r18"] == ("retinanet", "r18") and DETECTORS["fasterrcnn_r50"] == ("fasterrcnn", "r50")
    assert {"fcos_mnv2", "retinanet_swin_t", "fcos_effb0"} <= set(DETECTORS)


@pytest.mark.parametrize(
    ("name", "options", "head", "strides"),
    [
        ("retinanet_r10", {"depth": 1}, RetinaHead, [8, 16, 32, 64, 128]),
        ("fcos_mnv3s", {"depth": 1}, FCOSHead, [8, 16, 32, 64, 128]),
        ("atss_mnv3s", {"depth": 1}, ATSSHead, [8, 16, 32, 64, 128]),
        ("gfl_mnv2_050", {"depth": 1, "reg_max": 8}, GFLHead, [8, 16, 32, 64, 128]),
        ("reppoints_mnv2_050", {"depth": 1}, RepPointsHead, [8, 16, 32, 64, 128]),
        ("rtmdet_mnv2_050", {"depth": 1, "neck_blocks": 2}, RTMDetHead, [8, 16, 32]),
        ("yolox_r10", {"depth": 1, "depthwise": True}, YOLOXHead, [8, 16, 32]),
        ("fasterrcnn_mnv2_050", {"hidden": 8}, TwoStageHead, [4, 8, 16, 32, 64]),
        ("fasterrcnn_r10", {"hidden": 8, "box_head": "4conv1fc", "rpn_depth": 2}, TwoStageHead, [4, 8, 16, 32, 64]),
        ("cascadercnn_mnv2_050", {"hidden": 8}, CascadeHead, [4, 8, 16, 32, 64]),
        ("fcos", {"backbone": "mobilenetv2_035", "improved": True}, FCOSHead, [8, 16, 32, 64, 128]),
    ],
)
def test_they_are_built_and_trained(name, options, head, strides):
    built = build(name, **options)
    assert isinstance(built.head, head) and built.neck.strides == built.head.strides == strides
    assert built.classes == CLASSES and built.head.num_classes == 3
    found = losses(built, *scene(size=64))
    assert all(value.item() > 0 for value in found.values())


@pytest.mark.parametrize("name", [f"{family}_mnv2_050" for family in FAMILIES])
def test_width_reaches_every_layer(name):
    built = build(name, width=24)
    last = built.neck.out_convs if isinstance(built.neck, PAFPN) else built.neck
    assert {conv.out_channels for conv in last.modules() if isinstance(conv, nn.Conv2d)} == {24}
    towers = [part for key, part in built.head.named_modules() if key.rpartition(".")[2].endswith("tower")]
    convs = [layer for tower in towers for layer in tower.modules() if isinstance(layer, nn.Conv2d)]
    assert convs and {conv.out_channels for conv in convs} == {24}


def test_a_recipe_builds_the_same_detector_again():
    built = build("retinanet_mnv2_050", depth=2, anchor_scale=2.0, frozen_stages=1)
    assert built.recipe["name"] == "retinanet" and "pretrained" not in built.recipe
    again = build_detector(**built.recipe, pretrained=False)
    shapes = [{k: v.shape for k, v in d.state_dict().items()} for d in (built, again)]
    assert shapes[0] == shapes[1] and again.recipe == built.recipe
    assert torch.equal(built.head.base0, again.head.base0)
    trained = [[k for k, p in d.named_parameters() if p.requires_grad] for d in (built, again)]
    assert trained[0] == trained[1] and len(trained[0]) < len(list(built.parameters()))


ALIASED = [
    ("gfl_mnv2_050", {"reach": 8}, {"reg_max": 8}),
    ("fasterrcnn_mnv2_050", {"void": 2, "agnostic": True}, {"extra_logits": 2, "class_agnostic": True}),
    (
        "fasterrcnn_mnv2_050",
        {
            "selection": {"threshold": 0.2, "overlap": 0.6, "keep": 7, "least": 1.0, "nms_pre": 5},
            "proposing": {"per_level": 11},
        },
        {
            "selection": {
                "score_threshold": 0.2,
                "iou_threshold": 0.6,
                "max_detections": 7,
                "min_size": 1.0,
                "nms_pre": 5,
            },
            "proposing": {"nms_pre": 11},
        },
    ),
]
"""A detector, options by their former names, and by today's."""


@pytest.mark.parametrize(("name", "former", "current"), ALIASED)
def test_former_names_of_options_still_work(name, former, current):
    """And the detector's recipe, from which its file is built again, has today's names."""
    given = {key: dict(value) if isinstance(value, dict) else value for key, value in former.items()}
    hidden = {"hidden": 8} if name.startswith("fasterrcnn") else {}
    old, new = build(name, **former, **hidden), build(name, **current, **hidden)
    assert old.recipe == new.recipe and {key: old.recipe[key] for key in current} == current and former == given
    head, other = (d.head if name.startswith("gfl") else d.head.roi for d in (old, new))
    assert head.hparams == other.hparams and head.selection == other.selection
    assert old.state_dict().keys() == new.state_dict().keys()


def test_every_former_name_stands_for_an_option_there_is():
    groups = [Selection, *(family.options for family in FAMILIES.values())]
    for group in groups:
        names = {field.name for field in fields(group)}
        assert set(aliases_of(group).values()) <= names and not set(aliases_of(group)) & names
    former = {name for group in groups for name in aliases_of(group)}
    assert former == {"reach", "agnostic", "void", "per_level", "threshold", "overlap", "keep", "least"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"reach": 8, "reg_max": 8}, "detector gfl_mnv2_050: reach is the former name of reg_max; give only reg_max"),
        (
            {"selection": {"keep": 3, "max_detections": 3}},
            "detector gfl_mnv2_050: selection: keep is the former name of max_detections; give only max_detections",
        ),
        ({"agnostic": True}, "detector gfl_mnv2_050 has no option 'agnostic'"),
    ],
)
def test_both_names_of_an_option_are_one_too_many(options, says):
    with pytest.raises(UserError, match=re.escape(says)):
        build("gfl_mnv2_050", **options)


def test_options_change_what_they_say():
    plain, improved = build("fcos_mnv2_050").head, build("fcos_mnv2_050", improved=True, range_scale=4.0).head
    assert not (plain.normalised or plain.centreness_on_box) and improved.normalised and improved.centreness_on_box
    assert plain.assigner.radius is None and improved.assigner.radius == 1.5
    assert plain.cls_tower.convs[0].bias is None and improved.cls_tower.convs[0].bias is not None
    assert [end for _, end in plain.assigner.ranges][:4] == [64, 128, 256, 512]
    assert [end for _, end in improved.assigner.ranges][:4] == [32, 64, 128, 256]
    small, large = (build("retinanet_mnv2_050", anchor_scale=s).head for s in (2.0, 4.0))
    torch.testing.assert_close(small.base0 * 2, large.base0)
    single, distributed = build("atss_mnv2_050", anchor_scale=4.0).head, build("gfl_mnv2_050", reg_max=8).head
    assert single.base0.tolist() == [[-16, -16, 16, 16]] and distributed.base0.tolist() == [[-32, -32, 32, 32]]
    assert distributed.reg_max == 8 and distributed.reg.out_channels == 4 * 9
    pointed = build("reppoints_mnv2_050", point_scale=2.0)
    assert pointed.head.point_scale == pointed.head.nearest.scale == 2.0 and len(pointed.head.cls_tower) == 3
    assert build("fasterrcnn_mnv2_050", hidden=8, regions=64).head.sampler.count == 64
    head = build("fasterrcnn_mnv2_050", hidden=8, box_head="4conv1fc", rpn_depth=2).head
    assert head.roi.layers == ("fc0",) and len(head.roi.convs) == 4 and len(head.rpn.tower) == 2
    head = build("cascadercnn_mnv2_050", hidden=8, box_head="4conv1fc", rpn_depth=2, regions=64).head
    assert [sampler.count for sampler in head.roi.samplers] == [64] * 3 and len(head.rpn.tower) == 2
    assert [stage.layers for stage in head.roi.heads] == [("fc0",)] * 3


@pytest.mark.parametrize(("family", "weights"), [("fasterrcnn", 41_753_056), ("cascadercnn", 69_394_766)])
def test_as_many_weights_as_the_official_detectors(family, weights):
    with torch.device("meta"):
        built = build_detector(f"{family}_r50", [f"class {i}" for i in range(80)], pretrained=False)
    assert sum(p.numel() for p in built.parameters()) == weights


@pytest.mark.parametrize(
    ("family", "extra", "rectified", "normed"),
    [
        ("retinanet", "on_input", False, False),
        ("fcos", "on_output", True, False),
        ("atss", "on_output", False, False),
        ("gfl", "on_output", False, False),
        ("reppoints", "on_input", False, True),
        ("fasterrcnn", "maxpool", False, False),
    ],
)
def test_the_pyramids_are_those_of_the_papers_recipes(family, extra, rectified, normed):
    neck = build(f"{family}_mnv2_050").neck
    assert (neck.extra_source, neck.relu_extra) == (extra, rectified)
    assert any(isinstance(m, nn.GroupNorm) for m in neck.modules()) == normed


def test_normalisation_is_the_backbones():
    built = build("retinanet_mnv2_050")
    for ours, theirs in ((built.mean, built.backbone.mean), (built.std, built.backbone.std)):
        assert ours.flatten().tolist() == pytest.approx([value * 255 for value in theirs])


@pytest.mark.parametrize(
    ("name", "pretrained", "frozen", "still"),
    [("r18", True, 1, True), ("resnet18", "w.pth", 1, True), ("r18", False, 0, False), ("mnv2", True, 0, False)],
)
def test_what_is_frozen_by_default(monkeypatch, name, pretrained, frozen, still):
    """Stem, first stage and statistics of pretrained ResNets only, as in the papers; otherwise as asked."""
    asked = {}
    monkeypatch.setattr(parts, "build_backbone", lambda name, **options: asked.update(options))
    parts.make_body(name, BackboneOptions(pretrained=pretrained))
    assert (asked["frozen_stages"], asked["norm_eval"]) == (frozen, still) and asked["pretrained"] == pretrained
    parts.make_body(name, BackboneOptions(pretrained=pretrained, frozen_stages=2, norm_eval=False))
    assert (asked["frozen_stages"], asked["norm_eval"]) == (2, False)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("retinanet_r81", {}, "no detector is called 'retinanet_r81'; did you mean retinanet_r18"),
        ("fasterrcn_r50", {}, "did you mean fasterrcnn_r50"),
        ("yolo", {}, "no detector is called 'yolo'; did you mean yolox"),
        ("quux", {}, "no detector is called 'quux'; `headstart models` lists them"),
        ("retinanet", {}, "say which backbone: retinanet_r18, or retinanet with backbone=NAME"),
        ("retinanet_r18", {"widht": 8}, "detector retinanet_r18 has no option 'widht'; did you mean width?"),
        ("retinanet_r18", {"hidden": 8}, "has no option 'hidden'"),
        ("fasterrcnn_r18", {"improved": True}, "has no option 'improved'"),
        ("fasterrcnn_r18", {"box_head": "3fc"}, "fasterrcnn_r18: box_head must be 2fc or 4conv1fc, not '3fc'"),
        ("cascadercnn_r18", {"box_head": "fc"}, "cascadercnn_r18: box_head must be 2fc or 4conv1fc, not 'fc'"),
        ("retinanet", {"backbone": "resnet81"}, "no backbone is called 'resnet81'.*did you mean"),
        ("fcos", {"backbone": "vit_tiny_patch16_224"}, "needs maps at strides 8, 16 and 32"),
        ("fcos_r18", {"frozen_stages": 9}, "frozen_stages must be between 0 and 4"),
        ("fcos_r18", {"width": "x"}, "detector fcos_r18: width must be a whole number, not 'x'"),
        ("fcos_r18", {"depth": 0}, "detector fcos_r18: depth must be at least 1, not '0'"),
        ("fcos_r18", {"norm_eval": "perhaps"}, "norm_eval must be true or false, not 'perhaps'"),
        ("fcos_r18", {"convention": "mine"}, "convention must be mmdetection or torchvision, not 'mine'"),
        (
            "fcos_r18",
            {"selection": {"nms_per": 3}},
            "fcos_r18: selection has no option 'nms_per'; did you mean nms_pre?",
        ),
        (
            "fcos_r18",
            {"selection": {"iou_threshold": 2}},
            "fcos_r18: selection: iou_threshold must be at most 1, not '2'",
        ),
        ("fcos_r18", {"selection": 3}, "detector fcos_r18: selection must be a mapping, not '3'"),
        (
            "fcos_r18",
            {"body_options": {"norm_epz": 1}},
            "body_options has no option 'norm_epz'; did you mean norm_eps?",
        ),
        ("fasterrcnn_r18", {"anchor_sizes": [8, -1]}, "anchor_sizes must be more than 0, not"),
    ],
)
def test_mistakes_are_answered(name, options, says):
    with pytest.raises(UserError, match=says):
        build(name, **options)


@pytest.mark.parametrize(("classes", "says"), [((), "at least one class"), ("cat", r"list of names.*\['cat'\]")])
def test_classes_are_names(classes, says):
    with pytest.raises(UserError, match=says):
        build_detector("retinanet_r18", classes, pretrained=False)


@pytest.mark.parametrize("family", ["fasterrcnn", "cascadercnn"])
def test_a_two_stage_detector_needs_stride_4(monkeypatch, family):
    class Coarse:
        strides = [8, 16, 32]

    monkeypatch.setattr(two_stage, "make_body", lambda *_: Coarse)
    with pytest.raises(UserError, match=f"{family} needs a map at stride 4; backbone r18 begins at stride 8"):
        build(f"{family}_r18")
