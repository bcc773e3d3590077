"""From "which ground truth does each prior answer for" to what a head is trained on."""

from __future__ import annotations

import torch
from torch import Tensor

from headstart.assign.max_iou import IGNORED
from headstart.structures import Assignment, Targets


def collect_answers(matched: list[Tensor], targets: list[Targets], num_classes: int) -> Assignment:
    """The assignment of a batch from an assigner's answer (N,) for every image.

    Priors that answer for no ground truth get label K and a box of zeros; IGNORED ones get weight 0.
    """
    answers = [_answer(*image, num_classes) for image in zip(matched, targets)]
    label = torch.stack([label for label, _ in answers])
    weight = torch.stack([(m != IGNORED).float() for m in matched])
    return Assignment(label, torch.stack([box for _, box in answers]), label < num_classes, weight)


def _answer(matched: Tensor, target: Targets, num_classes: int) -> tuple[Tensor, Tensor]:
    if not len(target):
        return torch.full_like(matched, num_classes), target.boxes.new_zeros(len(matched), 4)
    index, hit = matched.clamp(min=0), matched >= 0
    label = torch.where(hit, target.labels[index], num_classes)
    return label, torch.where(hit[:, None], target.boxes[index], 0.0)
