"""From a region back to the cell that it came from, and the adapters of what is found there."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from headstart.cached_tensor import cached_tensor
from headstart.heads.dense import flatten
from headstart.structures import CellIndex, Regions


def read_cells(
    maps: list[Tensor], places: list[Regions], factors: Sequence[int] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The vectors of dense maps at the cells behind the places.

    maps [l] (B, C, H, W). Returns vectors (N, C), `traced` (N,) which rows of the regions they belong to, and their
    anchor (N,). Ground-truth boxes have no cell and are left out, as are cells of levels that the maps lack. Gradients
    flow into the maps. `factors`: how many cells of a level that was traced make one of the maps'.
    """
    cells = CellIndex.cat([p.cells for p in places])
    image = torch.cat([torch.full_like(p.labels, i) for i, p in enumerate(places)])
    traced = ((cells.level >= 0) & (cells.level < len(maps))).nonzero().flatten()
    cell, image = cells[traced], image[traced]
    parts = cached_tensor(factors or [1] * len(maps), torch.int64, image.device)[cell.level]
    widths = [m.shape[-1] for m in maps]
    sizes = [m.shape[-2] * m.shape[-1] for m in maps]
    starts = cached_tensor([sum(sizes[:level]) for level in range(len(maps))], torch.int64, image.device)
    width = cached_tensor(widths, torch.int64, image.device)[cell.level]
    row = starts[cell.level] + cell.y // parts * width + cell.x // parts
    return flatten(maps, maps[0].shape[1])[image, row], traced, cell.anchor


class PerAnchor(nn.Module):
    """One linear layer per anchor shape: row i goes through the layer of its anchor (HEAD's "Decouple")."""

    def __init__(self, anchors: int, channels: int, width: int) -> None:
        super().__init__()
        self.anchors, self.width = anchors, width
        self.linear = nn.Linear(channels, anchors * width)

    def forward(self, rows: Tensor, anchor: Tensor) -> Tensor:
        """(N, C), (N,) -> (N, width)."""
        every = self.linear(rows).reshape(-1, self.anchors, self.width)
        return every[torch.arange(len(rows), device=rows.device), anchor]


class Shared(nn.Module):
    """One linear layer for all anchor shapes."""

    def __init__(self, anchors: int, channels: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, width)

    def forward(self, rows: Tensor, anchor: Tensor) -> Tensor:
        """(N, C), (N,) -> (N, width)."""
        return self.linear(rows)


ADAPTERS = {"linear": Shared, "per_anchor": PerAnchor}
