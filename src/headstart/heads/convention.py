"""What detectors of the same layers compute differently, from one library to another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Convention:
    """How a head's weights are to be read. The defaults are mmdetection's and our own.

    whole_anchors  anchors' sides are cut and their corners rounded to whole pixels
    even_steps     cells share the padded image in equal whole steps; else they lie a stride apart, which differs on
                   levels whose stride does not divide the image
    shrink_limit   log sizes are limited from below too, not only from above, when deltas are decoded
    point          where in its cell, from 0 to 1, the point of an anchor-free head lies
    joint_score    candidates are chosen by the root of class times quality; else by class, and scored class x quality
    aligned        RoIAlign counts a cell's centre as half a pixel and reads regions of any size; else from the corner,
                   regions at least one cell wide
    sampling_ratio RoIAlign's samples per cell and axis; 0: as many as the region is cells wide

    Source: mmdetection 3.0 (tests/parity), torchvision 0.29 (tests/detectors/weights/test_torchvision.py).
    """

    whole_anchors: bool = False
    even_steps: bool = False
    shrink_limit: bool = True
    point: float = 0.5
    joint_score: bool = False
    aligned: bool = True
    sampling_ratio: int = 0


OWN = Convention()

ConventionName = Literal["mmdetection", "torchvision"]

CONVENTIONS: dict[ConventionName, Convention] = {
    "mmdetection": OWN,
    "torchvision": Convention(
        whole_anchors=True,
        even_steps=True,
        shrink_limit=False,
        point=0.0,
        joint_score=True,
        aligned=False,
        sampling_ratio=2,
    ),
}
"""By the name that options have for them."""
