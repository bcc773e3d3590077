"""Mean squared error."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from headstart.methods.step import Step
from headstart.structures import Signal, tensors_of


def mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error over all entries of two tensors of one shape, in float32; 0 with a gradient when empty.

    Source: D of HEAD (arXiv:2207.05345), tests/parity, head_assist. Raises ValueError if the shapes differ.
    """
    if student.shape != teacher.shape:
        raise ValueError(f"student's features are {tuple(student.shape)}, teacher's {tuple(teacher.shape)}")
    if not student.numel():
        return student.float().sum() * 0
    return functional.mse_loss(student.float(), teacher.float())


class MSE:
    """The mean squared error of each tensor, summed over levels as in HEAD's released code."""

    terms = {"": 1.0}

    def __call__(self, source: Signal, target: Signal, step: Step) -> dict[str, Tensor]:
        """source and target: one tensor (N, D), or a map (B, C, H, W) per level. Gives one scalar."""
        pairs = zip(tensors_of(source), tensors_of(target), strict=True)
        return {"": torch.stack([mse(s, t) for s, t in pairs]).sum()}
