"""How the places where a student predicts correspond to those where somebody else does: by cells or by regions.

A correspondence brings what is read of both sides to tensors of the same places. Its result still carries the student's
channels: an adapter follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from headstart.cached_tensor import cached_tensor
from headstart.errors import UserError
from headstart.heads.cells import flatten
from headstart.heads.protocol import as_dense
from headstart.methods.step import Step
from headstart.structures import CellIndex, Regions, Signal, Size, tensors_of


@dataclass(frozen=True)
class Pair:
    """source, target: what is compared, place by place: a map (B, C, H, W) per level, one (N, D), or predictions.

    anchor  (N,) int64: which anchor of its cell each row came from, where the rows belong to anchors
    """

    source: Signal
    target: Signal
    anchor: Tensor | None = None

    @property
    def tensors(self) -> list[Tensor]:
        """Those of the source."""
        return tensors_of(self.source)


class Correspondence:
    """From what was read of the student and of what it imitates (no activation applied to the student's yet) to a pair.

    source_at, target_at  where each side is read, in words that follow the name of what is read
    by_anchor             whether rows belong to an anchor, so that there can be an adapter for each
    of_maps               whether maps are compared, else rows of vectors
    """

    source_at = ""
    target_at = ""
    by_anchor = False
    of_maps = False

    def __call__(self, source: Signal, target: Signal, step: Step) -> Pair:
        raise NotImplementedError


class SamePlaces(Correspondence):
    """Both sides are read at the same places already and have what activations they need."""

    def __call__(self, source: Signal, target: Signal, step: Step) -> Pair:
        return Pair(source, target)


class CellToRegion(Correspondence):
    """Dense student, target at regions: the student's vectors at the cells that the regions came from.

    Ground-truth boxes have no cell and are left out.
    """

    source_at = " at traced cells"
    by_anchor = True

    def __call__(self, source: Signal, target: Signal, step: Step) -> Pair:
        vectors, traced, anchor = read_cells(tensors_of(source), step.regions)
        return Pair([as_dense(step.student.head).activate(vectors)], [tensors_of(target)[0][traced]], anchor)


@dataclass(frozen=True)
class RegionToCell(Correspondence):
    """Two-stage student, dense target: a region's vector against the target's map at its cell.

    The cell is that of the student's RPN; where the target's strides are `factors` times as wide, the target's cell
    that this one lies in. Ground-truth boxes have no cell and are left out, as are cells of levels that the target
    lacks.
    """

    factors: tuple[int, ...]
    source_at = " of the regions that came from them"
    target_at = " at cells"
    by_anchor = True

    def __call__(self, source: Signal, target: Signal, step: Step) -> Pair:
        vectors, traced, anchor = read_cells(tensors_of(target), step.regions, self.factors)
        return Pair([_at_regions(source, step)[traced]], [vectors], anchor)


class RegionToRegion(Correspondence):
    """Two-stage student, target at regions: both read the same regions, ground truth among them."""

    source_at = " at the same regions"

    def __call__(self, source: Signal, target: Signal, step: Step) -> Pair:
        return Pair([_at_regions(source, step)], target)


@dataclass(frozen=True)
class CellToCell(Correspondence):
    """Both dense: the student's maps, averaged over `factors` x `factors` cells where the target's are wider."""

    factors: tuple[int, ...]
    of_maps = True

    def __call__(self, source: Signal, target: Signal, step: Step) -> Pair:
        head = as_dense(step.student.head)
        maps = coarsen([head.activate(x) for x in tensors_of(source)], self.factors)
        return Pair(maps, tensors_of(target)[: len(maps)])


def correspond(student_at: str, target_at: str, factors: Sequence[int] = ()) -> Correspondence:
    """The table of pairs, by where the student predicts, and what it imitates: at "cells" or at "regions".

    `factors` of a target at cells: see `stride_factors`.
    """
    parts = tuple(factors)
    table: dict[tuple[str, str], Correspondence] = {
        ("cells", "cells"): CellToCell(parts),
        ("cells", "regions"): CellToRegion(),
        ("regions", "cells"): RegionToCell(parts),
        ("regions", "regions"): RegionToRegion(),
    }
    return table[student_at, target_at]


def stride_factors(own: Sequence[int], goal: Sequence[int]) -> list[int]:
    """How many cells of each level of strides `own` make one of strides `goal`, by the levels' place from the finest.

    By place and not by stride, as box heads find their level: the finest level of each pyramid answers for the
    smallest objects. Where one side has more levels, its coarsest ones have no counterpart and are left out: a pyramid
    of strides 8, 16, 32 is compared with the first three levels of one that goes to 128.
    Raises UserError where strides are not whole multiples.
    """
    found = [theirs / mine for mine, theirs in zip(own, goal)]
    if any(f < 1 or f != int(f) for f in found):
        raise UserError(
            f"a dense teacher of strides {_listed(goal)} cannot be compared with a student of strides {_listed(own)}: "
            "each level of the student must have the teacher's stride or a whole part of it"
        )
    return [int(f) for f in found]


def coarsen(maps: Sequence[Tensor], factors: Sequence[int]) -> list[Tensor]:
    """Level l averaged over factors[l] x factors[l] cells (fewer at the border); levels beyond `factors` are left out.

    (B, C, H, W) per level -> (B, C, ceil(H / f), ceil(W / f)).
    """
    return [m if k == 1 else functional.avg_pool2d(m, k, ceil_mode=True) for m, k in zip(maps, factors)]


def read_cells(
    maps: list[Tensor], regions: list[Regions], factors: Sequence[int] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The vectors of dense maps at the cells behind regions.

    maps [l] (B, C, H, W). Returns vectors (N, C); `traced` (N,) int64, to which rows of all images' regions they
    belong; and their anchor (N,) int64. Ground-truth boxes have no cell and are left out, as are cells of levels that
    the maps lack. Gradients flow into the maps. `factors`: how many cells of a traced level make one of the maps'.
    """
    shapes = [(m.shape[-2], m.shape[-1]) for m in maps]
    image, row, traced, anchor = trace_cells(shapes, regions, factors)
    return flatten(maps, maps[0].shape[1])[image, row], traced, anchor


def trace_cells(
    shapes: Sequence[Size], regions: list[Regions], factors: Sequence[int] | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Where the cells behind regions lie in flattened maps of `shapes` (height, width): as for `read_cells`.

    Four int64 tensors (N,): the image, the row among the cells of all its levels, the region, and the anchor.
    """
    cells = CellIndex.cat([r.cells for r in regions])
    image = torch.cat([torch.full_like(r.labels, i) for i, r in enumerate(regions)])
    traced = ((cells.level >= 0) & (cells.level < len(shapes))).nonzero().flatten()
    cell, image = cells[traced], image[traced]
    parts = cached_tensor(factors or [1] * len(shapes), torch.int64, image.device)[cell.level]
    sizes = [height * width for height, width in shapes]
    starts = cached_tensor([sum(sizes[:level]) for level in range(len(shapes))], torch.int64, image.device)
    width = cached_tensor([width for _, width in shapes], torch.int64, image.device)[cell.level]
    row = starts[cell.level] + cell.y // parts * width + cell.x // parts
    return image, row, traced, cell.anchor


def _at_regions(source: Signal, step: Step) -> Tensor:
    """A two-stage student's vectors (R, D) at the shared regions, activated."""
    (vectors,) = tensors_of(source)
    return functional.relu(vectors if step.region_rows is None else vectors[step.region_rows])


def _listed(strides: Sequence[int]) -> str:
    return ", ".join(str(stride) for stride in strides)
