"""What every dense head shares: entering at a block, flattening, decoding and proposals."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import nms

from headstart.boxes import clip_boxes
from headstart.heads.convention import OWN, Convention
from headstart.heads.tower import Tower
from headstart.priors import index_cells
from headstart.structures import Assignment, CellIndex, DenseOutputs, Detections, Features, Size, Targets


@dataclass(frozen=True)
class Selection:
    """How boxes are chosen from predictions.

    nms_pre          candidates with the best scores that are kept on each level before NMS (dense heads only)
    score_threshold  candidates must score more than this, 0..1 (None: no limit)
    iou_threshold    IoU, 0..1, above which NMS removes the box with the lower score
    max_detections   boxes left per image
    min_size         boxes narrower or lower than this (pixels) after clipping are dropped; 0: those without area, None:
                     none
    """

    nms_pre: int
    score_threshold: float | None
    iou_threshold: float
    max_detections: int
    min_size: float | None = 0.0

    def large_enough(self, boxes: Tensor) -> Tensor:
        """Which of clipped boxes (N, 4) are not too small: (N,) bool."""
        sides = (boxes[:, 2:] - boxes[:, :2]).amin(dim=1)
        if self.min_size is None:
            return torch.ones_like(sides, dtype=torch.bool)
        return sides >= self.min_size if self.min_size > 0 else sides > 0


SELECTION_ALIASES = {
    "per_level": "nms_pre",
    "threshold": "score_threshold",
    "overlap": "iou_threshold",
    "keep": "max_detections",
    "least": "min_size",
}
"""Former names of `Selection`'s numbers, as recipes and weight files may still have them, and today's."""

DETECTIONS = Selection(nms_pre=1000, score_threshold=0.05, iou_threshold=0.5, max_detections=100)
PROPOSALS = Selection(nms_pre=2000, score_threshold=None, iou_threshold=0.7, max_detections=1000)


def flatten_level(maps: Tensor, width: int) -> Tensor:
    """(B, A*width, H, W) -> (B, H*W*A, width), rows in order (y, x, anchor)."""
    batch = len(maps)
    return maps.permute(0, 2, 3, 1).reshape(batch, -1, width)


def flatten(maps: Iterable[Tensor], width: int) -> Tensor:
    """Levels of (B, A*width, H, W) -> (B, N, width), rows in order (level, y, x, anchor)."""
    return torch.cat([flatten_level(m, width) for m in maps], dim=1)


TOWERS = ("cls_tower", "reg_tower")


class DenseHead(nn.Module):
    """A head that predicts at every cell of a pyramid. Subclasses give priors, predictions, assignment and loss.

    num_classes  K; `num_anchors` A per cell; `strides` of the levels; `selection` for detections, `proposing` for RoIs
    code_size    R, how many numbers of `reg` make one box
    layer_names  what `layers` gives
    hparams      the constructor's options, with which `rebuild` makes another head
    convention   how weights of other libraries are to be read
    """

    predicts_at: Literal["cells"] = "cells"
    regions_per_image = 0
    num_anchors: int = 1
    code_size: int = 4
    layer_names: tuple[str, ...] = ("cls_tower", "reg_tower")
    width: int
    hparams: dict[str, Any]
    cls: nn.Conv2d
    cls_tower: Tower
    reg_tower: Tower

    def __init__(
        self, num_classes: int, strides: Sequence[int], selection: Selection, convention: Convention = OWN
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.strides = list(strides)
        self.selection = selection
        self.proposing = PROPOSALS
        self.convention = convention

    # -- to be given by subclasses ---------------------------------------------------------------------------------

    def predict(self, cls: list[Tensor], reg: list[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor] | None]:
        """Class logits, box code and quality logits per level, from the towers' activated results per level."""
        raise NotImplementedError

    def decode_level(self, reg: Tensor, level: int, shape: Size, step: Size | None = None) -> Tensor:
        """Box code (..., H*W*A, R) of a level -> xyxy boxes (..., H*W*A, 4), not clipped.

        `step` is the distance of cells (y, x) in pixels, where it is not the level's stride.
        """
        raise NotImplementedError

    def assign(self, outputs: DenseOutputs, targets: list[Targets]) -> Assignment:
        raise NotImplementedError

    def loss(self, outputs: DenseOutputs, assignment: Assignment) -> dict[str, Tensor]:
        raise NotImplementedError

    # -- shared ----------------------------------------------------------------------------------------------------

    def forward(
        self, features: Features, sizes: list[Size], targets: list[Targets] | None = None, *, trace: bool = False
    ) -> DenseOutputs:
        """Predictions for a pyramid. `targets` are not used by dense heads: assignment is its own step."""
        return self.resume(features.pyramid, features.pyramid, start=0, sizes=sizes, trace=trace)

    def resume(
        self,
        cls_maps: list[Tensor],
        reg_maps: list[Tensor],
        *,
        start: int,
        sizes: list[Size],
        trace: bool = False,
    ) -> DenseOutputs:
        """Enter both towers at block `start` with maps per level (what `trace[start - 1]` holds) and go to the end."""
        cls, cls_trace = run_tower(self.cls_tower, cls_maps, start, trace)
        reg, reg_trace = run_tower(self.reg_tower, reg_maps, start, trace)
        return DenseOutputs(*self.predict(cls, reg), sizes, cls_trace, reg_trace)

    def layers(self, outputs: DenseOutputs) -> dict[str, list[Tensor]]:
        """The activated results of both towers, per level: what an assistant of this kind imitates. Needs a trace."""
        return {
            "cls_tower": [functional.relu(x) for x in outputs.cls_trace[-1]],
            "reg_tower": [functional.relu(x) for x in outputs.reg_trace[-1]],
        }

    @property
    def predictor(self) -> DenseHead:
        """What makes the final predictions: the head itself."""
        return self

    @property
    def tower_shape(self) -> tuple[int, int]:
        """Width and depth of its towers."""
        return self.width, len(self.cls_tower)

    @property
    def box_heads(self) -> Sequence[nn.Module]:
        """What reads regions: nothing."""
        return ()

    def tap_names(self) -> list[str]:
        """The places inside it that methods may read (`detectors.taps`)."""
        towers = [f"{name}/{block}" for name in TOWERS for block in range(len(getattr(self, name)))]
        outputs = [f"output/{name}" for name in ("cls", "reg")]
        return [*self.layer_names, *towers, *outputs, *(["output/quality"] if hasattr(self, "centreness") else [])]

    def tap_width(self, name: str) -> int:
        """Channels of such a place."""
        part, _, which = name.partition("/")
        if part != "output":
            return self.width
        return {"cls": self.num_classes, "reg": self.code_size, "quality": 1}[which] * self.num_anchors

    def read_tap(self, name: str, outputs: DenseOutputs) -> list[Tensor]:
        """The values of such a place, [l] (B, C, H, W), before their activation. Towers must have been traced."""
        part, _, which = name.partition("/")
        if part == "output":
            return getattr(outputs, which)
        if part in TOWERS:
            trace = outputs.cls_trace if part == "cls_tower" else outputs.reg_trace
            return trace[int(which) if which else -1]
        return outputs.inner[part]

    def keep_taps(self, outputs: DenseOutputs, names: Collection[str]) -> DenseOutputs:
        """The outputs without the traced layers that are not among `names`, so that their memory can be used again."""

        def kept(tower: str, trace: list[list[Tensor]]) -> list[list[Tensor]]:
            blocks = {
                int(name.partition("/")[2] or len(trace) - 1) for name in names if name.partition("/")[0] == tower
            }
            return [maps if block in blocks else [] for block, maps in enumerate(trace)]

        return replace(
            outputs,
            cls_trace=kept("cls_tower", outputs.cls_trace),
            reg_trace=kept("reg_tower", outputs.reg_trace),
            inner={name: maps for name, maps in outputs.inner.items() if name in names},
        )

    def rebuild(self, channels: int, strides: Sequence[int], num_classes: int | None = None) -> DenseHead:
        """A new head with the same options, for another pyramid and, if given, another number of classes."""
        kind: Any = type(self)
        return kind(self.num_classes if num_classes is None else num_classes, channels, strides, **self.hparams)

    def steps(self, outputs: DenseOutputs) -> list[Size]:
        """How far apart the cells of each level lie, (y, x) pixels."""
        if not self.convention.even_steps:
            return [(stride, stride) for stride in self.strides]
        sizes = shapes(outputs)
        height, width = (side * self.strides[0] for side in sizes[0])
        return [(height // rows, width // columns) for rows, columns in sizes]

    def cells(self, outputs: DenseOutputs) -> CellIndex:
        """The cell of every row of the flattened outputs."""
        return index_cells(shapes(outputs), self.num_anchors, outputs.cls[0].device)

    def row_strides(self, outputs: DenseOutputs) -> Tensor:
        """(N,) float: the stride of every row of the flattened outputs."""
        counts = [height * width * self.num_anchors for height, width in shapes(outputs)]
        device = outputs.cls[0].device
        every = [torch.full((count,), float(stride), device=device) for stride, count in zip(self.strides, counts)]
        return torch.cat(every)

    @torch.no_grad()
    def decode(self, outputs: DenseOutputs, sizes: list[Size]) -> list[Detections]:
        """Detections per image: per level the best classes above the threshold, then NMS within each class.

        The score is the class probability times the quality's probability, where the head has one (or the root of
        that, see `Convention.joint_score`).
        """
        return [self._decode_image(outputs, sizes[i], i) for i in range(len(sizes))]

    def _decode_image(self, outputs: DenseOutputs, size: Size, image: int) -> Detections:
        chosen = self.selection
        parts = []
        for level, logits in enumerate(outputs.cls):
            scores = flatten_level(logits[image : image + 1], self.num_classes)[0].float().sigmoid()
            quality = self._quality(outputs, level, image)
            if quality is not None and self.convention.joint_score:
                scores, quality = (scores * quality[:, None]).sqrt(), None
            flat = scores.flatten()
            index = (flat > chosen.score_threshold).nonzero().flatten() if chosen.score_threshold is not None else None
            values = flat if index is None else flat[index]
            values, top = values.topk(min(chosen.nms_pre, len(values)))
            index = top if index is None else index[top]
            rows, labels = index // self.num_classes, index % self.num_classes
            if quality is not None:
                values = values * quality[rows]
            parts.append(self._rows(outputs, level, image, rows, size, values, labels, chosen))
        found = join(parts)
        side = max(size) + 1
        kept = nms(found.boxes + (found.labels * side)[:, None], found.scores, chosen.iou_threshold)
        return found[kept[: chosen.max_detections]]

    def _quality(self, outputs: DenseOutputs, level: int, image: int) -> Tensor | None:
        if outputs.quality is None:
            return None
        return flatten_level(outputs.quality[level][image : image + 1], 1)[0, :, 0].float().sigmoid()

    @torch.no_grad()
    def proposals(self, outputs: DenseOutputs, sizes: list[Size]) -> list[Detections]:
        """Class-agnostic boxes per image, best first, each with its cell; nothing here carries a gradient.

        An anchor's score is its largest class probability (quality is not used), NMS is per level. Source: the region
        proposals of HEAD (spec of the released code; tests/parity, head_assist `proposals/*`).
        """
        return self.propose(outputs, sizes, self.proposing)

    @torch.no_grad()
    def propose(self, outputs: DenseOutputs, sizes: list[Size], chosen: Selection) -> list[Detections]:
        """`proposals` with a selection of the caller's."""
        return [self._propose_image(outputs, size, image, chosen) for image, size in enumerate(sizes)]

    def _propose_image(self, outputs: DenseOutputs, size: Size, image: int, chosen: Selection) -> Detections:
        parts = []
        for level, logits in enumerate(outputs.cls):
            best = flatten_level(logits[image : image + 1], self.num_classes)[0].float().amax(dim=1)
            values, rows = best.topk(min(chosen.nms_pre, len(best)))
            part = self._rows(outputs, level, image, rows, size, values.sigmoid(), torch.zeros_like(rows), chosen)
            if chosen.score_threshold is not None:
                part = part[(part.scores > chosen.score_threshold).nonzero().flatten()]
            parts.append(part[nms(part.boxes, part.scores, chosen.iou_threshold)[: chosen.max_detections]])
        found = join(parts)
        return found[found.scores.argsort(descending=True, stable=True)[: chosen.max_detections]]

    def _rows(
        self,
        outputs: DenseOutputs,
        level: int,
        image: int,
        rows: Tensor,
        size: Size,
        scores: Tensor,
        labels: Tensor,
        chosen: Selection,
    ) -> Detections:
        """Detections of the chosen rows of a level; boxes too small after clipping are dropped."""
        shape = outputs.cls[level].shape[-2:]
        codes = flatten_level(outputs.reg[level][image : image + 1], self.code_size)[0].float()
        step = self.steps(outputs)[level]
        boxes = clip_boxes(self.decode_level(codes, level, (shape[0], shape[1]), step)[rows], size)
        cell = rows // self.num_anchors
        index = CellIndex(torch.full_like(rows, level), cell // shape[1], cell % shape[1], rows % self.num_anchors)
        return Detections(boxes, scores, labels, index)[chosen.large_enough(boxes).nonzero().flatten()]


def run_tower(tower: Tower, maps: Iterable[Tensor], start: int, trace: bool) -> tuple[list[Tensor], list[list[Tensor]]]:
    """A tower from block `start` on: its activated result per level, and its trace [block][l] (empty if not asked)."""
    passed = [tower(x, start) for x in maps]
    blocks = [list(levels) for levels in zip(*(seen for _, seen in passed))] if trace else []
    return [x for x, _ in passed], blocks


def shapes(outputs: DenseOutputs) -> list[Size]:
    """(height, width) of each level."""
    return [(m.shape[-2], m.shape[-1]) for m in outputs.cls]


def join(parts: list[Detections]) -> Detections:
    """Several levels' detections, one after the other."""
    return Detections(
        torch.cat([p.boxes for p in parts]),
        torch.cat([p.scores for p in parts]),
        torch.cat([p.labels for p in parts]),
        CellIndex.cat([p.cells for p in parts]),
    )
