"""How boxes are chosen from predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from headstart.options import Amount, Count, Share


@dataclass(frozen=True)
class Selection:
    """How boxes are chosen from predictions.

    nms_pre          candidates with the best scores that are kept on each level before NMS (dense heads only)
    score_threshold  candidates must score more than this, 0..1 (None: no limit)
    iou_threshold    IoU, 0..1, above which NMS removes the box with the lower score
    max_detections   boxes left per image
    min_size         boxes narrower or lower than this (pixels) after clipping are dropped; 0: those without area, None:
                     none
    """

    nms_pre: Count
    score_threshold: Share | None
    iou_threshold: Share
    max_detections: Count
    min_size: Amount | None = 0.0

    aliases: ClassVar[Mapping[str, str]] = {
        "per_level": "nms_pre",
        "threshold": "score_threshold",
        "overlap": "iou_threshold",
        "keep": "max_detections",
        "least": "min_size",
    }

    def large_enough(self, boxes: Tensor) -> Tensor:
        """Which of clipped boxes (N, 4) are not too small: (N,) bool."""
        sides = (boxes[:, 2:] - boxes[:, :2]).amin(dim=1)
        if self.min_size is None:
            return torch.ones_like(sides, dtype=torch.bool)
        return sides >= self.min_size if self.min_size > 0 else sides > 0


DETECTIONS = Selection(nms_pre=1000, score_threshold=0.05, iou_threshold=0.5, max_detections=100)
"""Of most papers' detectors."""

PROPOSALS = Selection(nms_pre=2000, score_threshold=None, iou_threshold=0.7, max_detections=1000)
"""From which the regions of a step are sampled."""
