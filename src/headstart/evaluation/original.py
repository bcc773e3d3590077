"""From the padded input of a detector back to the pixels of the stored image."""

from __future__ import annotations

import torch

from headstart.structures import Detections, ImageBatch


def to_original(detections: Detections, batch: ImageBatch, index: int) -> Detections:
    """The detections of image `index` of the batch in pixels of the stored image, clipped to it.

    Height and width are scaled on their own, because a resized image is rounded to whole pixels on each side. Boxes
    come back in float32 at least, so that a coordinate of a half-precision detector is not rounded once more.
    Everything that scores, draws or writes detections goes through here.
    """
    height, width = batch.sizes[index]
    stored_height, stored_width = batch.originals[index]
    boxes = detections.boxes
    boxes = boxes.to(torch.promote_types(boxes.dtype, torch.float32))
    scale = boxes.new_tensor([stored_width / width, stored_height / height] * 2)
    limit = boxes.new_tensor([stored_width, stored_height] * 2)
    boxes = torch.minimum((boxes * scale).clamp(min=0), limit)
    return Detections(boxes, detections.scores, detections.labels, detections.cells)
