"""How far a student's features are from a teacher's."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error over all entries of two tensors of one shape, in float32; 0 with a gradient when empty.

    Source: D of HEAD (arXiv:2207.05345), tests/parity, head_assist. Raises ValueError if the shapes differ.
    """
    if student.shape != teacher.shape:
        raise ValueError(f"student's features are {tuple(student.shape)}, teacher's {tuple(teacher.shape)}")
    if not student.numel():
        return student.float().sum() * 0
    return functional.mse_loss(student.float(), teacher.float())
