"""RTMDet and YOLOX from mmdetection's files: every tensor used, what the weights leave open, what is refused."""

import pytest
import torch

from detectors.weights.realtime_names import SECTIONS, make_state
from headstart.detectors.weights import import_detector, importing
from headstart.detectors.weights.hints import Hints
from headstart.detectors.weights.mmdetection.reader import read_mmdetection
from headstart.errors import UserError
from parity.official import close, features, sizes, tensor

SECTION = [name for name in SECTIONS if name.startswith("mmdetection")]
LINEAR = {"rtmdet_tiny": False, "rtmdet_s": False, "rtmdet_m": True}


@pytest.mark.parametrize("section", SECTION)
def test_every_tensor_is_used_and_the_size_is_found(section):
    name = section.split()[1]
    family, _, size = name.partition("_")
    state = make_state(section)
    parsed = read_mmdetection(state, Hints(f"{name}_8xb32-300e_coco"))
    backbone = f"{'cspnext' if family == 'rtmdet' else 'csp_darknet'}_{size}"
    assert (parsed.recipe["name"], parsed.recipe["backbone"]) == (family, backbone)
    assert "body_options" not in parsed.recipe and len(parsed.recipe["classes"]) == 80
    aside = set(state) - set(parsed.file_keys.values())
    assert aside == {
        key
        for key in state
        if "_convs.1." in key or "_convs.2." in key
        if "cls_convs" in key or "reg_convs" in key
        if key.endswith(".conv.weight")
        if "multi_level" not in key
    }
    assert (family == "rtmdet") == bool(aside) == any("share are stored once for each" in n for n in parsed.notes)
    assert parsed.recipe.get("exponential") == LINEAR.get(name)
    assert (parsed.order, parsed.pad) == ("BGR", 114)
    assert parsed.mean == ((103.53, 116.28, 123.675) if family == "rtmdet" else (0, 0, 0))
    side = 416 if name in ("yolox_nano", "yolox_tiny") else 640
    assert parsed.size == {"short": side, "long": side, "resize": "opencv"}
    built = importing._build(parsed)
    assert sum(p.numel() for p in built.parameters()) == SECTIONS[section][1]
    assert (built.order, built.pad) == ("BGR", 114)
    own = built.state_dict()
    for ours, theirs in parsed.file_keys.items():
        assert torch.equal(own[ours].flatten()[:1], state[theirs].flatten()[:1].to(own[ours].dtype)), ours


def test_tensors_come_to_their_places():
    """By names that are written down a second time here."""
    pairs = {
        "mmdetection rtmdet_tiny": {
            "backbone.body.model.stages.3.2.attention.fc.bias": "backbone.stage4.2.attention.fc.bias",
            "backbone.body.model.stages.0.1.blocks.0.conv2.depthwise_conv.bn.running_var": (
                "backbone.stage1.1.blocks.0.conv2.depthwise_conv.bn.running_var"
            ),
            "neck.out_convs.2.conv.weight": "neck.out_convs.2.conv.weight",
            "head.cls_tower.convs.1.weight": "bbox_head.cls_convs.0.1.conv.weight",
            "head.reg_tower.norms.2.0.running_mean": "bbox_head.reg_convs.2.0.bn.running_mean",
            "head.reg.1.bias": "bbox_head.rtm_reg.1.bias",
        },
        "mmdetection yolox_nano": {
            "backbone.body.stage1.0.depthwise_conv.conv.weight": "backbone.stage1.0.depthwise_conv.conv.weight",
            "head.cls_tower.convs.2.1.0.bn.bias": "bbox_head.multi_level_cls_convs.2.1.depthwise_conv.bn.bias",
            "head.reg_tower.convs.0.1.1.weight": "bbox_head.multi_level_reg_convs.0.1.pointwise_conv.conv.weight",
            "head.reg_tower.norms.0.1.weight": "bbox_head.multi_level_reg_convs.0.1.pointwise_conv.bn.weight",
            "head.obj.2.weight": "bbox_head.multi_level_conv_obj.2.weight",
        },
    }
    for section, names in pairs.items():
        parsed = read_mmdetection(make_state(section), Hints("coco"))
        assert {own: parsed.file_keys[own] for own in names} == names


def official(reference, head, body):
    """A whole state of the official fixtures: a body with its neck, and a head of 24 channels."""
    state = {k.removeprefix("w/"): tensor(v) for k, v in reference(body).items() if k.startswith("w/")}
    arrays = reference(head)
    state |= {f"bbox_head.{k.removeprefix('w/')}": tensor(v) for k, v in arrays.items() if k.startswith("w/")}
    shared = (str(pair).split("=") for pair in arrays.get("w_shared", ()))
    return state | {f"bbox_head.{other}": state[f"bbox_head.{first}"] for other, first in shared}


CASES = {
    "dense_rtmdet": ("body_cspnext", "model = dict(bbox_head=dict(exp_on_reg=False))"),
    "dense_rtmdet_exp": ("body_cspnext", "model = dict(bbox_head=dict(exp_on_reg=True))"),
    "dense_yolox": ("body_csp_darknet", ""),
    "dense_yolox_depthwise": ("body_csp_darknet_nano", ""),
}


def meta(text):
    norm = "norm_cfg=dict(type='SyncBN')"
    return {
        "cfg": text.replace("bbox_head=dict(", f"bbox_head=dict({norm}, "),
        "dataset_meta": {"CLASSES": [*"abcdefg"]},
    }


@pytest.mark.parametrize("name", CASES)
def test_a_whole_file_says_what_it_says_there(name, reference, tmp_path):
    """Of a width and depth that has no name; stages, pyramid, and the head's outputs."""
    body, text = CASES[name]
    torch.save({"state_dict": official(reference, name, body), "meta": meta(text)}, tmp_path / "epoch_300.pth")
    opened = import_detector(tmp_path / "epoch_300.pth").detector
    assert opened.recipe["body_options"] == {"widen": 0.09375, "deepen": 0.33} and opened.recipe["width"] == 24
    arrays = reference(body)
    with torch.no_grad():
        pyramid = opened.neck(opened.backbone(tensor(arrays["in/img"])))
    for level, maps in enumerate(pyramid):
        close(maps, arrays[f"eval/level{level}"], 1e-5)
    arrays = reference(name)
    found = opened.head(features(arrays, [8, 16, 32]), sizes(arrays))
    for level in range(3):
        close(found.cls[level], arrays[f"out/cls{level}"], 1e-5)
        close(found.reg[level], arrays[f"out/reg{level}"], 1e-5)
    assert opened.head.hparams.selection.iou_threshold == 0.65


def test_what_training_leaves_beside_the_weights(reference, tmp_path):
    """3.x saves the raw weights as `ema_state_dict`, 2.x the raw ones as buffers `ema_...` among the averaged."""
    state = official(reference, "dense_rtmdet", "body_cspnext")
    raw = {f"module.{key}": value + 1 for key, value in state.items()} | {"steps": torch.tensor(9)}
    text = "model = dict(bbox_head=dict(exp_on_reg=False))"
    torch.save(
        {"state_dict": state, "ema_state_dict": raw, "optimizer": {"state": {}}, "meta": meta(text)}, tmp_path / "3.pth"
    )
    opened = import_detector(tmp_path / "3.pth")
    key = "neck.reduce_layers.0.conv.weight"
    assert torch.equal(opened.detector.state_dict()[key], state[key]) and any("averaged" in n for n in opened.notes)
    state = official(reference, "dense_yolox", "body_csp_darknet")
    more = {f"ema_{name.replace('.', '_')}": value + 1 for name, value in state.items()}
    torch.save({"state_dict": state | more, "meta": {"CLASSES": [*"abcdefg"]}}, tmp_path / "2.pth")
    opened = import_detector(tmp_path / "2.pth")
    assert torch.equal(opened.detector.state_dict()[key], state[key]) and any("average" in n for n in opened.notes)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"bbox_head.cls_convs.2.1.conv.weight": torch.zeros(24, 24, 3, 3)},
            "levels do not share bbox_head.cls_convs.2",
        ),
        ({"bbox_head.rtm_obj.0.weight": torch.zeros(1, 24, 1, 1)}, "RTMDet with an objectness"),
        ({"bbox_head.mask_head.projection.weight": torch.zeros(8, 24, 1, 1)}, "RTMDet with masks"),
        ({"backbone.stage1.1.blocks.9.conv1.bn.weight": torch.zeros(6)}, "no multiple of the official one"),
        ({"neck.odd.weight": torch.zeros(1)}, "parts that are not known: neck.odd.weight"),
    ],
)
def test_variants_are_refused(change, says, reference, tmp_path):
    state = official(reference, "dense_rtmdet", "body_cspnext") | change
    torch.save({"state_dict": state, "meta": meta("model = dict(bbox_head=dict())")}, tmp_path / "odd.pth")
    with pytest.raises(UserError, match=says):
        import_detector(tmp_path / "odd.pth")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("model = dict(bbox_head=dict(share_conv=False))", "share_conv False in its configuration, and only True can"),
        ("model = dict(bbox_head=dict(anchor_generator=dict(offset=0.5)))", "offset 0.5"),
        ("model = dict(neck=dict(type='CSPNeXtPAFPN'))", "eps 0.001 in its neck"),
        ("test_pipeline = [dict(type='Pad', pad_val=dict(img=(1, 2, 3)))]", "pads images with"),
    ],
)
def test_configurations_of_others_are_refused(text, says, reference, tmp_path):
    torch.save(
        {"state_dict": official(reference, "dense_rtmdet", "body_cspnext"), "meta": meta(text)}, tmp_path / "odd.pth"
    )
    with pytest.raises(UserError, match=says):
        import_detector(tmp_path / "odd.pth")


def test_a_configuration_decides(reference, tmp_path):
    text = (
        "model = dict(data_preprocessor=dict(mean=[1, 2, 3], std=[4, 5, 6], bgr_to_rgb=True), bbox_head=dict(exp_on"
        "_reg=True), test_cfg=dict(nms_pre=50, score_thr=0.2, nms=dict(type='nms', iou_threshold=0.5), "
        "max_per_img=9))\n"
        "test_pipeline = [dict(type='Resize', scale=(320, 352)), dict(type='Pad', pad_val=dict(img=(7, 7, 7)))]"
    )
    torch.save(
        {"state_dict": official(reference, "dense_rtmdet", "body_cspnext"), "meta": meta(text)}, tmp_path / "own.pth"
    )
    opened = import_detector(tmp_path / "own.pth")
    built = opened.detector
    assert (built.order, built.pad, built.mean.flatten().tolist()) == ("RGB", 7, [1, 2, 3]) and built.head.exponential
    chosen = built.head.selection
    assert (chosen.nms_pre, chosen.score_threshold, chosen.iou_threshold, chosen.max_detections) == (50, 0.2, 0.5, 9)
    assert opened.size == {"short": 320, "long": 352, "resize": "opencv"}


@pytest.mark.parametrize(
    "keys",
    [
        ("backbone.stem.0.conv.weight", "bbox_head.head_module.rtm_cls.0.weight"),
        ("backbone.stem.conv.conv.weight", "bbox_head.head_module.multi_level_conv_cls.0.weight"),
    ],
)
def test_mmyolos_names_are_known_for_what_they_are(keys, tmp_path):
    torch.save({"meta": {}, "state_dict": {key: torch.zeros(1) for key in keys}}, tmp_path / "x.pth")
    with pytest.raises(UserError, match=r"x\.pth has mmyolo's names, which cannot be imported; mmdetection's files"):
        import_detector(tmp_path / "x.pth")
