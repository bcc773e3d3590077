"""MGD's distance of pyramids: the teacher's map is to be generated from part of the student's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from headstart.methods.criteria.weighted_mse import weighted_mse
from headstart.methods.masks import valid_cells
from headstart.methods.published import WIDTH, published_cells
from headstart.methods.step import Step


class MaskedGeneration(nn.Module):
    """The squared error of what two 3x3 convolutions make of a student's map of which a part is missing.

    Each cell is dropped, in all channels, with probability `masked`, drawn anew in every step. The generators, one for
    each level, are trained. The paper sums over entries; here it is the mean over cells and channels times their number
    at the published size (`headstart.methods.published`). Cells in the padding are dropped and do not count.

    width    channels of the teacher's maps, to which the student's were adapted
    strides  of the maps that are compared, pixels

    Source: MGD (arXiv:2205.01529), repository yzd-v/MGD.
    """

    terms = {"": 1.0}

    def __init__(self, width: int, strides: Sequence[int], masked: float) -> None:
        super().__init__()
        self.strides, self.masked = tuple(strides), masked
        self.generators = nn.ModuleList(Generator(width) for _ in strides)

    def forward(self, source: list[Tensor], target: list[Tensor], step: Step) -> dict[str, Tensor]:
        """One scalar, the sum over levels; a map (B, C, H, W) per level each."""
        valid = valid_cells(step.batch.sizes, target, self.strides)
        levels = []
        for generate, maps, goal, inside, stride in zip(
            self.generators, source, target, valid, self.strides, strict=True
        ):
            kept = inside & (torch.rand(inside.shape, device=inside.device) >= self.masked)
            error = weighted_mse(generate(maps * kept, inside), goal, inside)
            levels.append(error * (WIDTH * published_cells(stride)))
        return {"": torch.stack(levels).sum()}


class Generator(nn.Module):
    """Two 3x3 convolutions with a ReLU between."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, maps: Tensor, valid: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W); outside `valid` (B, 1, H, W) both layers read zeros, as outside a map."""
        return self.second(functional.relu(self.first(maps)) * valid)
