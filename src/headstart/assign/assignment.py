"""From the ground truth that an assigner gives each prior to what a head is trained on."""

from __future__ import annotations

import torch
from torch import Tensor

from headstart.assign.max_iou import IGNORED
from headstart.structures import Assignment, Targets


def collect_assignment(matched: list[Tensor], targets: list[Targets], num_classes: int) -> Assignment:
    """The assignment of a batch from the indices (N,) that an assigner gave for every image.

    Priors without a ground truth get label K and a box of zeros; IGNORED ones get weight 0, and those of an object that
    counts less (`Targets.weights`) its weight.
    """
    images = [_collect_image(*image, num_classes) for image in zip(matched, targets)]
    label = torch.stack([label for label, _ in images])
    weight = torch.stack([_weigh_image(*image) for image in zip(matched, targets)])
    return Assignment(label, torch.stack([box for _, box in images]), label < num_classes, weight)


def _collect_image(matched: Tensor, target: Targets, num_classes: int) -> tuple[Tensor, Tensor]:
    if not len(target):
        return torch.full_like(matched, num_classes), target.boxes.new_zeros(len(matched), 4)
    index, hit = matched.clamp(min=0), matched >= 0
    label = torch.where(hit, target.labels[index], num_classes)
    return label, torch.where(hit[:, None], target.boxes[index], 0.0)


def _weigh_image(matched: Tensor, target: Targets) -> Tensor:
    weight = (matched != IGNORED).float()
    if target.weights is None or not len(target):
        return weight
    return torch.where(matched >= 0, target.weights.to(weight)[matched.clamp(min=0)], weight)
