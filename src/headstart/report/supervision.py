"""Detections for the package `supervision`, which draws, tracks, counts and writes data sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from headstart.errors import UserError

if TYPE_CHECKING:
    import supervision

    from headstart.structures import Detections


def convert(found: Detections, classes: Sequence[str] | None = None) -> supervision.Detections:
    """`found` as `supervision.Detections`: copies in numpy, in the same order, in the same pixels.

    `xyxy` (N, 4) float32, `confidence` (N,) float32 in 0..1, `class_id` (N,) int64; with `classes`, the detector's
    names in order, also `data["class_name"]` (N,) text. The cells are left out.
    Raises UserError where the package is not installed, and ValueError for a label that `classes` has no name for.
    """
    try:
        import supervision
    except ModuleNotFoundError as error:
        if error.name != "supervision":
            raise
        raise UserError("to_supervision needs a package: pip install 'headstart[supervision]'.") from None
    labels = found.labels.detach().cpu().numpy().copy()
    if classes is not None and len(labels) and labels.max() >= len(classes):
        raise ValueError(f"label {labels.max()} has no name among {len(classes)} classes")
    return supervision.Detections(
        xyxy=found.boxes.detach().float().cpu().numpy().copy(),
        confidence=found.scores.detach().float().cpu().numpy().copy(),
        class_id=labels,
        data={} if classes is None else {"class_name": np.array([classes[label] for label in labels], dtype=str)},
    )
