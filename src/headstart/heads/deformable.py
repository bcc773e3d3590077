"""Deformable convolution: a 3x3 convolution that reads the map wherever its offsets say.

On a CPU the usual kernel works sample by sample, and its gradient costs several times its result. The samples are a
sparse product instead: each is a weighted sum of the four cells around it, which `embedding_bag` computes, and the
rest is a matrix product. The result is the same up to rounding; benchmarks/deformable.py has the ratio. Elsewhere
torchvision's kernel serves.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import deform_conv2d

from headstart.priors import grid

TAPS = 9


class DeformableConv(nn.Module):
    """A 3x3 convolution without bias whose nine taps may be anywhere (arXiv:1703.06211)."""

    bias = None

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, channels, 3, 3))
        nn.init.kaiming_uniform_(self.weight, nonlinearity="relu")

    def forward(self, x: Tensor, offsets: Tensor) -> Tensor:
        """x (B, C, H, W), offsets (B, 18, H, W) -> (B, width, H, W).

        Offsets are in cells, from each tap's usual place: dy and dx of the nine taps in reading order. What lies
        outside the map is zero.
        """
        # Half precision cannot hold a coordinate.
        exact = torch.promote_types(x.dtype, torch.float32)
        if x.device.type != "cpu":
            result = deform_conv2d(x.to(exact), offsets.to(exact), self.weight.to(exact), padding=(1, 1))
            return result.to(x.dtype)
        batch, channels, height, width = x.shape
        rows = read_taps(x.to(exact), offsets.to(exact)).reshape(-1, TAPS * channels).to(x.dtype)
        result = functional.linear(rows, self.weight.permute(0, 2, 3, 1).flatten(1))
        return result.reshape(batch, height, width, -1).permute(0, 3, 1, 2)


def base_taps(device: torch.device | str | None = None) -> Tensor:
    """(18,): the usual places of the nine taps, dy and dx in cells from the middle, in reading order."""
    return (torch.stack(grid(3, 3, device), dim=1) - 1).flatten()


def read_taps(x: Tensor, offsets: Tensor) -> Tensor:
    """Bilinear samples of x (B, C, H, W) for every cell and tap, in order (image, y, x, tap): (B*H*W*9, C)."""
    batch, channels, height, width = x.shape
    y, x_ = (axis.reshape(1, height, width, 1) for axis in grid(height, width, x.device))
    dy, dx = (offsets + base_taps(x.device)[:, None, None]).permute(0, 2, 3, 1).unflatten(-1, (TAPS, 2)).unbind(-1)
    first = torch.arange(batch, device=x.device)[:, None, None, None] * (height * width)
    lines, columns = _neighbours(y + dy, height), _neighbours(x_ + dx, width)
    cells = torch.stack([first + line * width + column for line, _ in lines for column, _ in columns], dim=-1)
    shares = torch.stack([down * across for _, down in lines for _, across in columns], dim=-1)
    table = x.permute(0, 2, 3, 1).reshape(-1, channels)
    return functional.embedding_bag(cells.reshape(-1, 4), table, mode="sum", per_sample_weights=shares.reshape(-1, 4))


def _neighbours(place: Tensor, length: int) -> list[tuple[Tensor, Tensor]]:
    """The two whole places around each on an axis of `length`, with their shares: 0 for those beyond its ends."""
    below = place.detach().floor()
    share = place - below
    low = below.long()
    return [
        (cell.clamp(0, length - 1), part * ((cell >= 0) & (cell < length)))
        for cell, part in ((low, 1 - share), (low + 1, share))
    ]
