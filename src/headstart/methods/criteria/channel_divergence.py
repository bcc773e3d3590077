"""Where in the picture each channel looks: channel-wise divergence."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from headstart.methods.criteria.pearson import standardise
from headstart.methods.criteria.soft_labels import divergence
from headstart.methods.step import Step
from headstart.structures import Signal, tensors_of


def channel_divergence(student: Tensor, teacher: Tensor, *, temperature: float = 1.0) -> Tensor:
    """How far each channel's softmax over the places of a map is from the teacher's: (B, C, H, W) twice -> scalar.

    temperature^2 x the Kullback-Leibler divergence, teacher from student, of the distributions that softmax of
    maps / temperature makes over the H x W places of each image and channel; the mean over images and channels, in
    float32. 0 when equal up to an offset of each channel.

    Source: CWD (arXiv:2011.13256, equations 5 and 6). Raises ValueError if the shapes differ.
    """
    if student.shape != teacher.shape:
        raise ValueError(f"student's features are {tuple(student.shape)}, teacher's {tuple(teacher.shape)}")
    return divergence(student.flatten(2), teacher.flatten(2), temperature=temperature).mean()


@dataclass(frozen=True)
class ChannelDivergence:
    """`channel_divergence` of each level, summed over levels.

    normalise  each channel of both gets mean 0 and deviation 1 over the batch first, as a batch norm without
               parameters gives: large channels do not become one-hot, small ones not flat
    """

    temperature: float = 1.0
    normalise: bool = True
    terms = {"": 1.0}

    def __call__(self, source: Signal, target: Signal, step: Step) -> dict[str, Tensor]:
        """source and target: a map (B, C, H, W) per level. Gives one scalar."""
        found = []
        for own, theirs in zip(tensors_of(source), tensors_of(target), strict=True):
            pair = (standardise(own), standardise(theirs)) if self.normalise else (own, theirs)
            found.append(channel_divergence(*pair, temperature=self.temperature))
        return {"": torch.stack(found).sum()}
