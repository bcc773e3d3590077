"""FGD's distance of pyramids: focal, where and in which channels the teacher is strong, and global."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from headstart.methods.masks import density_masks, valid_cells
from headstart.methods.published import WIDTH, published_cells
from headstart.methods.step import Step


class FocalGlobal(nn.Module):
    """The four terms of FGD, each the mean over images and the sum over levels.

    foreground, background  the squared error, weighted by the teacher's attention over places and channels, and by
             `density_masks`: the mean over every object's cells, summed over objects, and the mean over the background
    attention  L1 between the student's and the teacher's attention, over places and over channels
    context  the squared error of the maps to which a global context has been added (`GlobalContext`), one for the
             student's and one for the teacher's map of each level; both are trained

    The paper sums over channels and places. Here every sum is a mean times what the sum would have at the published
    size (`headstart.methods.published`): its constants hold there exactly, and elsewhere for any image and width. Cells
    in the padding do not count.

    width    channels of the teacher's maps, to which the student's were adapted
    strides  of the maps that are compared, pixels
    constants  of the four terms, the paper's
    temperature  of the softmax that attention is

    Source: FGD (arXiv:2111.11837), repository yzd-v/FGD.
    """

    def __init__(
        self, width: int, strides: Sequence[int], constants: Mapping[str, float], *, temperature: float = 0.5
    ) -> None:
        super().__init__()
        self.terms, self.strides, self.temperature = constants, tuple(strides), temperature
        self.own_context = nn.ModuleList(GlobalContext(width) for _ in strides)
        self.their_context = nn.ModuleList(GlobalContext(width) for _ in strides)

    def forward(self, source: list[Tensor], target: list[Tensor], step: Step) -> dict[str, Tensor]:
        """Scalars, by the names of `terms`; a map (B, C, H, W) per level each."""
        valid = valid_cells(step.batch.sizes, target, self.strides)
        objects, rest = density_masks(step.targets, valid, self.strides)
        with torch.autocast(target[0].device.type, enabled=False):
            levels = [
                self._level(level, own.float(), goal.detach().float(), objects[level], rest[level], valid[level])
                for level, (own, goal) in enumerate(zip(source, target, strict=True))
            ]
        return {name: torch.stack([terms[name] for terms in levels]).sum() for name in self.terms}

    def _level(
        self, level: int, own: Tensor, goal: Tensor, objects: Tensor, rest: Tensor, valid: Tensor
    ) -> dict[str, Tensor]:
        """Of one level: maps (B, C, H, W), masks (B, 1, H, W)."""
        places, channels = attention(goal, valid, self.temperature)
        own_places, own_channels = attention(own, valid, self.temperature)
        error = ((own - goal).square() * channels).mean(dim=1, keepdim=True) * places
        cells = published_cells(self.strides[level])
        drawn = (own_channels - channels).abs().mean(dim=1).flatten(1) * WIDTH
        placed = inside_mean((own_places - places).abs(), valid) * cells
        far = self.own_context[level](own, valid) - self.their_context[level](goal, valid)
        return {
            "foreground": (error * objects).sum(dim=(1, 2, 3)).mean() * WIDTH,
            "background": (error * rest).sum(dim=(1, 2, 3)).mean() * WIDTH,
            "attention": (drawn + placed).mean(),
            "context": inside_mean(far.square().mean(dim=1, keepdim=True), valid).mean() * (WIDTH * cells),
        }


def attention(maps: Tensor, valid: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Over places (B, 1, H, W) and over channels (B, C, 1, 1) of maps (B, C, H, W): both of mean 1, over `valid` cells.

    Softmax over the cells of the mean absolute value / temperature, times their number; and over channels alike.
    """
    strength = maps.abs()
    logits = (strength.mean(dim=1, keepdim=True) / temperature).masked_fill(~valid, -torch.inf)
    count = valid.sum(dim=(2, 3), keepdim=True)
    places = logits.flatten(1).softmax(dim=1).view_as(logits) * count
    channels = (strength * valid).sum(dim=(2, 3), keepdim=True) / count / temperature
    return places, channels.softmax(dim=1) * maps.shape[1]


def inside_mean(values: Tensor, valid: Tensor) -> Tensor:
    """The mean over the valid cells of each image: (B, 1, H, W) twice -> (B, 1)."""
    return (values * valid).sum(dim=(2, 3)) / valid.sum(dim=(2, 3))


class GlobalContext(nn.Module):
    """A map plus what a pooled look at all of it says (the global context block of GCNet, arXiv:1904.11492).

    Begins by adding nothing: its last layer is zero.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        narrow = max(1, width // 2)
        # Without a bias: the softmax over places would take it out again.
        self.look = nn.Conv2d(width, 1, 1, bias=False)
        nn.init.kaiming_normal_(self.look.weight, nonlinearity="relu")
        self.add = nn.Sequential(nn.Linear(width, narrow), nn.LayerNorm(narrow), nn.ReLU(), nn.Linear(narrow, width))
        for parameter in self.add[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, maps: Tensor, valid: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W); only `valid` (B, 1, H, W) cells are looked at."""
        places = self.look(maps).masked_fill(~valid, -torch.inf).flatten(2).softmax(dim=2)
        pooled = torch.einsum("bcn,bn->bc", maps.flatten(2), places[:, 0])
        return maps + self.add(pooled)[:, :, None, None]
