"""Correlation of feature maps: what is left when size and offset of each channel do not count."""

from __future__ import annotations

import torch
from torch import Tensor

from headstart.methods.step import Step
from headstart.structures import Signal, tensors_of

EPS = 1e-6


def pearson(student: Tensor, teacher: Tensor) -> Tensor:
    """How far two maps are from correlated, channel by channel: 0 when equal up to scale and offset, 1 when unrelated.

    Half the mean squared error of maps standardised over images and places: 1 - the mean of the channels' correlations,
    up to the factor (n - 1) / n of the sample standard deviation that is used. Both are (B, C, H, W); the result is a
    scalar in float32. A map of one cell in a batch of one image has no deviation and gives 0.

    Source: PKD (arXiv:2207.02039); tests/parity, crosskd_* (loss_feat_kd). Raises ValueError if the shapes differ.
    """
    if student.shape != teacher.shape:
        raise ValueError(f"student's features are {tuple(student.shape)}, teacher's {tuple(teacher.shape)}")
    return (standardise(student) - standardise(teacher)).square().mean() / 2


def standardise(maps: Tensor) -> Tensor:
    """(B, C, H, W) with mean 0 and deviation 1 in each channel, over images and places, in float32."""
    maps = maps.float()
    many = maps.numel() // maps.shape[1] > 1
    std, mean = torch.std_mean(maps, dim=(0, 2, 3), keepdim=True, correction=int(many))
    return (maps - mean) / (std + EPS)


class Pearson:
    """`pearson` of each level, summed over levels as in the released code of CrossKD + PKD."""

    terms = {"": 1.0}

    def __call__(self, source: Signal, target: Signal, step: Step) -> dict[str, Tensor]:
        """source and target: a map (B, C, H, W) per level. Gives one scalar."""
        pairs = zip(tensors_of(source), tensors_of(target), strict=True)
        return {"": torch.stack([pearson(s, t) for s, t in pairs]).sum()}
