"""YOLOX's own files: every tensor under mmdetection's names, and which way images were normalised."""

import pytest
import torch

from detectors.weights.realtime_names import SECTIONS, make_state
from headstart.detectors.weights import import_detector, importing
from headstart.detectors.weights.hints import Hints
from headstart.detectors.weights.yolox.reader import NAMES, is_yolox, read_yolox
from headstart.errors import UserError

CLASSES = tuple(f"class {i}" for i in range(80))


@pytest.mark.parametrize("section", [name for name in SECTIONS if name.startswith("megvii")])
def test_every_tensor_is_used(section):
    name = section.split()[1]
    state = make_state(section)
    assert is_yolox(state) and not is_yolox(make_state(section.replace("megvii", "mmdetection")))
    parsed = read_yolox(state, Hints("yolox", by_user=True, classes=CLASSES))
    assert parsed.recipe["backbone"] == f"csp_darknet_{name.partition('_')[2]}" and parsed.recipe["assigner"] == "yolox"
    assert set(parsed.file_keys.values()) == set(state)
    built = importing._build(parsed)
    assert sum(p.numel() for p in built.parameters()) == SECTIONS[section][1]
    own = built.state_dict()
    for ours, theirs in parsed.file_keys.items():
        assert torch.equal(own[ours].flatten()[:1], state[theirs].flatten()[:1].to(own[ours].dtype)), ours
    # The two libraries name the same tensors: what mmdetection's file would bring to a place has the same shape.
    assert {tuple(state[k].shape) for k in state} == {tuple(v.shape) for v in parsed.tensors.values()}
    assert len(NAMES) > 20


def test_tensors_come_to_their_places():
    places = {
        "backbone.body.stem.conv.conv.weight": "backbone.backbone.stem.conv.conv.weight",
        "backbone.body.stage1.1.main_conv.conv.weight": "backbone.backbone.dark2.1.conv1.conv.weight",
        "backbone.body.stage4.1.conv2.bn.bias": "backbone.backbone.dark5.1.conv2.bn.bias",
        "backbone.body.stage4.2.final_conv.conv.weight": "backbone.backbone.dark5.2.conv3.conv.weight",
        "backbone.body.stage2.1.blocks.2.conv1.conv.weight": "backbone.backbone.dark3.1.m.2.conv1.conv.weight",
        "neck.bottom_up_blocks.1.short_conv.bn.weight": "backbone.C3_n4.conv2.bn.weight",
        "neck.downsamples.0.conv.weight": "backbone.bu_conv2.conv.weight",
        "neck.reduce_layers.1.bn.running_var": "backbone.reduce_conv1.bn.running_var",
        "neck.out_convs.2.conv.weight": "head.stems.2.conv.weight",
        "head.reg_tower.convs.1.0.weight": "head.reg_convs.1.0.conv.weight",
        "head.obj.0.bias": "head.obj_preds.0.bias",
    }
    parsed = read_yolox(make_state("megvii yolox_s"), Hints("yolox", by_user=True, classes=CLASSES))
    assert {own: parsed.file_keys[own] for own in places} == places
    nano = read_yolox(make_state("megvii yolox_nano"), Hints("yolox", by_user=True, classes=CLASSES))
    assert nano.file_keys["head.cls_tower.convs.1.0.1.weight"] == "head.cls_convs.1.0.pconv.conv.weight"


def save(path, **more):
    state = {key: value.clone() for key, value in make_state("megvii yolox_nano").items()}
    torch.save({"model": state, "start_epoch": 300, **more}, path)
    return path


def test_which_series_a_file_is_of_is_asked(tmp_path):
    with pytest.raises(UserError, match=r"two ways: give --as yolox \(raw BGR.*--as yolox-legacy"):
        import_detector(save(tmp_path / "yolox_nano.pth"), classes=CLASSES)
    current = import_detector(tmp_path / "yolox_nano.pth", classes=CLASSES, read_as="yolox").detector
    assert (current.order, current.pad, current.mean.flatten().tolist()) == ("BGR", 114, [0, 0, 0])
    legacy = import_detector(tmp_path / "yolox_nano.pth", classes=CLASSES, read_as="yolox-legacy").detector
    assert (legacy.order, legacy.pad) == ("RGB", 114) and legacy.mean[0, 0, 0, 0].item() == pytest.approx(123.675)
    named = import_detector(save(tmp_path / "yolox_tiny_32dot8.pth"), classes=CLASSES).detector
    assert named.order == "RGB"
    own = import_detector(save(tmp_path / "latest_ckpt.pth", best_ap=0.1, curr_ap=0.1), classes=CLASSES)
    assert own.detector.order == "BGR" and own.source == "Megvii's YOLOX on csp_darknet_nano"


def test_a_name_that_does_not_agree_is_refused(tmp_path):
    with pytest.raises(UserError, match="does not agree with --as yolox_s"):
        import_detector(save(tmp_path / "a.pth"), classes=CLASSES, read_as="yolox_s")
    with pytest.raises(UserError, match=r"does not say what its 80 classes are called"):
        import_detector(tmp_path / "a.pth", read_as="yolox")
