"""Backbones that exist at any width and depth, and the numbers of their named sizes."""

from __future__ import annotations

from dataclasses import dataclass

from headstart.errors import UserError


@dataclass(frozen=True)
class Scale:
    """Factors of channels (`widen`) and blocks (`deepen`); `depthwise`: 3x3 convolutions look at each channel alone."""

    widen: float
    deepen: float
    depthwise: bool = False


SCALES = {
    "cspnext_tiny": Scale(0.375, 0.167),
    "cspnext_s": Scale(0.5, 0.33),
    "cspnext_m": Scale(0.75, 0.67),
    "cspnext_l": Scale(1.0, 1.0),
    "cspnext_x": Scale(1.25, 1.33),
    "csp_darknet_nano": Scale(0.25, 0.33, depthwise=True),
    "csp_darknet_tiny": Scale(0.375, 0.33),
    "csp_darknet_s": Scale(0.5, 0.33),
    "csp_darknet_m": Scale(0.75, 0.67),
    "csp_darknet_l": Scale(1.0, 1.0),
    "csp_darknet_x": Scale(1.25, 1.33),
}
"""RTMDet's backbones, which are timm's, and YOLOX's, which are ours."""


def scale_of(name: str, widen: float | None = None, deepen: float | None = None) -> Scale | None:
    """The numbers of a backbone, `widen` and `deepen` replacing its own; None for one that has none.

    Raises UserError for factors of such a backbone.
    """
    scale = SCALES.get(name)
    if scale is None:
        if widen is not None or deepen is not None:
            raise UserError(f"widen and deepen are for {', '.join(SCALES)}; backbone {name} has one size")
        return None
    return Scale(scale.widen if widen is None else widen, scale.deepen if deepen is None else deepen, scale.depthwise)
