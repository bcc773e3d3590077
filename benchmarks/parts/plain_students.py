"""Assignment and losses of RTMDet and YOLOX written plainly after mmdetection 3.3.0: image by image, object by object.

Restated from the formulas, with mmdetection's order of work: one-hot targets of every candidate, object and class; a
loop over the objects for the cheapest candidates; losses on dense targets by autograd. They are what the quick versions
in `headstart.assign.dynamic` and the heads are compared with, in time (heads_time.py) and in result (its test).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from headstart.detectors.detector import Detector
from headstart.heads.cells import flatten
from headstart.heads.rtmdet import RTMDetHead
from headstart.heads.yolox import YOLOXHead
from headstart.structures import DenseOutputs, ImageBatch, Targets


def plain_losses(student: Detector, images: ImageBatch, targets: list[Targets]) -> Tensor:
    """The sum of the losses of an RTMDet, or of a YOLOX with mmdetection's rule of assignment, whole images alone."""
    outputs = student(images, targets)
    return (rtmdet_loss if isinstance(student.head, RTMDetHead) else yolox_loss)(student.head, outputs, targets)


def rtmdet_loss(head: RTMDetHead, outputs: DenseOutputs, targets: list[Targets]) -> Tensor:
    """Quality focal loss of all points and twice GIoU of the positives, by DynamicSoftLabelAssigner."""
    points, strides = head.all_points(outputs), head.row_strides(outputs)
    distances, logits = flatten(outputs.reg, 4), flatten(outputs.cls, head.num_classes)
    boxes = torch.cat([points - distances[..., :2], points + distances[..., 2:]], dim=-1)
    goals, truths, labels = [], [], []
    for image, target in enumerate(targets):
        with torch.no_grad():
            found, ious = _soft_label(points, strides, logits[image], boxes[image], target)
        goal = torch.zeros_like(logits[image])
        rows = (found >= 0).nonzero().squeeze(1)
        goal[rows, target.labels[found[rows]]] = ious[rows]
        truth = torch.zeros_like(boxes[image])
        truth[rows] = target.boxes[found[rows]]
        goals.append(goal)
        truths.append(truth)
        labels.append(found >= 0)
    goal, truth, positive = torch.stack(goals), torch.stack(truths), torch.stack(labels)
    chance = logits.sigmoid()
    cls = functional.binary_cross_entropy_with_logits(logits, goal, reduction="none") * (goal - chance).abs().pow(2)
    quality = goal.sum(dim=-1)[positive]
    total = quality.sum().clamp(min=1)
    return (cls.sum() + 2 * ((1 - _giou(boxes[positive], truth[positive])) * quality).sum()) / total


def yolox_loss(head: YOLOXHead, outputs: DenseOutputs, targets: list[Targets]) -> Tensor:
    """BCE of classes and objectness, 5 (1 - IoU^2), by SimOTAAssigner; without the last part's L1."""
    corners, strides = head.all_points(outputs), head.row_strides(outputs)
    codes, logits = flatten(outputs.reg, 4), flatten(outputs.cls, head.num_classes)
    objectness = flatten(outputs.quality or [], 1)[..., 0]
    centre = codes[..., :2] * strides[:, None] + corners
    half = codes[..., 2:].exp() * strides[:, None] / 2
    boxes = torch.cat([centre - half, centre + half], dim=-1)
    points = corners + strides[:, None] / 2
    cls, box, obj, count = [], [], [], 0
    for image, target in enumerate(targets):
        with torch.no_grad():
            score = logits[image].sigmoid() * objectness[image].sigmoid()[:, None]
            found, ious = _simota(points, strides, score, boxes[image], target)
        rows = (found >= 0).nonzero().squeeze(1)
        goal = functional.one_hot(target.labels[found[rows]], head.num_classes) * ious[rows][:, None]
        cls.append(functional.binary_cross_entropy_with_logits(logits[image][rows], goal, reduction="sum"))
        overlap = _iou(boxes[image][rows], target.boxes[found[rows]])
        box.append((1 - overlap**2).sum())
        hit = (found >= 0).float()
        obj.append(functional.binary_cross_entropy_with_logits(objectness[image], hit, reduction="sum"))
        count += len(rows)
    return torch.stack([sum(cls), 5 * sum(box), sum(obj)]).sum() / max(count, 1)


def _soft_label(
    points: Tensor, strides: Tensor, logits: Tensor, boxes: Tensor, target: Targets
) -> tuple[Tensor, Tensor]:
    """Which object each point answers for, -1 for none, and the IoU of the pair."""
    inside = _inside(points, target.boxes)
    rows = inside.any(dim=1).nonzero().squeeze(1)
    found, best = torch.full_like(strides, -1, dtype=torch.int64), torch.zeros_like(strides)
    if not len(target) or not len(rows):
        return found, best
    ious = _iou(boxes[rows][:, None], target.boxes[None])
    spots, steps = points[rows], strides[rows]
    middles = (target.boxes[:, :2] + target.boxes[:, 2:]) / 2
    away = (spots[:, None] - middles[None]).pow(2).sum(-1).sqrt() / steps[:, None]
    hot = functional.one_hot(target.labels, logits.shape[1]).float()
    goal = hot[None].repeat(len(rows), 1, 1) * ious[..., None]
    repeated = logits[rows][:, None].repeat(1, len(target), 1)
    gap = goal - repeated.sigmoid()
    cls = functional.binary_cross_entropy_with_logits(repeated, goal, reduction="none") * gap.abs().pow(2)
    cost = cls.sum(dim=-1) - 3 * torch.log(ious + 1e-7) + torch.pow(10, away - 3)
    return _place(found, best, rows, *_cheapest(cost, ious, 13), ious)


def _simota(points: Tensor, strides: Tensor, score: Tensor, boxes: Tensor, target: Targets) -> tuple[Tensor, Tensor]:
    """The same by class times objectness."""
    middles = (target.boxes[:, :2] + target.boxes[:, 2:]) / 2
    reach = 2.5 * strides[:, None, None]
    near = _inside(points, torch.cat([middles - reach, middles + reach], dim=-1))
    inside = _inside(points, target.boxes)
    rows = (near.any(dim=1) | inside.any(dim=1)).nonzero().squeeze(1)
    found, best = torch.full_like(strides, -1, dtype=torch.int64), torch.zeros_like(strides)
    if not len(target) or not len(rows):
        return found, best
    ious = _iou(boxes[rows][:, None], target.boxes[None])
    hot = functional.one_hot(target.labels, score.shape[1]).float()[None].repeat(len(rows), 1, 1)
    repeated = score[rows][:, None].repeat(1, len(target), 1)
    cls = functional.binary_cross_entropy(repeated.sqrt(), hot, reduction="none").sum(dim=-1)
    cost = cls - 3 * torch.log(ious + 1e-7) + 1e5 * ~(near & inside)[rows]
    return _place(found, best, rows, *_cheapest(cost, ious, 10), ious)


def _cheapest(cost: Tensor, ious: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Which of the candidates are taken (V,), and by which object."""
    takes = torch.zeros_like(cost)
    counts = ious.topk(min(most, len(ious)), dim=0).values.sum(0).int().clamp(min=1)
    for number in range(cost.shape[1]):
        rows = torch.topk(cost[:, number], k=counts[number].item(), largest=False).indices
        takes[rows, number] = 1
    several = takes.sum(1) > 1
    if several.sum() > 0:
        takes[several] = functional.one_hot(cost[several].argmin(dim=1), cost.shape[1]).to(takes)
    return takes.sum(1) > 0, takes.argmax(1)


def _place(
    found: Tensor, best: Tensor, rows: Tensor, taken: Tensor, numbers: Tensor, ious: Tensor
) -> tuple[Tensor, Tensor]:
    found[rows[taken]] = numbers[taken]
    best[rows[taken]] = ious[taken].gather(1, numbers[taken][:, None]).squeeze(1)
    return found, best


def _inside(points: Tensor, boxes: Tensor) -> Tensor:
    """(N, 2) in (M, 4), or in a box of its own for every pair (N, M, 4): (N, M)."""
    low, high = points[:, None] - boxes[..., :2], boxes[..., 2:] - points[:, None]
    return torch.cat([low, high], dim=-1).min(dim=-1).values > 0


def _iou(a: Tensor, b: Tensor) -> Tensor:
    """Of boxes (..., 4) whose shapes broadcast."""
    common = (torch.min(a[..., 2:], b[..., 2:]) - torch.max(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    size = [(box[..., 2] - box[..., 0]) * (box[..., 3] - box[..., 1]) for box in (a, b)]
    return common / (size[0] + size[1] - common).clamp(min=1e-6)


def _giou(a: Tensor, b: Tensor) -> Tensor:
    common = (torch.min(a[:, 2:], b[:, 2:]) - torch.max(a[:, :2], b[:, :2])).clamp(min=0).prod(-1)
    union = (a[:, 2:] - a[:, :2]).prod(-1) + (b[:, 2:] - b[:, :2]).prod(-1) - common
    whole = (torch.max(a[:, 2:], b[:, 2:]) - torch.min(a[:, :2], b[:, :2])).clamp(min=0).prod(-1)
    return common / union.clamp(min=1e-6) - (whole - union) / whole.clamp(min=1e-6)
