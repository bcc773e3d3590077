"""Assignment by what is predicted: each object takes the points that find it at the least cost (RTMDet, YOLOX)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from headstart.assign.center import ignore_inside
from headstart.assign.max_iou import IGNORED, NEGATIVE
from headstart.boxes import centers, pairwise_iou
from headstart.ordering import stable_topk
from headstart.structures import Targets

IOU_WEIGHT = 3.0
"""Of -log IoU in the cost, in both detectors."""

FARTHEST = 30.0
"""Of the exponent of the distance in the cost: 10 to the power of it is still finite in single precision."""


@dataclass(frozen=True)
class Costs:
    """What it costs that a candidate answers for an object, of V candidates and M >= 1 objects.

    candidates  (V,) int64, ascending: the points among which objects choose
    cost        (V, M);  ious  (V, M) of predicted boxes and objects
    preferred   (V, M) bool: pairs that go before all others, whatever they cost; None: no such pairs
    """

    candidates: Tensor
    cost: Tensor
    ious: Tensor
    preferred: Tensor | None = None


@torch.no_grad()
def choose_cheapest(costs: Costs, topk: int) -> Tensor:
    """Which object each candidate answers for: (V,) int64, M where for none.

    An object takes k candidates, the cheapest first: k is the sum of the `topk` largest IoUs, cut to a whole number, at
    least 1. A candidate that several objects take goes to the one for which it costs least among all objects, even one
    that did not take it. Of equal costs the lower index counts.

    Source: OTA (arXiv:2103.14259) as YOLOX simplified it; checked against mmdetection and YOLOX (tests/parity).
    """
    count, objects = costs.cost.shape
    device, most = costs.cost.device, min(topk, count)
    wanted = costs.ious.topk(most, dim=0).values.sum(dim=0).int().clamp(min=1)[:, None]
    before = torch.zeros_like(wanted)
    takes = torch.zeros(objects, count, dtype=torch.bool, device=device)
    for part in _in_order(costs):
        chosen = stable_topk(part.t(), most, largest=False)
        finite = part.t().gather(1, chosen).isfinite()
        place = before + torch.arange(most, device=device)
        takes |= torch.zeros_like(takes).scatter_(1, chosen, finite & (place < wanted))
        before = before + finite.sum(dim=1, keepdim=True)
    numbers = torch.arange(objects, device=device)
    own = torch.where(takes.t(), numbers, objects).amin(dim=1)
    cheapest = torch.full_like(own, objects)
    for part in reversed(_in_order(costs)):
        least = part.amin(dim=1, keepdim=True)
        first = torch.where(part == least, numbers, objects).amin(dim=1)
        cheapest = torch.where(least[:, 0].isfinite(), first, cheapest)
    return torch.where(takes.sum(dim=0) > 1, cheapest, own)


def _in_order(costs: Costs) -> list[Tensor]:
    """The costs (V, M) of preferred pairs alone, then of the others: what is not of the part is infinite.

    The official codes add 1e5 or 1e6 to the others instead, where single precision has steps of 0.01 and 0.06.
    """
    if costs.preferred is None:
        return [costs.cost]
    return [costs.cost.masked_fill(~costs.preferred, torch.inf), costs.cost.masked_fill(costs.preferred, torch.inf)]


@dataclass(frozen=True)
class SoftLabel:
    """RTMDet's assigner: points inside an object, by quality of class and box together and by nearness to its centre.

    The cost of a point and an object with IoU u: the quality focal loss of its class logits, of which the object's
    class is to be u; -3 log u; and 10 to the power of the distance to the centre in strides, minus 3.

    topk  IoUs that decide how many points an object takes
    A point in an ignored (crowd, difficult) box is not background, which the official code does not know.
    Source: RTMDet (arXiv:2212.07784), DynamicSoftLabelAssigner of mmdetection (tests/parity, dense_rtmdet).
    """

    topk: int = 13

    @torch.no_grad()
    def __call__(
        self, points: Tensor, strides: Tensor, logits: Tensor, boxes: Tensor, targets: Targets, usable: Tensor
    ) -> Tensor:
        """Index of the ground truth of each point (N, 2), or NEGATIVE, or IGNORED: (N,) int64.

        `strides` (N,) pixels; `logits` (N, K) and `boxes` (N, 4) are what is predicted there, in single precision.
        Points that are not `usable` (N,) are IGNORED.
        """
        wanted = (~targets.ignored).nonzero().flatten()
        matched = torch.full_like(strides, NEGATIVE, dtype=torch.int64)
        if len(wanted):
            objects = Targets(targets.boxes[wanted], targets.labels[wanted], targets.ignored[wanted])
            costs = self.costs(points, strides, logits, boxes, objects, usable)
            matched = _place(matched, costs, self.topk, wanted)
        matched = ignore_inside(matched, points, targets, wanted)
        return torch.where(usable, matched, IGNORED)

    def costs(
        self, points: Tensor, strides: Tensor, logits: Tensor, boxes: Tensor, objects: Targets, usable: Tensor
    ) -> Costs:
        """Of every candidate with every one of M >= 1 objects."""
        candidates = (_inside(points, objects.boxes).any(dim=1) & usable).nonzero().flatten()
        points, strides, logits = points[candidates], strides[candidates], logits[candidates]
        ious = pairwise_iou(boxes[candidates], objects.boxes)
        # All classes as background once per point, and the object's class put right: no (N, M, K) is made.
        chance, effort = logits.sigmoid(), functional.softplus(logits)
        background = effort * chance.square()
        own, own_chance = logits[:, objects.labels], chance[:, objects.labels]
        hit = (effort[:, objects.labels] - ious * own) * (ious - own_chance).square()
        cls = background.sum(dim=1, keepdim=True) - background[:, objects.labels] + hit
        distance = (points[:, None] - centers(objects.boxes)).square().sum(dim=-1).sqrt() / strides[:, None]
        far = 10 ** (distance - 3).clamp(max=FARTHEST)
        return Costs(candidates, cls - IOU_WEIGHT * (ious + 1e-7).log() + far, ious)


@dataclass(frozen=True)
class SimOTA:
    """YOLOX's assigner: points near an object's centre, by class and box together.

    The cost of a point and an object with IoU u: the binary cross-entropy of the roots of class times objectness, of
    which the object's class is to be 1; and -3 log u. Points near the object itself go before all others.

    radius  how many strides around its centre, on both axes, are near an object
    inside  as mmdetection has it: candidates are the points near an object or in one, and near means in its box too
    eps     added to the IoU before its logarithm is taken
    topk    IoUs that decide how many points an object takes

    A point in an ignored (crowd, difficult) box is not background, which the official codes do not know.
    Source: YOLOX (arXiv:2107.08430), its own code (radius 1.5) and mmdetection's (radius 2.5, `inside`); tests/parity,
    dense_yolox_megvii and dense_yolox.
    """

    radius: float = 1.5
    inside: bool = False
    eps: float = 1e-8
    topk: int = 10

    @torch.no_grad()
    def __call__(
        self, points: Tensor, strides: Tensor, logits: Tensor, objectness: Tensor, boxes: Tensor, targets: Targets
    ) -> Tensor:
        """Index of the ground truth of each point (N, 2), or NEGATIVE, or IGNORED: (N,) int64.

        `strides` (N,) pixels; `logits` (N, K), `objectness` (N,) logits and `boxes` (N, 4) are what is predicted there,
        in single precision.
        """
        wanted = (~targets.ignored).nonzero().flatten()
        matched = torch.full_like(strides, NEGATIVE, dtype=torch.int64)
        if len(wanted):
            objects = Targets(targets.boxes[wanted], targets.labels[wanted], targets.ignored[wanted])
            costs = self.costs(points, strides, logits, objectness, boxes, objects)
            matched = _place(matched, costs, self.topk, wanted)
        return ignore_inside(matched, points, targets, wanted)

    def costs(
        self, points: Tensor, strides: Tensor, logits: Tensor, objectness: Tensor, boxes: Tensor, objects: Targets
    ) -> Costs:
        """Of every candidate with every one of M >= 1 objects."""
        away = (points[:, None] - centers(objects.boxes)).abs().amax(dim=-1)
        near = away < self.radius * strides[:, None]
        around = near
        if self.inside:
            within = _inside(points, objects.boxes)
            around, near = near | within, near & within
        candidates = around.any(dim=1).nonzero().flatten()
        logits, objectness = logits[candidates], objectness[candidates]
        ious = pairwise_iou(boxes[candidates], objects.boxes)
        found = (functional.logsigmoid(logits) + functional.logsigmoid(objectness)[:, None]) / 2
        missed = torch.log(-torch.expm1(found)).clamp(min=-100)
        own, own_missed = found[:, objects.labels].clamp(min=-100), missed[:, objects.labels]
        cls = own_missed - own - missed.sum(dim=1, keepdim=True)
        return Costs(candidates, cls - IOU_WEIGHT * (ious + self.eps).log(), ious, near[candidates])


def _inside(points: Tensor, boxes: Tensor) -> Tensor:
    """Which points (N, 2) lie inside which boxes (M, 4), not on their sides: (N, M) bool."""
    return ((points[:, None] > boxes[:, :2]) & (points[:, None] < boxes[:, 2:])).all(dim=-1)


def _place(matched: Tensor, costs: Costs, topk: int, wanted: Tensor) -> Tensor:
    """An answer (N,) in which candidates that are chosen have the index of their object among all targets.

    `wanted` (M,) are the indices of the objects.
    """
    if not len(costs.candidates):
        return matched
    names = torch.cat([wanted, wanted.new_full((1,), NEGATIVE)])
    return matched.index_copy(0, costs.candidates, names[choose_cheapest(costs, topk)])
