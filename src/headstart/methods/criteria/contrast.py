"""Who is who: each student's vector must be nearer to the teacher's of the same thing than to those of others."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

FEWEST = 2
"""One thing has no others to be told from."""


def info_nce(student: Tensor, teacher: Tensor, left_out: Tensor, *, temperature: float) -> Tensor:
    """InfoNCE of vectors (N, D) and (N, D), row i of both being the same thing: the mean over rows, in float32.

    -log(exp(c_ii / temperature) / sum over j of exp(c_ij / temperature)), c_ij the cosine of the student's vector i and
    the teacher's j; j runs over i itself and those others that are not left_out[i, j], (N, N) bool. 0 with a gradient
    for fewer than two rows.

    Source: contrastive predictive coding (arXiv:1807.03748, equation 4).
    """
    student, teacher = student.float(), teacher.float()
    if len(student) < FEWEST:
        return (student.sum() + teacher.sum()) * 0
    cosines = functional.normalize(student, dim=1) @ functional.normalize(teacher, dim=1).T
    own = torch.eye(len(student), dtype=torch.bool, device=student.device)
    logits = (cosines / temperature).masked_fill(left_out & ~own, -torch.inf)
    return functional.cross_entropy(logits, torch.arange(len(student), device=student.device))
