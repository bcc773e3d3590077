"""mmdetection's keys, and the rules (`KeyRules`) that turn them into ours."""

from __future__ import annotations

RESNET = [(r"backbone\.((?:conv1|bn1|layer[1-4])\..+)", r"backbone.body.\1")]

_LAYERS = {"expand_conv": ("conv_pw", "bn1"), "depthwise_conv": ("conv_dw", "bn2"), "linear_conv": ("conv_pwl", "bn3")}
_FIRST = {"depthwise_conv": ("conv_dw", "bn1"), "linear_conv": ("conv_pw", "bn2")}


def _inverted(layer: int, layers: dict[str, tuple[str, str]]) -> list[tuple[str, str]]:
    """The rules of one group of blocks: they are numbered from 1 there, from 0 in timm."""
    ours = rf"backbone.body.blocks.{layer - 1}.\1"
    return [
        rule
        for name, (conv, norm) in layers.items()
        for rule in (
            (rf"backbone\.layer{layer}\.(\d+)\.{name}\.conv\.weight", f"{ours}.{conv}.weight"),
            (rf"backbone\.layer{layer}\.(\d+)\.{name}\.bn\.(\w+)", rf"{ours}.{norm}.\2"),
        )
    ]


MOBILENET_V2 = [
    (r"backbone\.conv1\.conv\.weight", "backbone.body.conv_stem.weight"),
    (r"backbone\.conv1\.bn\.(\w+)", r"backbone.body.bn1.\1"),
    *_inverted(1, _FIRST),
    *(rule for layer in range(2, 8) for rule in _inverted(layer, _LAYERS)),
    (r"backbone\.conv2\.conv\.weight", "backbone.body.conv_head.weight"),
    (r"backbone\.conv2\.bn\.(\w+)", r"backbone.body.bn2.\1"),
]

SWIN = [
    (r"backbone\.patch_embed\.projection\.(\w+)", r"backbone.body.features.patch_embed.proj.\1"),
    (r"backbone\.patch_embed\.norm\.(\w+)", r"backbone.body.features.patch_embed.norm.\1"),
    (
        r"backbone\.stages\.(\d)\.blocks\.(\d+)\.attn\.w_msa\.(.+)",
        r"backbone.body.features.layers_\1.blocks.\2.attn.\3",
    ),
    (
        r"backbone\.stages\.(\d)\.blocks\.(\d+)\.(norm[12])\.(\w+)",
        r"backbone.body.features.layers_\1.blocks.\2.\3.\4",
    ),
    (
        r"backbone\.stages\.(\d)\.blocks\.(\d+)\.ffn\.layers\.0\.0\.(\w+)",
        r"backbone.body.features.layers_\1.blocks.\2.mlp.fc1.\3",
    ),
    (
        r"backbone\.stages\.(\d)\.blocks\.(\d+)\.ffn\.layers\.1\.(\w+)",
        r"backbone.body.features.layers_\1.blocks.\2.mlp.fc2.\3",
    ),
    # Patches are merged at the end of a stage there, at the beginning of the next one in timm.
    *(
        (
            rf"backbone\.stages\.{stage}\.downsample\.(.+)",
            rf"backbone.body.features.layers_{stage + 1}.downsample.\1",
        )
        for stage in range(3)
    ),
]

CSPNEXT = [
    (r"backbone\.stem\.(.+)", r"backbone.body.model.stem.\1"),
    *((rf"backbone\.stage{stage + 1}\.(.+)", rf"backbone.body.model.stages.{stage}.\1") for stage in range(4)),
]

CSP_DARKNET = [(r"backbone\.(stem|stage[1-4])\.(.+)", r"backbone.body.\1.\2")]

PAFPN = [
    (r"neck\.(reduce_layers|top_down_blocks|downsamples|bottom_up_blocks|out_convs)\.(.+)", r"neck.\1.\2"),
]

_FPN_KINDS = {"conv": "0", "gn": "1", "bn": "1"}


def fpn_rules(laterals: int, norm: bool) -> list[tuple[str, str]]:
    """The rules of an FPN: its output convolutions beyond the laterals make the extra levels."""
    rules = []
    for kind, place in _FPN_KINDS.items():
        inside = f"{place}." if norm else ""
        rules.append((rf"neck\.lateral_convs\.(\d+)\.{kind}\.(\w+)", rf"neck.lateral.\1.{inside}\2"))
        for number in range(laterals + 4):
            ours = f"output.{number}" if number < laterals else f"extra.{number - laterals}"
            rules.append((rf"neck\.fpn_convs\.{number}\.{kind}\.(\w+)", rf"neck.{ours}.{inside}\1"))
    return rules


DENSE = [
    (r"bbox_head\.(cls|reg)_convs\.(\d+)\.conv\.(\w+)", r"head.\1_tower.convs.\2.\3"),
    (r"bbox_head\.(cls|reg)_convs\.(\d+)\.gn\.(\w+)", r"head.\1_tower.norms.\2.\3"),
    # FCOS's layers were called fcos_* in the earliest files.
    (r"bbox_head\.(?:retina|conv|fcos|atss|gfl)_(cls|reg)\.(\w+)", r"head.\1.\2"),
    (r"bbox_head\.(?:conv|fcos|atss)_centerness\.(\w+)", r"head.centreness.\1"),
    (r"bbox_head\.scales\.(\d+)\.scale", r"head.scales.\1"),
    (r"bbox_head\.reppoints_cls_conv\.(\w+)", r"head.cls_conv.\1"),
    (r"bbox_head\.reppoints_cls_out\.(\w+)", r"head.cls.\1"),
    (r"bbox_head\.reppoints_pts_init_conv\.(\w+)", r"head.initial_conv.\1"),
    (r"bbox_head\.reppoints_pts_init_out\.(\w+)", r"head.initial.\1"),
    (r"bbox_head\.reppoints_pts_refine_conv\.(\w+)", r"head.reg_conv.\1"),
    (r"bbox_head\.reppoints_pts_refine_out\.(\w+)", r"head.reg.\1"),
    (r"bbox_head\.moment_transfer", "head.moment"),
]

RTMDET = [
    (r"bbox_head\.(cls|reg)_convs\.0\.(\d+)\.conv\.weight", r"head.\1_tower.convs.\2.weight"),
    (r"bbox_head\.(cls|reg)_convs\.(\d+)\.(\d+)\.bn\.(\w+)", r"head.\1_tower.norms.\2.\3.\4"),
    (r"bbox_head\.rtm_(cls|reg)\.(\d+)\.(\w+)", r"head.\1.\2.\3"),
]

SHARED = [
    (
        r"bbox_head\.(cls|reg)_convs\.[1-9]\d*\.\d+\.conv\.weight",
        "convolutions that the levels share are stored once for each level, and read once",
    )
]

_YOLOX_BLOCK = r"bbox_head\.multi_level_(cls|reg)_convs\.(\d+)\.(\d+)"

YOLOX = [
    (rf"{_YOLOX_BLOCK}\.conv\.weight", r"head.\1_tower.convs.\2.\3.weight"),
    (rf"{_YOLOX_BLOCK}\.depthwise_conv\.(conv|bn)\.(\w+)", r"head.\1_tower.convs.\2.\3.0.\4.\5"),
    (rf"{_YOLOX_BLOCK}\.pointwise_conv\.conv\.weight", r"head.\1_tower.convs.\2.\3.1.weight"),
    (rf"{_YOLOX_BLOCK}\.(?:pointwise_conv\.)?bn\.(\w+)", r"head.\1_tower.norms.\2.\3.\4"),
    (r"bbox_head\.multi_level_conv_(cls|reg|obj)\.(\d+)\.(\w+)", r"head.\1.\2.\3"),
]

RPN = [
    (r"rpn_head\.rpn_conv\.(\w+)", r"head.rpn.tower.convs.0.\1"),
    (r"rpn_head\.rpn_(cls|reg)\.(\w+)", r"head.rpn.\1.\2"),
]


def box_head_rules(theirs: str, ours: str) -> list[tuple[str, str]]:
    """The rules of the box head called `theirs` (a regular expression)."""
    return [
        (rf"{theirs}\.shared_convs\.(\d+)\.conv\.weight", rf"{ours}.convs.\1.weight"),
        (rf"{theirs}\.shared_convs\.(\d+)\.bn\.(\w+)", rf"{ours}.norms.\1.\2"),
        (rf"{theirs}\.shared_fcs\.(\d+)\.(\w+)", rf"{ours}.fcs.\1.\2"),
        (rf"{theirs}\.fc_(cls|reg)\.(\w+)", rf"{ours}.\1.\2"),
    ]


BOX_HEAD = box_head_rules(r"roi_head\.bbox_head", "head.roi")
CASCADE = [r for stage in range(3) for r in box_head_rules(rf"roi_head\.bbox_head\.{stage}", f"head.roi.heads.{stage}")]

MASKS = [(r"roi_head\.mask_head\..+", "masks are left out, boxes are read")]
AVERAGES = [(r"ema_.+", "the other set of an average of the weights is left out")]
ASSISTANTS = [(r"roi_head\..+", "the assistant of HEAD, which only training needs, is left out")]
ADAPTERS = [(r"_distiller\..+", "adapters of a distillation, which only training needs, are left out")]
CONSTANTS = [(r"bbox_head\.integral\.project", "the places 0, 1, 2 ... of GFL's distributions are no weights")]

FAMILIES = {
    "bbox_head.retina_cls.weight": "retinanet",
    "bbox_head.conv_cls.weight": "fcos",
    "bbox_head.fcos_cls.weight": "fcos",
    "bbox_head.atss_cls.weight": "atss",
    "bbox_head.gfl_cls.weight": "gfl",
    "bbox_head.reppoints_cls_out.weight": "reppoints",
    "bbox_head.rtm_cls.0.weight": "rtmdet",
    "bbox_head.multi_level_conv_cls.0.weight": "yolox",
    "roi_head.bbox_head.fc_cls.weight": "fasterrcnn",
    "roi_head.bbox_head.0.fc_cls.weight": "cascadercnn",
}
"""The key that only detectors of a family have -> the family."""

TITLES = {
    ("retinanet", False): "RetinaNet",
    ("fcos", False): "FCOS",
    ("atss", False): "ATSS",
    ("gfl", False): "GFL",
    ("reppoints", False): "RepPoints",
    ("rtmdet", False): "RTMDet",
    ("yolox", False): "YOLOX",
    ("fasterrcnn", False): "Faster R-CNN",
    ("fasterrcnn", True): "Mask R-CNN",
    ("cascadercnn", False): "Cascade R-CNN",
    ("cascadercnn", True): "Cascade Mask R-CNN",
}
"""(family, whether it has a mask head) -> its usual name."""
