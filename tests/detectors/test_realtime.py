"""RTMDet and YOLOX: the official sizes, and what follows from a backbone."""

import pytest
import torch

from headstart.detectors.flops import build_on_meta, count_flops
from headstart.detectors.names import SIZES
from headstart.detectors.weights import load_detector, save_detector
from headstart.detectors.zoo import DETECTORS, build_detector
from headstart.errors import UserError
from laws.tiny import CLASSES, scene

PUBLISHED = {
    "rtmdet_tiny": (640, 4.896, 8.04),
    "rtmdet_s": (640, 8.887, 14.76),
    "rtmdet_m": (640, 24.709, 39.07),
    "rtmdet_l": (640, 52.316, 79.90),
    "yolox_nano": (416, 0.912, 0.523),
    "yolox_tiny": (416, 5.056, 3.206),
    "yolox_s": (640, 8.968, 13.343),
    "yolox_m": (640, 25.326, 36.765),
}
"""Side in pixels, millions of parameters, GMACs with 80 classes."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_are_the_published_ones(name):
    side, parameters, macs = PUBLISHED[name]
    found = count_flops(build_on_meta(name), (side, side))
    assert found.parameters / 1e6 == pytest.approx(parameters, rel=0.01)
    assert found.macs / 1e9 == pytest.approx(macs, rel=0.01)


def test_a_name_is_a_family_on_its_body():
    assert set(SIZES) < set(DETECTORS) and DETECTORS["yolox_r10"] == ("yolox", "r10")
    named, said = build_on_meta("rtmdet_s"), build_on_meta("rtmdet", backbone="cspnext_s")
    assert named.recipe == said.recipe and named.state_dict().keys() == said.state_dict().keys()
    assert (named.order, named.pad) == ("RGB", 114) and named.std[0, 0, 0, 0].is_meta
    linear = {size: not build_on_meta(f"rtmdet_{size}").head.exponential for size in ("tiny", "s", "m", "l")}
    assert linear == {"tiny": True, "s": True, "m": False, "l": False}


def test_yolox_reads_raw_bgr_on_its_own_body():
    own = build_detector("yolox_nano", CLASSES, pretrained=False, body_options={"widen": 0.125})
    assert own.order == "BGR" and own.mean.flatten().tolist() == [0, 0, 0]
    assert own.std.flatten().tolist() == pytest.approx([1, 1, 1]) and own.pad == 114
    assert own.head.hparams.depthwise and own.head.width == 32
    other = build_on_meta("yolox_mnv2_050")
    assert other.order == "RGB" and other.pad == 114 and not other.head.hparams.depthwise


@pytest.mark.parametrize("name", ["rtmdet_tiny", "yolox_s"])
def test_any_width_and_depth_and_a_file_of_it(name, tmp_path):
    options = {"body_options": {"widen": 0.125, "deepen": 0.1}, "neck_blocks": 2, "width": 24}
    made = build_detector(name, CLASSES, pretrained=False, **options).eval()
    assert made.backbone.channels == [16, 32, 64, 128] and (made.neck.width, made.head.width) == (24, 24)
    assert len(made.neck.bottom_up_blocks[0].blocks) == 2
    again = load_detector(save_detector(made, tmp_path / "w.safetensors"))
    assert (again.pad, again.order) == (made.pad, made.order)
    batch, _ = scene(size=64)
    for one, other in zip(
        made.head.proposals(made(batch), batch.sizes), again.head.proposals(again(batch), batch.sizes)
    ):
        assert len(one) and torch.equal(one.boxes, other.boxes)


def test_what_a_backbone_does_not_have_is_said():
    with pytest.raises(UserError, match=r"widen and deepen are for .*; backbone mnv2_050 has one size"):
        build_detector("rtmdet_mnv2_050", CLASSES, pretrained=False, body_options={"widen": 0.5})
    with pytest.raises(UserError, match="body_options: widen must be more than 0"):
        build_detector("rtmdet_s", CLASSES, pretrained=False, body_options={"widen": 0})
    with pytest.raises(UserError, match="detector yolox_s has no option 'extra'"):
        build_detector("yolox_s", CLASSES, pretrained=False, extra="on_input")
