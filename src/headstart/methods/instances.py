"""Boxes about which a student and a teacher disagree: the instances of GID."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import clip_boxes_to_image

from headstart.boxes import pairwise_iou
from headstart.cached_tensor import cached_tensor
from headstart.classmap import ClassMap
from headstart.heads.cells import shapes
from headstart.heads.dense import DenseHead
from headstart.methods.criteria.cells import every_prior
from headstart.ordering import stable_nms, stable_topk
from headstart.priors import index_cells, valid_flags
from headstart.structures import DenseOutputs, Detections, Size, Targets

CANDIDATES = 3000
"""Of an image, before NMS."""

OVERLAP = 0.3
"""The IoU above which NMS removes the instance that is less disagreed about."""

PROPOSALS = 300
"""Of each side, where the heads do not correspond."""


@torch.no_grad()
def disagreeing_priors(
    heads: tuple[DenseHead, DenseHead],
    outputs: tuple[DenseOutputs, DenseOutputs],
    classes: ClassMap,
    sizes: Sequence[Size],
    count: int,
) -> list[Targets]:
    """At most `count` boxes per image where two heads of one layout, student and teacher, disagree most.

    A prior's disagreement is |its largest class probability of the one side - that of the other|, of the classes that
    both know; its box and label (the student's number) are those of the side with the larger one. The 3000 with the
    largest disagreement go through an NMS at 0.3.

    Source: GID's selection (arXiv:2103.02340), constants of its rewritten code (daixinghome/Distill_GID_detectron2,
    GID/gid/distill_gid.py at 5dfc0d5), which also drops boxes narrower than 10 pixels; here those without area.
    """
    own, theirs = heads
    levels = len(outputs[0].cls)
    logits, boxes = every_prior(own, outputs[0], levels, classes.pick)
    goal, goals = every_prior(theirs, outputs[1], levels, classes.pull_logits)
    (sure, label), (known, goal_label) = logits.sigmoid().max(dim=-1), goal.sigmoid().max(dim=-1)
    better = (known > sure)[..., None]
    boxes = torch.where(better, goals, boxes)
    label = cached_tensor(classes.known, torch.int64, label.device)[torch.where(better[..., 0], goal_label, label)]
    cells = index_cells(shapes(outputs[0]), own.num_anchors, boxes.device)
    return [
        _choose(boxes[i], (known[i] - sure[i]).abs(), label[i], size, count, valid_flags(cells, own.strides, size))
        for i, size in enumerate(sizes)
    ]


@torch.no_grad()
def disagreeing_proposals(
    own: Sequence[Detections], theirs: Sequence[Detections], sizes: Sequence[Size], count: int
) -> list[Targets]:
    """At most `count` boxes per image where two detectors of any kind disagree most, from the proposals of both.

    What a side thinks of a box is the largest score x IoU of its own proposals with it; a box's disagreement is the
    difference of the two. The 300 best proposals of each side are asked about. Labels are 0. In place of
    `disagreeing_priors` where priors do not correspond; no paper has it.
    """
    found = []
    for mine, other, size in zip(own, theirs, sizes):
        mine, other = mine[:PROPOSALS], other[:PROPOSALS]
        boxes = torch.cat([mine.boxes, other.boxes]).float()
        gap = (_opinion(boxes, mine) - _opinion(boxes, other)).abs()
        everywhere = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
        found.append(_choose(boxes, gap, torch.zeros_like(gap, dtype=torch.int64), size, count, everywhere))
    return found


def _opinion(boxes: Tensor, proposals: Detections) -> Tensor:
    """(N,): the largest score x IoU of proposals with boxes (N, 4)."""
    if not len(proposals):
        return boxes.new_zeros(len(boxes))
    return (pairwise_iou(boxes, proposals.boxes.float()) * proposals.scores.float()).amax(dim=1)


def _choose(boxes: Tensor, gap: Tensor, labels: Tensor, size: Size, count: int, usable: Tensor) -> Targets:
    """The boxes (N, 4), clipped to the image, with the largest gap (N,)."""
    boxes = clip_boxes_to_image(boxes, size)
    rows = (usable & ((boxes[:, 2:] - boxes[:, :2]).amin(dim=1) > 0)).nonzero().flatten()
    rows = rows[stable_topk(gap[rows], min(CANDIDATES, len(rows)))]
    rows = rows[stable_nms(boxes[rows], gap[rows], torch.zeros_like(rows), OVERLAP)[:count]]
    return Targets(boxes[rows], labels[rows], torch.zeros(len(rows), dtype=torch.bool, device=boxes.device))
