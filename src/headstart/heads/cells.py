"""What every head that predicts at the cells of a pyramid shares: flattening, decoding and proposals."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torchvision.ops import clip_boxes_to_image

from headstart.heads.convention import OWN, Convention
from headstart.heads.rebuildable import Rebuildable
from headstart.heads.selection import DETECTIONS, PROPOSALS, Selection
from headstart.options import Depth, Width
from headstart.ordering import stable_nms, stable_topk
from headstart.priors import index_cells
from headstart.structures import Assignment, CellIndex, DenseOutputs, Detections, Features, Size, Targets


@dataclass(frozen=True, kw_only=True)
class CellOptions:
    """Options of every head that predicts at cells.

    width      channels of its towers
    depth      blocks of each tower
    selection  how detections are chosen
    """

    width: Width = 256
    depth: Depth = 4
    selection: Selection = DETECTIONS


def flatten_level(maps: Tensor, width: int) -> Tensor:
    """(B, A*width, H, W) -> (B, H*W*A, width), rows in order (y, x, anchor)."""
    batch, channels, height, wide = maps.shape
    rows = height * wide * (channels // width)  # said, because of no image it could not be told
    return maps.permute(0, 2, 3, 1).reshape(batch, rows, width)


def flatten(maps: Iterable[Tensor], width: int) -> Tensor:
    """Levels of (B, A*width, H, W) -> (B, N, width), rows in order (level, y, x, anchor)."""
    return torch.cat([flatten_level(m, width) for m in maps], dim=1)


class CellHead(Rebuildable[CellOptions]):
    """A head that predicts at every cell of a pyramid. Subclasses give layers, priors, assignment and loss.

    num_classes  K; `num_anchors` A per cell; `strides` of the levels; `selection` for detections, `proposing` for RoIs
    code_size    R, how many numbers of `reg` make one box
    has_quality  whether its outputs have a `quality`
    objectness   whether that is an objectness, without which the class means nothing: candidates and proposals are then
                 ranked by class times quality, a box has its best class alone, and NMS sees boxes that reach out of the
                 image whole
    convention   how weights of other libraries are to be read
    """

    num_anchors: int = 1
    code_size: int = 4
    has_quality: bool = False
    objectness: bool = False

    def __init__(
        self, num_classes: int, strides: Sequence[int], options: CellOptions, convention: Convention = OWN
    ) -> None:
        super().__init__()
        self.hparams = options
        self.num_classes = num_classes
        self.strides = list(strides)
        self.width, self.selection = options.width, options.selection
        self.proposing = PROPOSALS
        self.convention = convention

    # -- to be given by subclasses ---------------------------------------------------------------------------------

    def forward(
        self, features: Features, sizes: list[Size], targets: list[Targets] | None = None, *, trace: bool = False
    ) -> DenseOutputs:
        """Predictions for a pyramid. `targets` are not used by these heads: assignment is its own step."""
        raise NotImplementedError

    def decode_level(self, reg: Tensor, level: int, shape: Size, step: Size | None = None) -> Tensor:
        """Box code (..., H*W*A, R) of a level -> xyxy boxes (..., H*W*A, 4) in pixels, not clipped.

        `step` is the distance of cells (y, x) in pixels, where it is not the level's stride.
        """
        raise NotImplementedError

    def assign(self, outputs: DenseOutputs, targets: list[Targets]) -> Assignment:
        """Which prior answers for which object, without gradient."""
        raise NotImplementedError

    def loss(self, outputs: DenseOutputs, assignment: Assignment) -> dict[str, Tensor]:
        """{name: scalar}, each a sum divided by one normaliser that all processes agree on."""
        raise NotImplementedError

    # -- shared ----------------------------------------------------------------------------------------------------

    def tap_names(self) -> list[str]:
        """The places inside it that methods may read (`detectors.taps`)."""
        return ["output/cls", "output/reg", *(["output/quality"] if self.has_quality else [])]

    def tap_width(self, name: str) -> int:
        """Channels of such a place."""
        part, _, which = name.partition("/")
        if part != "output":
            return self.width
        return {"cls": self.num_classes, "reg": self.code_size, "quality": 1}[which] * self.num_anchors

    def read_tap(self, name: str, outputs: DenseOutputs) -> list[Tensor]:
        """The values of such a place, [l] (B, C, H, W), before their activation. Layers must have been traced."""
        part, _, which = name.partition("/")
        return getattr(outputs, which) if part == "output" else outputs.inner[name]

    def keep_taps(self, outputs: DenseOutputs, names: Collection[str]) -> DenseOutputs:
        """The outputs without the traced layers that are not among `names`, so that their memory can be used again."""
        return replace(outputs, inner={name: maps for name, maps in outputs.inner.items() if name in names})

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
        that, see `Convention.joint_score`); with an `objectness` it is compared with the threshold so.
        """
        return [self._decode_image(outputs, sizes[i], i) for i in range(len(sizes))]

    def _decode_image(self, outputs: DenseOutputs, size: Size, image: int) -> Detections:
        chosen = self.selection
        parts = []
        for level, logits in enumerate(outputs.cls):
            scores = flatten_level(logits[image : image + 1], self.num_classes)[0].float().sigmoid()
            quality = self._quality(outputs, level, image)
            if quality is not None and (self.objectness or self.convention.joint_score):
                joint = scores * quality[:, None]
                scores, quality = joint.sqrt() if self.convention.joint_score else joint, None
            best = None
            if self.objectness:
                scores, best = scores.max(dim=1)
            flat = scores.flatten()
            index = (flat > chosen.score_threshold).nonzero().flatten() if chosen.score_threshold is not None else None
            values = flat if index is None else flat[index]
            top = stable_topk(values, min(chosen.nms_pre, len(values)))
            values, index = values[top], top if index is None else index[top]
            if best is None:
                rows, labels = index // self.num_classes, index % self.num_classes
            else:
                rows, labels = index, best[index]
            if quality is not None:
                values = values * quality[rows]
            parts.append(
                self._rows(outputs, level, image, rows, size, values, labels, chosen, clip=not self.objectness)
            )
        found = join(parts)
        kept = found[stable_nms(found.boxes, found.scores, found.labels, chosen.iou_threshold)]
        if self.objectness:
            boxes = clip_boxes_to_image(kept.boxes, size)
            kept = replace(kept, boxes=boxes)[chosen.large_enough(boxes).nonzero().flatten()]
        return kept[: chosen.max_detections]

    def _quality(self, outputs: DenseOutputs, level: int, image: int) -> Tensor | None:
        if outputs.quality is None:
            return None
        return flatten_level(outputs.quality[level][image : image + 1], 1)[0, :, 0].float().sigmoid()

    @torch.no_grad()
    def proposals(self, outputs: DenseOutputs, sizes: list[Size]) -> list[Detections]:
        """Class-agnostic boxes per image, best first, each with its cell; nothing here carries a gradient.

        An anchor's score is its largest class probability (quality is not used, unless it is an `objectness`), NMS is
        per level. Source: the region proposals of HEAD (spec of the released code; tests/parity, head_assist
        `proposals/*`).
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
            quality = self._quality(outputs, level, image) if self.objectness else None
            ranked = best if quality is None else best.sigmoid() * quality
            rows = stable_topk(ranked, min(chosen.nms_pre, len(best)))
            scores = ranked[rows].sigmoid() if quality is None else ranked[rows]
            part = self._rows(outputs, level, image, rows, size, scores, torch.zeros_like(rows), chosen)
            if chosen.score_threshold is not None:
                part = part[(part.scores > chosen.score_threshold).nonzero().flatten()]
            parts.append(part)
        found = join(parts)
        kept = stable_nms(found.boxes, found.scores, found.cells.level, chosen.iou_threshold)
        return found[kept[: chosen.max_detections]]

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
        *,
        clip: bool = True,
    ) -> Detections:
        """Detections of the chosen rows of a level; boxes too small after clipping are dropped."""
        shape = outputs.cls[level].shape[-2:]
        codes = flatten_level(outputs.reg[level][image : image + 1], self.code_size)[0].float()
        step = self.steps(outputs)[level]
        boxes = self.decode_level(codes, level, (shape[0], shape[1]), step)[rows]
        boxes = clip_boxes_to_image(boxes, size) if clip else boxes
        cell = rows // self.num_anchors
        index = CellIndex(torch.full_like(rows, level), cell // shape[1], cell % shape[1], rows % self.num_anchors)
        found = Detections(boxes, scores, labels, index)
        return found[chosen.large_enough(boxes).nonzero().flatten()] if clip else found


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
