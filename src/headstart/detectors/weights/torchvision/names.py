"""torchvision's keys and classes, and the rules (`KeyRules`) that turn its keys into ours."""

from __future__ import annotations

RESNET = [(r"backbone\.body\.((?:conv1|bn1|layer[1-4])\..+)", r"backbone.body.\1")]

FPN = [
    # Up to version 0.12 the convolutions stood alone, since then in a block of their own.
    (r"backbone\.fpn\.inner_blocks\.(\d+)\.(?:0\.)?(weight|bias)", r"neck.lateral.\1.\2"),
    (r"backbone\.fpn\.layer_blocks\.(\d+)\.(?:0\.)?(weight|bias)", r"neck.output.\1.\2"),
    (r"backbone\.fpn\.extra_blocks\.p6\.(weight|bias)", r"neck.extra.0.\1"),
    (r"backbone\.fpn\.extra_blocks\.p7\.(weight|bias)", r"neck.extra.1.\1"),
]

FPN_NORM = [
    (r"backbone\.fpn\.inner_blocks\.(\d+)\.([01])\.(\w+)", r"neck.lateral.\1.\2.\3"),
    (r"backbone\.fpn\.layer_blocks\.(\d+)\.([01])\.(\w+)", r"neck.output.\1.\2.\3"),
]

_TOWERS = {"cls": "classification", "reg": "regression"}
_DEPTHS = range(8)

_PREDICTORS = [
    (r"head\.classification_head\.cls_logits\.(weight|bias)", r"head.cls.\1"),
    (r"head\.regression_head\.bbox_reg\.(weight|bias)", r"head.reg.\1"),
    (r"head\.regression_head\.bbox_ctrness\.(weight|bias)", r"head.centreness.\1"),
]


def _tower(ours: str, theirs: str, conv: str, norm: str, block: int) -> list[tuple[str, str]]:
    start = rf"head\.{theirs}_head\.conv\."
    return [
        (rf"{start}{conv}\.(weight|bias)", rf"head.{ours}_tower.convs.{block}.\1"),
        (rf"{start}{norm}\.(weight|bias)", rf"head.{ours}_tower.norms.{block}.\1"),
    ]


RETINANET = [
    *_PREDICTORS,
    *(r for a, b in _TOWERS.items() for i in _DEPTHS for r in _tower(a, b, rf"{i}\.0", rf"{i}\.1", i)),
    # Up to version 0.12 convolutions and ReLUs were numbered through.
    *(r for a, b in _TOWERS.items() for i in _DEPTHS for r in _tower(a, b, str(2 * i), "none", i)),
]

FCOS = [
    *_PREDICTORS,
    # Convolution, norm and ReLU are numbered through.
    *(r for a, b in _TOWERS.items() for i in _DEPTHS for r in _tower(a, b, str(3 * i), str(3 * i + 1), i)),
]

FASTER_RCNN = [
    (r"rpn\.head\.conv\.(weight|bias)", r"head.rpn.tower.convs.0.\1"),
    (r"rpn\.head\.conv\.(\d+)\.0\.(weight|bias)", r"head.rpn.tower.convs.\1.\2"),
    (r"rpn\.head\.cls_logits\.(weight|bias)", r"head.rpn.cls.\1"),
    (r"rpn\.head\.bbox_pred\.(weight|bias)", r"head.rpn.reg.\1"),
    (r"roi_heads\.box_head\.fc6\.(weight|bias)", r"head.roi.fcs.0.\1"),
    (r"roi_heads\.box_head\.fc7\.(weight|bias)", r"head.roi.fcs.1.\1"),
    (r"roi_heads\.box_head\.([0-3])\.0\.weight", r"head.roi.convs.\1.weight"),
    (r"roi_heads\.box_head\.([0-3])\.1\.(\w+)", r"head.roi.norms.\1.\2"),
    (r"roi_heads\.box_head\.5\.(weight|bias)", r"head.roi.fcs.0.\1"),
    (r"roi_heads\.box_predictor\.cls_score\.(weight|bias)", r"head.roi.cls.\1"),
    (r"roi_heads\.box_predictor\.bbox_pred\.(weight|bias)", r"head.roi.reg.\1"),
]

MASKS = [(r"roi_heads\.mask_(?:head|predictor)\..+", "masks are left out, boxes are read")]

_MOBILENET_BLOCKS = {
    number: f"{stage}.{block}"
    for number, (stage, block) in enumerate(
        ((stage, block) for stage, count in enumerate((1, 2, 3, 4, 2, 3)) for block in range(count)), start=1
    )
}
"""torchvision numbers the blocks of MobileNetV3 through, timm by stage and block."""


def _mobilenet_block(number: int, place: str) -> list[tuple[str, str]]:
    theirs, ours = rf"backbone\.body\.{number}\.block", f"backbone.body.blocks.{place}"
    if number == 1:  # the only block that does not widen
        layers = [("0", "conv_dw", "bn1"), ("1", "conv_pw", "bn2")]
    else:
        last = "3" if number in (4, 5, 6, 11, 12, 13, 14, 15) else "2"  # those have squeeze and excitation as layer 2
        layers = [("0", "conv_pw", "bn1"), ("1", "conv_dw", "bn2"), (last, "conv_pwl", "bn3")]
    rules = [
        rule
        for layer, conv, norm in layers
        for rule in (
            (rf"{theirs}\.{layer}\.0\.weight", f"{ours}.{conv}.weight"),
            (rf"{theirs}\.{layer}\.1\.(\w+)", rf"{ours}.{norm}.\1"),
        )
    ]
    rules += [
        (rf"{theirs}\.2\.fc1\.(weight|bias)", rf"{ours}.se.conv_reduce.\1"),
        (rf"{theirs}\.2\.fc2\.(weight|bias)", rf"{ours}.se.conv_expand.\1"),
    ]
    return rules


MOBILENET_V3 = [
    (r"backbone\.body\.0\.0\.weight", "backbone.body.conv_stem.weight"),
    (r"backbone\.body\.0\.1\.(\w+)", r"backbone.body.bn1.\1"),
    *(rule for number, place in _MOBILENET_BLOCKS.items() for rule in _mobilenet_block(number, place)),
    (r"backbone\.body\.16\.0\.weight", "backbone.body.blocks.6.0.conv.weight"),
    (r"backbone\.body\.16\.1\.(\w+)", r"backbone.body.blocks.6.0.bn1.\1"),
]

TITLES = {"retinanet": "RetinaNet", "fcos": "FCOS", "fasterrcnn": "Faster R-CNN", "maskrcnn": "Mask R-CNN"}

BACKGROUND, UNUSED = "__background__", "N/A"
"""torchvision's names for those of the 91 outputs of its COCO weights that belong to no class."""


def coco_outputs() -> list[str]:
    """The names of the 91 outputs of torchvision's own weights: background, 80 classes and 10 unused numbers."""
    from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

    return list(FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"])


def coco_classes() -> tuple[str, ...]:
    """The 80 classes of COCO in the order of their category numbers."""
    return tuple(name for name in coco_outputs() if name not in (BACKGROUND, UNUSED))


def official_files() -> dict[str, str]:
    """The first digits of the SHA-256 of each of torchvision's own detection files -> its builder and weights."""
    import torchvision
    from torchvision.models import get_model_weights, list_models

    found = {}
    for name in list_models(module=torchvision.models.detection):
        for weights in get_model_weights(name):
            digits = weights.url.rpartition("-")[2].partition(".")[0]
            found[digits] = f"{name}_{weights.name.partition('_')[0].lower()}"
    return found
