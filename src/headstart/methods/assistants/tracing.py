"""From a region back to the cell that it came from, and the adapters of what is found there."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from headstart.structures import Regions


def read_cells(
    maps: list[Tensor], places: list[Regions], factors: Sequence[int] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The vectors of dense maps at the cells behind the places.

    maps [l] (B, C, H, W). Returns vectors (N, C), `traced` (N,) which rows of the regions they belong to, and their
    anchor (N,). Ground-truth boxes have no cell and are left out, as are cells of levels that the maps lack. Gradients
    flow into the maps. `factors`: how many cells of a level that was traced make one of the maps'.
    """
    level = torch.cat([p.pixels.level for p in places])
    image = torch.cat([torch.full_like(p.labels, i) for i, p in enumerate(places)])
    y, x = torch.cat([p.pixels.y for p in places]), torch.cat([p.pixels.x for p in places])
    rows, vectors = [], []
    for index, features in enumerate(maps):
        own = (level == index).nonzero().flatten()
        rows.append(own)
        part = factors[index] if factors else 1
        vectors.append(features.permute(0, 2, 3, 1)[image[own], y[own] // part, x[own] // part])
    traced = torch.cat(rows)
    order = traced.argsort()
    traced = traced[order]
    return torch.cat(vectors)[order], traced, torch.cat([p.pixels.anchor for p in places])[traced]


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
