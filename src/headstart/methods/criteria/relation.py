"""How far apart the things are among each other: relations of vectors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

FEWEST = 3
"""Of two things there is one distance, which is always its own mean."""


def relation(student: Tensor, teacher: Tensor, *, beta: float = 1.0) -> Tensor:
    """How far the pairwise distances of vectors (N, D) are from those of others (N, D'), as a scalar in float32.

    Each side's Euclidean distances of all pairs are divided by their mean; the smooth L1 between the two sides, mean
    over the N^2 - N pairs. 0 where the vectors are equal up to scale, shift and rotation, and for fewer than three.

    Source: GID (arXiv:2103.02340), after relational knowledge distillation (arXiv:1904.05068); its rewritten code
    (daixinghome/Distill_GID_detectron2, GID/gid/loss.py at 5dfc0d5).
    """
    student, teacher = student.float(), teacher.detach().float()
    count = len(student)
    if count < FEWEST:
        return student.sum() * 0
    gap = functional.smooth_l1_loss(_distances(student), _distances(teacher), reduction="sum", beta=beta)
    return gap / (count * (count - 1))


def _distances(rows: Tensor) -> Tensor:
    """(N, D) -> (N, N): distances in units of their mean, 0 on the diagonal."""
    apart = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    return apart / (apart.sum() / (len(rows) * (len(rows) - 1))).clamp(min=1e-12)
