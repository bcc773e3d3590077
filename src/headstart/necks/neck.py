"""What every neck is to a detector."""

from __future__ import annotations

from torch import Tensor, nn


class Neck(nn.Module):
    """From the stages of a backbone to the pyramid that a head reads.

    width    channels of every level;  strides  of the levels, finest first, pixels
    """

    width: int
    strides: list[int]

    def forward(self, stages: list[Tensor]) -> list[Tensor]:
        """All stages (B, C_i, H_i, W_i), finest first, to one map (B, width, H, W) per level."""
        raise NotImplementedError
