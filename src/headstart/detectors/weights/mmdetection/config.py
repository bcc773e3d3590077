"""What weights leave open, from mmdetection's configuration in the checkpoint, or else from the name of the file."""

from __future__ import annotations

from collections.abc import Mapping

from headstart.detectors.weights.hints import Hints
from headstart.detectors.weights.key_mapping import ImageSize
from headstart.detectors.weights.mmdetection.config_text import Config, find_type, look, read_config
from headstart.errors import UserError
from headstart.structures import Size

Normalisation = tuple[tuple[float, float, float], tuple[float, float, float], str]
"""Mean and standard deviation per channel, of pixel values in 0..255, and the order of the channels, "RGB" or "BGR"."""

TORCHVISION: Normalisation = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), "RGB")
CAFFE: Normalisation = ((103.53, 116.28, 123.675), (1.0, 1.0, 1.0), "BGR")
FIRST_CAFFE: Normalisation = ((102.9801, 115.9465, 122.7717), (1.0, 1.0, 1.0), "BGR")
"""For the ResNets that FCOS was first trained with."""
DETECTRON2: Normalisation = ((103.53, 116.28, 123.675), (57.375, 57.12, 58.395), "BGR")
"""For the ResNeXt-101 32x8d that mmdetection took from detectron2."""

OFFICIAL_NAME = r"(retinanet|fcos|atss|gfl|reppoints|r-?cnn).*[_-][rx](18|34|50|101|152)(?!\d)"
"""How mmdetection names its files; the names of those with Caffe's backbones contain "caffe"."""

UNLIMITED = 1_000_000
"""A number of boxes that stands for mmdetection's -1, no limit."""

BOTTLENECKS = ("resnet50", "resnet101", "resnet152")
"""ResNets that are common in PyTorch's style and in Caffe's."""


def config_of(hints: Hints) -> dict[str, object]:
    """The configuration in a checkpoint (2.x: `config`, 3.x: `cfg`), {} if there is none or it cannot be read."""
    text = hints.meta.get("cfg", hints.meta.get("config"))
    return read_config(text) if isinstance(text, str) else {}


def is_caffe_style(config: Config, hints: Hints, backbone: str) -> bool:
    """Whether blocks halve their maps in the first convolution (Caffe's style), which shapes do not show.

    Raises UserError where nothing says so.
    """
    if look(config, "model.backbone"):
        return look(config, "model.backbone.style", "pytorch") == "caffe"
    if hints.name_has("caffe"):
        return True
    if hints.name_has("pytorch") or hints.name_has(OFFICIAL_NAME) or backbone not in BOTTLENECKS:
        return False
    raise UserError(
        f"does not say which {backbone} it has, PyTorch's (RGB images, stride in 3x3 convolutions) or Caffe's (BGR, "
        "stride in 1x1 ones): give --as pytorch or --as caffe, or the name of its configuration"
    )


def read_normalisation(config: Config, hints: Hints, backbone: str, *, caffe: bool, plain_fcos: bool) -> Normalisation:
    """How images were normalised in training; `caffe` and `plain_fcos` decide where no configuration says it.

    Raises UserError for a configuration that says it in a way that is not understood, and where nothing says it.
    """
    said = said_normalisation(config)
    if said is not None:
        return said
    if backbone == "resnext101_32x8d":
        if hints.name_has("x101_32x8d|x101-32x8d|detectron2"):
            return DETECTRON2
        raise UserError(
            "does not say how its images are normalised, and for a ResNeXt-101 32x8d two ways are common: give --as "
            "detectron2 (BGR, as in mmdetection's own files), or save the checkpoint with its configuration"
        )
    if caffe:
        return FIRST_CAFFE if plain_fcos else CAFFE
    return TORCHVISION


def said_normalisation(config: Config) -> Normalisation | None:
    """The normalisation that a configuration names, None if it names none.

    Raises UserError if it says it in a way that is not understood.
    """
    demand(config, "model.data_preprocessor.rgb_to_bgr", False)
    found = look(config, "model.data_preprocessor")
    if isinstance(found, Mapping) and found.get("mean"):
        return _normalisation(found, rgb=found.get("bgr_to_rgb", False))
    found = next(find_type([config.get("data"), config.get("test_pipeline")], "Normalize"), None)
    found = found or config.get("img_norm_cfg")
    if isinstance(found, Mapping) and found.get("mean"):
        return _normalisation(found, rgb=found.get("to_rgb", True))
    return None


def _normalisation(found: Config, *, rgb: object) -> Normalisation:
    if not isinstance(rgb, bool):
        raise UserError(f"has a configuration that does not say whether images are RGB or BGR: {rgb}")
    rows = []
    for key in ("mean", "std"):
        row = found.get(key)
        numbers = [float(v) for v in row if type(v) in (int, float)] if isinstance(row, list) else []
        if not isinstance(row, list) or len(row) != 3 or len(numbers) != 3:
            raise UserError(f"has a configuration whose {key} of the pixels is no three numbers: {row}")
        rows.append((numbers[0], numbers[1], numbers[2]))
    if 0.0 in rows[1]:
        raise UserError("has a configuration that divides pixels by zero")
    return rows[0], rows[1], "RGB" if rgb else "BGR"


def read_size(
    config: Config, default: Size = (800, 1333), whose: str = "mmdetection does unless told otherwise"
) -> tuple[ImageSize, list[str]]:
    """The size of images (sides in pixels) when the detector was tested, and notes on it, a sentence each.

    `default`: the shorter and the longer side where the configuration does not say it, and `whose` they are.
    """
    places = [config.get("test_pipeline"), look(config, "test_dataloader"), look(config, "data.test")]
    scale = None
    for kind, key in (("MultiScaleFlipAug", "img_scale"), ("Resize", "scale")):
        scale = scale or next((found.get(key) for found in find_type(places, kind) if found.get(key)), None)
    padded = [look(config, "model.data_preprocessor.pad_size_divisor")]
    padded += [found.get("size_divisor") for found in find_type(places, "Pad")]
    notes = [
        f"images were padded to multiples of {side} there, of 32 here" for side in padded if side not in (None, 32)
    ]
    if any(found.get("keep_ratio") is False for found in find_type(places, "Resize")):
        notes.append("images were stretched to one size there, here they keep their proportions")
    scale = scale[0] if isinstance(scale, list) and len(scale) == 1 else scale
    sides = [side for side in scale if isinstance(side, int) and side > 0] if isinstance(scale, list) else []
    if isinstance(scale, list) and len(scale) == len(sides) == 2:
        return {"short": min(sides), "long": max(sides), "resize": "opencv"}, notes
    short, long = default
    note = f"images are fitted into {long} x {short} pixels, as {whose} (or --imgsz)"
    return {"short": short, "long": long, "resize": "opencv"}, [*notes, note]


def read_selection(config: Config, part: str | None = None) -> dict[str, object]:
    """Changes to how boxes are selected when testing; `part` is rpn or rcnn in two-stage detectors."""
    test = look(config, "model.test_cfg", look(config, "test_cfg", {}))
    test = look(test, part, {}) if part else test
    nms = look(test, "nms", {})
    found = {
        "nms_pre": look(test, "nms_pre"),
        "score_threshold": look(test, "score_thr"),
        "iou_threshold": look(nms, "iou_threshold", look(nms, "iou_thr", look(test, "nms_thr"))),
        "max_detections": look(test, "max_per_img", look(test, "max_num", look(test, "nms_post"))),
    }
    for key in ("nms_pre", "max_detections"):
        value = found[key]
        if isinstance(value, int) and value <= 0:
            found[key] = UNLIMITED
    least = look(test, "min_bbox_size", 0)
    if least:
        found["min_size"] = least
    wrong = [key for key, value in found.items() if value is not None and not _fits(key, value)]
    if wrong or look(nms, "type", "nms") not in ("nms", "soft_nms") or look(nms, "class_agnostic"):
        raise UserError(f"has a configuration for testing that cannot be followed: {test}")
    return {key: value for key, value in found.items() if value is not None}


def _fits(key: str, value: object) -> bool:
    """Whether a value is a number that the key of a selection may have."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if key in ("nms_pre", "max_detections"):
        return isinstance(value, int)
    return value >= 0 and (key == "min_size" or value <= 1)


def number(config: Config, path: str, default: float) -> float:
    """The number above 0 at `path`. Raises UserError if something else stands there."""
    found = look(config, path, default)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found < 1e6:
        raise UserError(f"has {path} {found} in its configuration, where a number above 0 is expected")
    return float(found)


def demand(config: Config, path: str, *allowed: object) -> None:
    """Raises UserError if the configuration has a value at `path` that is not among `allowed`; it may have none."""
    found = look(config, path)
    if found is not None and not any(_equal(found, value) for value in allowed):
        only = f"only {' or '.join(map(str, allowed))} can" if allowed else "that cannot"
        raise UserError(f"has {path} {found} in its configuration, and {only} be imported")


def _equal(found: object, value: object) -> bool:
    """Whether a value of a configuration is `value`: numbers up to rounding, names with or without their package."""
    if isinstance(value, list | tuple):
        return isinstance(found, list) and len(found) == len(value) and all(map(_equal, found, value))
    if isinstance(value, float) and isinstance(found, int | float):
        return abs(found - value) < 1e-9
    if isinstance(value, str) and isinstance(found, str):
        return found.rpartition(".")[2] == value  # with or without the package
    return found == value
