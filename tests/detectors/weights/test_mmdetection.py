"""mmdetection's detectors: every tensor of its state dicts is understood, and the heads say what they say there."""

import re

import pytest
import timm
import torch
import torchvision

from detectors.weights.official_names import SECTIONS, fill, make_state
from headstart.backbones.swin import DetectionSwin
from headstart.detectors.weights import import_detector, importing, load_detector, read_metadata, save_detector
from headstart.detectors.weights.architecture import count_layers
from headstart.detectors.weights.hints import Hints
from headstart.detectors.weights.key_mapping import fit_state_dict
from headstart.detectors.weights.mmdetection.config import BOTTLENECKS
from headstart.detectors.weights.mmdetection.reader import read_mmdetection
from headstart.detectors.zoo import build_detector
from headstart.errors import UserError
from headstart.structures import ImageBatch
from parity.official import close, features, sizes, tensor
from parity.test_fpn_mnv2 import recipe

RECOGNISED = {
    "gfl_r50_fpn_1x_coco": ("gfl", "resnet50", {"reg_max": 16, "extra": "on_output"}),
    "gfl_r18_fpn_student": ("gfl", "resnet18", {"depth": 4}),
    "gfl_r101_fpn_ms-2x_coco": ("gfl", "resnet101", {}),
    "atss_r50_fpn_1x_coco": ("atss", "resnet50", {"anchor_scale": 8.0, "relu_extra": False}),
    "fcos_r50-caffe_fpn_gn-head_1x_coco": ("fcos", "resnet50", {"improved": False, "relu_extra": True}),
    "retinanet_r50_fpn_1x_coco": ("retinanet", "resnet50", {"extra": "on_input", "norm": False}),
    "faster-rcnn_r50_fpn_1x_coco": (
        "fasterrcnn",
        "resnet50",
        {"hidden": 1024, "box_head": "2fc", "class_agnostic": False},
    ),
    "mask-rcnn_r50_fpn_1x_coco": ("fasterrcnn", "resnet50", {}),
    "cascade-rcnn_r50_fpn_1x_coco": ("cascadercnn", "resnet50", {"hidden": 1024}),
    "cascade-mask-rcnn_r50_fpn_1x_coco": ("cascadercnn", "resnet50", {}),
    "reppoints-moment_r50_fpn_1x_coco": ("reppoints", "resnet50", {"norm": False, "depth": 3}),
    "reppoints-moment_r50_fpn-gn_head-gn_1x_coco": ("reppoints", "resnet50", {"norm": True}),
    "retinanet_mobilenetv2_fpn": ("retinanet", "mobilenetv2_100", {"extra": "on_input"}),
    "retinanet_swin-t-p4-w7_fpn_1x_coco": ("retinanet", "swin_tiny_patch4_window7_224", {}),
}
MORE_HINTS = {"retinanet_mobilenetv2_fpn": "_relu6_coco", "gfl_r18_fpn_student": "_coco"}


def hints_for(name):
    return Hints(name + MORE_HINTS.get(name, ""))


@pytest.mark.parametrize("name", RECOGNISED)
def test_every_tensor_is_used_or_left_out_for_a_reason(name):
    """The architecture is found out, and what is built has exactly the official number of parameters."""
    family, backbone, options = RECOGNISED[name]
    state, (_, parameters) = make_state(name), SECTIONS[name]
    parsed = read_mmdetection(state, hints_for(name))
    assert {"name": family, "backbone": backbone, "width": 256, **options}.items() <= parsed.recipe.items()
    assert len(parsed.recipe["classes"]) == 80
    aside = set(state) - set(parsed.file_keys.values())
    masks = {key for key in aside if "mask_head" in key}
    unused = {key for key in aside if key.startswith("backbone.conv2.")}
    constants = {key for key in aside if key.endswith(("integral.project", "relative_position_index"))}
    assert aside == masks | unused | constants
    for kind, word in ((masks, "masks are left out"), (unused, "classifier"), (constants, "0, 1, 2|positions")):
        assert bool(kind) == any(re.search(word, note) for note in parsed.notes)
    built = importing._build(parsed)
    left_out = sum(state[key].numel() for key in masks | {k for k in unused if k.endswith(("weight", "bias"))})
    assert sum(p.numel() for p in built.parameters()) == parameters - left_out


def test_tensors_come_to_their_places():
    """The backbones' and the neck's, by the names that were written down a second time here."""
    for name, pairs in {
        "gfl_r50_fpn_1x_coco": {
            "backbone.body.layer3.5.bn2.running_var": "backbone.layer3.5.bn2.running_var",
            "backbone.body.layer1.0.downsample.1.weight": "backbone.layer1.0.downsample.1.weight",
            "neck.lateral.2.bias": "neck.lateral_convs.2.conv.bias",
            "neck.output.2.weight": "neck.fpn_convs.2.conv.weight",
            "neck.extra.1.weight": "neck.fpn_convs.4.conv.weight",
            "head.scales.3": "bbox_head.scales.3.scale",
        },
        "reppoints-moment_r50_fpn-gn_head-gn_1x_coco": {
            "neck.lateral.1.0.weight": "neck.lateral_convs.1.conv.weight",
            "neck.extra.0.1.bias": "neck.fpn_convs.3.gn.bias",
            "head.reg_conv.weight": "bbox_head.reppoints_pts_refine_conv.weight",
            "head.moment": "bbox_head.moment_transfer",
        },
        "cascade-rcnn_r50_fpn_1x_coco": {
            "head.roi.heads.2.reg.bias": "roi_head.bbox_head.2.fc_reg.bias",
            "head.roi.heads.1.fcs.1.weight": "roi_head.bbox_head.1.shared_fcs.1.weight",
            "head.rpn.tower.convs.0.bias": "rpn_head.rpn_conv.bias",
        },
        "retinanet_mobilenetv2_fpn": {
            "backbone.body.blocks.0.0.bn2.weight": "backbone.layer1.0.linear_conv.bn.weight",
            "backbone.body.blocks.4.2.bn3.bias": "backbone.layer5.2.linear_conv.bn.bias",
            "backbone.body.blocks.2.1.conv_pw.weight": "backbone.layer3.1.expand_conv.conv.weight",
        },
        "retinanet_swin-t-p4-w7_fpn_1x_coco": {
            "backbone.body.features.layers_2.blocks.5.mlp.fc2.bias": "backbone.stages.2.blocks.5.ffn.layers.1.bias",
            "backbone.body.features.layers_3.downsample.norm.bias": "backbone.stages.2.downsample.norm.bias",
            "backbone.body.norms.0.weight": "backbone.norm1.weight",
        },
    }.items():
        state = make_state(name)
        parsed = read_mmdetection(state, hints_for(name))
        for own, theirs in pairs.items():
            assert parsed.file_keys[own] == theirs
            assert torch.equal(parsed.tensors[own].flatten()[:1], state[theirs].flatten()[:1])


# -- every family on every backbone ------------------------------------------------------------------------------------

HEADED = {
    "retinanet_r50_fpn_1x_coco": "retinanet",
    "fcos_r50-caffe_fpn_gn-head_1x_coco": "fcos",
    "atss_r50_fpn_1x_coco": "atss",
    "gfl_r50_fpn_1x_coco": "gfl",
    "reppoints-moment_r50_fpn_1x_coco": "reppoints",
    "mask-rcnn_r50_fpn_1x_coco": "fasterrcnn",
    "cascade-rcnn_r50_fpn_1x_coco": "cascadercnn",
}
RESNETS_THERE = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
RESNETS_THERE += ["resnext50_32x4d", "resnext101_32x4d", "resnext101_32x8d", "resnext101_64x4d"]
SWIN, MOBILE = "retinanet_swin-t-p4-w7_fpn_1x_coco", "retinanet_mobilenetv2_fpn"


def official_body(backbone):
    """The tensors of a backbone by their official names, and the channels of C2 to C5."""
    if backbone in (SWIN, MOBILE):
        state = {key: value for key, value in make_state(backbone).items() if key.startswith("backbone.")}
        return state, [96, 192, 384, 768] if backbone == SWIN else [24, 32, 96, 320]
    with torch.device("meta"):
        body = timm.create_model(backbone, num_classes=0)
    state = {f"backbone.{key}": fill(key, tuple(value.shape)) for key, value in body.state_dict().items()}
    return state, [info["num_chs"] for info in body.feature_info[-4:]]


DENSE, TWO_STAGE = list(HEADED)[:5], list(HEADED)[5:]


@pytest.mark.parametrize(("turn", "backbone"), enumerate([*RESNETS_THERE, SWIN, MOBILE]))
def test_families_on_every_backbone(turn, backbone):
    """Each tensor has its place, and none is empty: nothing is built but shapes. Families take turns."""
    body, channels = official_body(backbone)
    for name in (DENSE[turn % 5], TWO_STAGE[turn % 2]):
        family = HEADED[name]
        state = {key: value for key, value in make_state(name).items() if not key.startswith("backbone.")} | body
        sides = channels[-count_layers(state, r"neck\.lateral_convs\.(\d+)\..+") :]
        for index, side in enumerate(sides):
            state[f"neck.lateral_convs.{index}.conv.weight"] = torch.zeros(1).expand(256, side, 1, 1)
        if state.get("neck.fpn_convs.3.conv.weight", torch.zeros(1, 0)).shape[1] == 2048:  # C5
            state["neck.fpn_convs.3.conv.weight"] = torch.zeros(1).expand(256, sides[-1], 3, 3)
        if backbone == SWIN:  # Faster R-CNN reads one stage more, and each has its norm
            first = 4 - len(sides)
            for stage in range(4):
                for kind in ("weight", "bias"):
                    state.pop(f"backbone.norm{stage}.{kind}", None)
                    if stage >= first:
                        state[f"backbone.norm{stage}.{kind}"] = torch.ones(1).expand(channels[stage])
        style = "caffe" if family == "fcos" and backbone in BOTTLENECKS else "pytorch"
        hints = Hints(f"{style}_relu6_detectron2", meta=NAMED)
        parsed = read_mmdetection(state, hints)
        assert parsed.recipe["name"] == family
        with torch.device("meta"):
            own = build_detector(**parsed.recipe, pretrained=False).state_dict()
        assert set(fit_state_dict(parsed.tensors, own, parsed.file_keys)) == set(own)


# -- heads -------------------------------------------------------------------------------------------------------------


def around(arrays, width, dense=True):
    """A whole state: a ResNet-18, a neck of `width`, and the official head of a fixture."""
    torch.manual_seed(0)
    body = torchvision.models.resnet18(weights=None).state_dict()
    state = {f"backbone.{key}": value for key, value in body.items() if not key.startswith("fc.")}
    sides = [128, 256, 512] if dense else [64, 128, 256, 512]
    outs = 5 if dense else 4
    extra = 512 if "w/retina_cls.weight" in arrays or "w/moment_transfer" in arrays else width
    normed = "w/moment_transfer" in arrays and "w/cls_convs.0.gn.weight" in arrays
    for kind, index, channels, size in [
        *(("lateral_convs", i, c, 1) for i, c in enumerate(sides)),
        *(("fpn_convs", i, extra if i == len(sides) else width, 3) for i in range(outs)),
    ]:
        start = f"neck.{kind}.{index}"
        state[f"{start}.conv.weight"] = torch.randn(width, channels, size, size) / (channels * size**2) ** 0.5
        for name in ("gn.weight", "gn.bias") if normed else ("conv.bias",):
            state[f"{start}.{name}"] = torch.randn(width)
    prefix = "bbox_head." if dense else ""
    named = {
        key.removeprefix("w/").replace("head/", "head."): value for key, value in arrays.items() if key[:2] == "w/"
    }
    return state | {prefix + key: tensor(value) for key, value in named.items()}


def config(text):
    """As 2.x saves it."""
    return {"config": text, "CLASSES": tuple("abcdefg")}


HEADS = {
    "dense_retina": (32, "", {"cls": "cls", "reg": "reg"}),
    "dense_fcos": (64, "", {"cls": "cls", "reg": "reg", "quality": "ctr"}),
    "dense_fcos_tricks": (
        64,
        "model = dict(backbone=dict(type='ResNet'), bbox_head=dict(norm_on_bbox=True, centerness_on_reg=True), "
        "test_cfg=dict(nms=dict(type='nms', iou_threshold=0.6)))",
        {"cls": "cls", "reg": "reg", "quality": "ctr"},
    ),
    "dense_atss": (64, "", {"cls": "cls", "reg": "reg", "quality": "ctr"}),
    "dense_gfl": (64, "", {"cls": "cls", "reg": "reg"}),
    "dense_reppoints": (64, "", {"cls": "cls", "reg": "pts_refine"}),
}


@pytest.mark.parametrize("name", HEADS)
def test_dense_heads_say_what_they_say_there(name, reference, tmp_path):
    """Outputs and detections of the official heads, through a whole file."""
    arrays = reference(name)
    width, text, outputs = HEADS[name]
    torch.save({"state_dict": around(arrays, width), "meta": config(text)}, tmp_path / "epoch_12.pth")
    opened = import_detector(tmp_path / "epoch_12.pth").detector
    assert opened.classes == tuple("abcdefg") and opened.recipe["width"] == width
    head = opened.head
    found = head(features(arrays, head.strides), sizes(arrays))
    for own, official in outputs.items():
        for level, maps in enumerate(getattr(found, own)):
            close(maps, arrays[f"out/{official}{level}"], 6e-5)
    check_detections(head.decode(found, sizes(arrays)), arrays)


def check_detections(found, arrays):
    for image, mine in enumerate(found):
        close(mine.boxes, arrays[f"pred/bboxes{image}"], 1e-5)
        close(mine.scores, arrays[f"pred/scores{image}"], 1e-5)
        assert torch.equal(mine.labels, tensor(arrays[f"pred/labels{image}"]))


@pytest.mark.parametrize("name", ["two_stage_faster", "two_stage_cascade"])
def test_two_stage_heads_find_what_they_find_there(name, reference, tmp_path):
    """The number of proposals is the configuration's."""
    arrays = reference(name)
    text = "model = dict(test_cfg=dict(rpn=dict(nms_pre=1000, max_per_img=250), rcnn=dict(max_per_img=100)))"
    torch.save({"state_dict": around(arrays, 32, dense=False), "meta": config(text)}, tmp_path / "latest.pth")
    head = import_detector(tmp_path / "latest.pth").detector.head
    assert head.rpn.selection.max_detections == 250
    found = head(features(arrays, head.strides), sizes(arrays))
    check_detections(head.decode(found, sizes(arrays)), arrays)
    for level in range(5):
        close(found.rpn.cls[level], arrays[f"out/rpn_cls{level}"], 6e-5)


def test_students_of_heads_releases(reference, tmp_path):
    """Their own head is called `rpn_head`; the assistant and the adapters are for training only."""
    arrays = reference("dense_retina")
    plain = around(arrays, 32)
    state = {key.replace("bbox_head.", "rpn_head."): value for key, value in plain.items()}
    state |= {
        "roi_head.bbox_head.fc_cls.weight": torch.zeros(8, 48),
        "roi_head.mask_head.convs.0.conv.weight": torch.zeros(8, 8, 3, 3),
        "_distiller._adapts.0.weight": torch.zeros(48, 48),
    }
    text = "model = dict(test_cfg=dict(rpn=dict(nms_pre=500, score_thr=0.1)))"
    torch.save({"state_dict": state, "meta": config(text)}, tmp_path / "head.pth")
    torch.save({"state_dict": plain, "meta": config("")}, tmp_path / "plain.pth")
    student, baseline = (import_detector(tmp_path / f"{name}.pth") for name in ("head", "plain"))
    own = baseline.detector.state_dict()
    assert all(torch.equal(value, own[key]) for key, value in student.detector.state_dict().items())
    assert [any("left out" in note for note in opened.notes) for opened in (student, baseline)] == [True, False]
    assert student.detector.head.selection.score_threshold == 0.1 and student.detector.head.selection.nms_pre == 500


# -- backbones and images ----------------------------------------------------------------------------------------------


def test_heads_light_student(reference, tmp_path):
    """MobileNetV2 with LeakyReLU, by its official names: the maps of the fixture."""
    arrays, head = reference("fpn_mnv2"), reference("dense_retina")
    names = [str(name) for name in arrays["mobilenet_v2/names"]]
    shapes = [tuple(int(n) for n in re.findall(r"\d+", str(shape))) for shape in arrays["mobilenet_v2/shapes"]]
    state = {key: value for key, value in around(head, 32).items() if not key.startswith("backbone.")}
    state |= {f"backbone.{name}": tensor(recipe(name, shape)) for name, shape in zip(names, shapes)}
    for index, channels in enumerate([32, 96, 1280]):
        state[f"neck.lateral_convs.{index}.conv.weight"] = torch.zeros(32, channels, 1, 1)
    state["neck.fpn_convs.3.conv.weight"] = torch.zeros(32, 1280, 3, 3)
    text = "model = dict(backbone=dict(type='MobileNetV2', act_cfg=dict(type='LeakyReLU', negative_slope=0.1)))"
    torch.save({"state_dict": state, "meta": config(text)}, tmp_path / "student.pth")
    opened = import_detector(tmp_path / "student.pth").detector
    assert opened.recipe["backbone"] == "mnv2" and not opened.recipe["norm_eval"]
    with torch.no_grad():
        maps = opened.backbone(tensor(arrays["mobilenet_v2/img"]))
    for level, every in enumerate([1, 1, 1, 4]):
        close(maps[level][:, ::every], arrays[f"mobilenet_v2/out{level}_every{every}"], 2e-5)
    torch.save({"state_dict": state, "meta": config(text.replace("0.1", "0.2"))}, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"MobileNetV2 with LeakyReLU; expected ReLU6, or LeakyReLU of slope 0.1"):
        import_detector(tmp_path / "other.pth")


def test_caffes_blocks_halve_their_maps_first():
    """The same weights in torchvision's ResNet with its strides moved by hand."""
    name = "fcos_r50-caffe_fpn_gn-head_1x_coco"
    state = {key: value.clone() for key, value in make_state(name).items()}
    torch.manual_seed(0)
    official = torchvision.models.resnet50(weights=None).eval()
    state |= {f"backbone.{k}": v for k, v in official.state_dict().items() if not k.startswith("fc.")}
    built = importing._build(read_mmdetection(state, hints_for(name)))
    for layer in (official.layer2, official.layer3, official.layer4):
        layer[0].conv1.stride, layer[0].conv2.stride = (2, 2), (1, 1)
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        found = built.backbone(x)
        x = official.maxpool(official.relu(official.bn1(official.conv1(x))))
        for own, layer in zip(found, (official.layer1, official.layer2, official.layer3, official.layer4)):
            x = layer(x)
            torch.testing.assert_close(own, x, rtol=1e-4, atol=1e-4)


def test_merged_patches_are_read_in_timms_order():
    """mmdetection unfolds 2 x 2 patches channel by channel; the same layer in our Swin gives the same."""
    name = "retinanet_swin-t-p4-w7_fpn_1x_coco"
    state = {key: value.clone() for key, value in make_state(name).items()}
    start = "backbone.stages.0.downsample"
    for part, spread in (("norm.weight", 1.0), ("norm.bias", 1.0), ("reduction.weight", 0.1)):
        state[f"{start}.{part}"] = spread * torch.randn(state[f"{start}.{part}"].shape)
    built = importing._build(read_mmdetection(state, hints_for(name)))
    assert isinstance(built.backbone.body, DetectionSwin) and built.backbone.strides == [8, 16, 32]
    x = torch.randn(1, 96, 8, 12)
    patches = torch.nn.functional.unfold(x, 2, stride=2).transpose(1, 2)
    normed = torch.nn.functional.layer_norm(patches, (384,), state[f"{start}.norm.weight"], state[f"{start}.norm.bias"])
    goal = (normed @ state[f"{start}.reduction.weight"].T).reshape(1, 4, 6, 192)
    with torch.no_grad():
        found = built.backbone.body.features.layers_1.downsample(x.permute(0, 2, 3, 1))
    torch.testing.assert_close(found, goal, rtol=1e-4, atol=1e-4)


V2 = """
img_norm_cfg = dict(
    mean=[102.9801, 115.9465, 122.7717], std=[1.0, 1.0, 1.0], to_rgb=False)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='MultiScaleFlipAug', img_scale=(1000, 600), flip=False,
         transforms=[dict(type='Normalize', **img_norm_cfg), dict(type='Pad', size_divisor=32)])
]
data = dict(samples_per_gpu=2, test=dict(type=dataset_type, ann_file=data_root + 'val.json', pipeline=test_pipeline))
model = dict(
    type='FCOS',
    backbone=dict(type='ResNet', depth=50, style='caffe'),
    neck=dict(type='FPN', add_extra_convs='on_output', relu_before_extra_convs=True),
    bbox_head=dict(type='FCOSHead', strides=[8, 16, 32, 64, 128]),
    test_cfg=dict(nms_pre=500, score_thr=0.1, nms=dict(type='nms', iou_threshold=0.55), max_per_img=50))
"""
V3 = """
model = dict(
    type='FCOS',
    data_preprocessor=dict(
        type='DetDataPreprocessor', mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], bgr_to_rgb=False),
    backbone=dict(type='ResNet', depth=50),
    neck=dict(type='FPN', add_extra_convs='on_output', relu_before_extra_convs=False),
    bbox_head=dict(type='FCOSHead'),
    test_cfg=dict(score_thr=0.2))
test_pipeline = [dict(type='Resize', scale=(900, 700), keep_ratio=True)]
"""


@pytest.mark.parametrize("version", [2, 3])
def test_what_the_configuration_says(version):
    """Preprocessing, style, pyramid, selection and classes; it counts more than the file's name."""
    classes = tuple(f"thing {i}" for i in range(80))
    meta = {"config": V2, "CLASSES": classes} if version == 2 else {"cfg": V3, "dataset_meta": {"classes": classes}}
    name = "fcos_r50-caffe_fpn_gn-head_1x_coco" if version == 3 else "fcos_r50_fpn_gn-head_1x_coco"
    parsed = read_mmdetection(make_state("fcos_r50-caffe_fpn_gn-head_1x_coco"), Hints(name, meta=meta))
    assert parsed.order == "BGR" and parsed.recipe["classes"] == list(classes)
    if version == 2:
        assert parsed.mean == (102.9801, 115.9465, 122.7717) and parsed.std == (1.0, 1.0, 1.0)
        assert parsed.size == {"short": 600, "long": 1000, "resize": "opencv"}
        assert parsed.recipe["body_options"] == {"first_stride": True} and parsed.recipe["relu_extra"]
        chosen = {"nms_pre": 500, "score_threshold": 0.1, "iou_threshold": 0.55, "max_detections": 50}
    else:
        assert parsed.mean == (103.53, 116.28, 123.675)
        assert parsed.size == {"short": 700, "long": 900, "resize": "opencv"}
        assert "body_options" not in parsed.recipe and not parsed.recipe["relu_extra"]
        chosen = {"score_threshold": 0.2}
    assert parsed.recipe["selection"] == chosen


def test_small_print_of_configurations():
    """Names of types with their package, counts without a limit, smallest boxes, padding, soft-NMS."""
    text = (
        "model = dict(backbone=dict(depth=18), data_preprocessor=dict(pad_size_divisor=1), "
        "bbox_head=dict(anchor_generator=dict(type='mmdet.AnchorGenerator', octave_base_scale=6)), "
        "test_cfg=dict(nms_pre=-1, min_bbox_size=2, nms=dict(type='soft_nms', iou_threshold=0.5)))"
    )
    parsed = read("gfl_r18_fpn_student", settings(text))
    assert parsed.recipe["selection"] == {"nms_pre": 1_000_000, "iou_threshold": 0.5, "min_size": 2}
    assert parsed.recipe["anchor_scale"] == 6.0
    assert any("multiples of 1 there" in note for note in parsed.notes)
    assert any("soft-NMS" in note for note in parsed.notes)


def test_more_small_print():
    """Heads of other names, one scale said in the other way, images that were stretched."""
    text = (
        "model = dict(backbone=dict(depth=18), bbox_head=dict(type='MyHead', anchor_generator=dict(scales=[6])))\n"
        "test_pipeline = [dict(type='Resize', scale=(512, 512), keep_ratio=False)]"
    )
    parsed = read("gfl_r18_fpn_student", settings(text))
    assert parsed.recipe["anchor_scale"] == 6.0
    assert any("called MyHead in the configuration, and is read as GFLHead" in note for note in parsed.notes)
    assert any("stretched to one size there" in note for note in parsed.notes)
    plain = read("gfl_r18_fpn_student", settings("model = dict(bbox_head=dict(type='LDHead'))"))
    assert not any("is read as" in note or "stretched" in note for note in plain.notes)


@pytest.mark.parametrize("where", ["configuration", "name"])
def test_caffes_small_resnets(where):
    """Blocks of two convolutions are the same in both styles; only the images differ."""
    text = "model = dict(backbone=dict(depth=18, style='caffe'))" if where == "configuration" else ""
    parsed = read("gfl_r18_fpn_student", Hints("gfl_r18_caffe", meta={"cfg": text, **NAMED}))
    assert parsed.order == "BGR" and "body_options" not in parsed.recipe
    importing._build(parsed)


def test_bgr_images(tmp_path):
    """The detector turns RGB batches round itself, and its file remembers it."""
    parsed = read_mmdetection(
        make_state("fcos_r50-caffe_fpn_gn-head_1x_coco"), hints_for("fcos_r50-caffe_fpn_gn-head_1x_coco")
    )
    built = importing._build(parsed)
    again = load_detector(save_detector(built, tmp_path / "w.safetensors"))
    assert read_metadata(tmp_path / "w.safetensors")["preprocessing"]["order"] == "BGR"
    pixels = torch.tensor([200, 100, 50], dtype=torch.uint8)[None, :, None, None].expand(1, 3, 32, 32)
    for detector in (built, again):
        seen = detector.normalise(ImageBatch(pixels, [(32, 32)], [0], [(32, 32)]))[0, :, 0, 0]
        torch.testing.assert_close(seen, torch.tensor([50 - 102.9801, 100 - 115.9465, 200 - 122.7717]))


# -- what is asked, and what is refused --------------------------------------------------------------------------------


def read(name, hints="epoch_12", drop=(), **changes):
    state = {key: value for key, value in make_state(name).items() if not key.startswith(tuple(drop) or "none")}
    return read_mmdetection(state | changes, hints if isinstance(hints, Hints) else Hints(hints))


NAMED = {"CLASSES": tuple(map(str, range(80)))}


@pytest.mark.parametrize(
    ("hints", "order"),
    [
        ("caffe", "BGR"),
        ("pytorch", "RGB"),
        ("retinanet_r50_caffe_fpn_1x_coco_20200531-f11027c5", "BGR"),
        ("retinanet_r50_fpn_1x_coco_20200130-c2398f9e", "RGB"),
        ("retinanet_r50-caffe_fpn_1x_coco", "BGR"),
        ("my_retinanet-r50_best", "RGB"),
    ],
)
def test_names_say_which_resnet(hints, order):
    parsed = read("retinanet_r50_fpn_1x_coco", Hints(hints, meta=NAMED))
    assert parsed.order == order and ("body_options" in parsed.recipe) == (order == "BGR")
    assert any("taken from its name" in note for note in parsed.notes)


@pytest.mark.parametrize(
    ("name", "hints", "changes", "says"),
    [
        ("retinanet_r50_fpn_1x_coco", "epoch_12", {}, "PyTorch's .* or Caffe's .* give --as pytorch or --as caffe"),
        ("retinanet_r50_fpn_1x_coco", "retinanet_road_coco", {}, "give --as pytorch or --as caffe"),
        ("retinanet_mobilenetv2_fpn", "latest", {}, "give --as relu6 .* or --as leaky"),
        ("retinanet_mobilenetv2_fpn", "leaky", {}, "LeakyReLU whose last map has 320 channels"),
        ("gfl_r18_fpn_student", "epoch_12", {}, "what its 80 classes are called: give --classes"),
        (
            "deformable-detr-refine-twostage_r50_16xb2-50e_coco",
            "x",
            {},
            "cannot be imported; its heads have bbox_head.cls",
        ),
        ("yolov3_d53_8xb8-ms-608-273e_coco", "x", {}, "cannot be imported; its heads have bbox_head.convs_bridge"),
        (
            "gfl_r18_fpn_student",
            "x_coco",
            {"bbox_head.vfl.weight": 0},
            "parts that are not known: bbox_head.vfl.weight",
        ),
        ("gfl_r18_fpn_student", "x_coco", {"backbone.layer2.0.conv2.conv_offset.weight": 0}, "deformable convolutions"),
        ("gfl_r18_fpn_student", "x_coco", {"backbone.layer4.2.conv1.weight": 0}, "ResNet of 2-2-2-3 blocks"),
        ("gfl_r18_fpn_student", "x_coco", {"bbox_head.integral.project": 1}, "other places in bbox_head.integral"),
        ("gfl_r18_fpn_student", "x_coco", {"bbox_head.retina_cls.weight": 0}, "its heads have bbox_head.cls_convs"),
        ("gfl_r18_fpn_student", "x_coco", {"neck.fpn_convs.5.conv.weight": 0}, "pyramid of 3 . 3 levels"),
        ("retinanet_swin-t-p4-w7_fpn_1x_coco", "coco", {"backbone.stages.2.blocks.6.norm1.weight": 0}, "Swin of 96"),
    ],
)
def test_what_cannot_be_known_or_built(name, hints, changes, says):
    tensors = {key: torch.full((17,), float(value)) for key, value in changes.items()}
    with pytest.raises(UserError, match=says):
        read(name, hints, **tensors)


def settings(text, **more):
    return Hints("epoch_12", meta={"cfg": text, **NAMED, **more})


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        (
            "retinanet_r50_fpn_1x_coco",
            "model = dict(backbone=dict(style='pytorch'), bbox_head=dict(anchor_generator=dict(ratios=[1.0])))",
            r"has model.bbox_head.anchor_generator.ratios \[1.0\] .* only \[0.5, 1.0, 2.0\] can be imported",
        ),
        (
            "faster-rcnn_r50_fpn_1x_coco",
            "e = dict(roi_layer=dict(sampling_ratio=2))\n"
            "model = dict(backbone=dict(depth=50), roi_head=dict(bbox_roi_extractor=e))",
            "sampling_ratio 2",
        ),
        (
            "cascade-rcnn_r50_fpn_1x_coco",
            "s = dict(bbox_coder=dict(target_stds=[1.0, 1.0, 1.0, 1.0]))\n"
            "model = dict(backbone=dict(depth=50), roi_head=dict(bbox_head=[s, s, s]))",
            "target_stds",
        ),
        (
            "fcos_r50-caffe_fpn_gn-head_1x_coco",
            "model = dict(backbone=dict(style='caffe'), bbox_head=dict(norm_on_bbox=True))",
            "between the plain and the improved one",
        ),
        (
            "gfl_r18_fpn_student",
            "model = dict(backbone=dict(depth=18), data_preprocessor=dict(mean=[1, 2], std=[1, 1, 1]))",
            "mean of the pixels is no three numbers",
        ),
        (
            "gfl_r18_fpn_student",
            "model = dict(backbone=dict(depth=18), data_preprocessor=dict(mean=[1, 2, 3], std=[1, 0, 1]))",
            "divides pixels by zero",
        ),
        (
            "gfl_r18_fpn_student",
            "model = dict(test_cfg=dict(nms=dict(type='nms', class_agnostic=True)))",
            "configuration for testing that cannot be followed",
        ),
        (
            "gfl_r18_fpn_student",
            "model = dict(backbone=dict(depth=18, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)))",
            r"has model.backbone.strides \[1, 2, 2, 1\]",
        ),
        ("gfl_r18_fpn_student", "model = dict(neck=dict(type='NASFPN'))", "has model.neck.type NASFPN"),
        (
            "gfl_r18_fpn_student",
            "model = dict(neck=dict(act_cfg=dict(type='ReLU')))",
            r"model.neck.act_cfg \{'type': 'ReLU'\} in its configuration, and that cannot be imported",
        ),
        (
            "gfl_r18_fpn_student",
            "model = dict(bbox_head=dict(anchor_generator=dict(base_sizes=[4, 8, 16, 32, 64])))",
            "anchor_generator.base_sizes",
        ),
        (
            "atss_r50_fpn_1x_coco",
            "model = dict(backbone=dict(depth=50), bbox_head=dict(anchor_generator=dict(scales=[4, 8])))",
            r"anchor_generator.scales \[4, 8\]",
        ),
        (
            "retinanet_r50_fpn_1x_coco",
            "model = dict(backbone=dict(depth=50), bbox_head=dict(anchor_generator=dict(scales=[2, 4, 8])))",
            r"anchor_generator.scales \[2, 4, 8\] in its configuration, and that cannot",
        ),
        (
            "atss_r50_fpn_1x_coco",
            "model = dict(backbone=dict(depth=50), bbox_head=dict(type='PAAHead'))",
            "has a PAAHead, which lets its boxes vote",
        ),
        (
            "faster-rcnn_r50_fpn_1x_coco",
            "c = dict(type='TBLRBBoxCoder')\n"
            "model = dict(backbone=dict(depth=50), roi_head=dict(bbox_head=dict(bbox_coder=c)))",
            "bbox_coder.type TBLRBBoxCoder",
        ),
        (
            "faster-rcnn_r50_fpn_1x_coco",
            "model = dict(backbone=dict(depth=50), rpn_head=dict(anchor_generator=dict(octave_base_scale=4)))",
            "octave_base_scale 4",
        ),
        (
            "gfl_r18_fpn_student",
            "model = dict(data_preprocessor=dict(mean=[1, 2, 3], std=[1, 1, 1], rgb_to_bgr=True))",
            "rgb_to_bgr True",
        ),
        (
            "gfl_r18_fpn_student",
            "model = dict(data_preprocessor=dict(mean=[1, 2, 3], std=[1, 1, 1], bgr_to_rgb=flip))",
            "does not say whether images are RGB or BGR: unknown",
        ),
    ],
)
def test_configurations_that_cannot_be_followed(name, text, says):
    with pytest.raises(UserError, match=says):
        read(name, settings(text))


def test_the_number_of_classes_must_be_that_of_the_outputs():
    with pytest.raises(UserError, match="has 80 outputs, but 2 classes are named: cat, dog"):
        read("gfl_r18_fpn_student", Hints("x", meta={"CLASSES": ("cat", "dog")}))
    named = read("gfl_r18_fpn_student", Hints("x", classes=tuple(map(str, range(80)))))
    assert named.recipe["classes"][79] == "79"


def test_layouts_of_1x_are_named():
    state = make_state("faster-rcnn_r50_fpn_1x_coco")
    old = {key.replace("roi_head.", ""): value for key, value in state.items()}
    with pytest.raises(UserError, match=r"written by mmdetection 1\.x"):
        read_mmdetection(old, Hints("faster_rcnn_r50_fpn_1x_coco"))
