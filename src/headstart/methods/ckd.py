"""CKD: how the student's own head imitates a head of another kind, one link for each kind of pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from headstart.detectors.detector import Detector
from headstart.heads.cascade import CascadeRoIHead
from headstart.heads.dense import DenseHead
from headstart.heads.roi import BoxHead
from headstart.methods.assistants.assistant import Assistant, Layers, Sight
from headstart.methods.assistants.maps import DenseAssistant, coarsen, factors
from headstart.methods.assistants.regions import RCNNAssistant
from headstart.methods.assistants.tracing import ADAPTERS, read_cells

Compared = tuple[list[Tensor], list[Tensor]]
"""What the student says after the adapter, and what it is to say: one pair of tensors, or one for each level."""


class Link(nn.Module):
    """From the student's head to a guide's: the teacher's, or an assistant that learns from ground truth alone.

    `forward` gives what is compared, by the end of the term's name ("" where there is one term). `by_anchor`: whether
    it may have one adapter per anchor shape.
    """

    by_anchor = False

    def forward(self, sight: Sight, goal: Layers) -> dict[str, Compared]:
        raise NotImplementedError

    def rows(self) -> dict[str, tuple[str, str, str]]:
        """For the pairing table, by the same names: from, to, through."""
        raise NotImplementedError


class Traced(Link):
    """Dense student, guide with regions: the tower's vectors at the cells that the regions came from.

    Against the guide's last layer (of a cascade's first stage) at those regions. Ground-truth boxes have no cell.
    """

    by_anchor = True

    def __init__(self, student: DenseHead, guide: BoxHead, layer: str, adapter: str) -> None:
        super().__init__()
        self.layer, self.kind = layer, adapter
        self.shape = student.width, guide.hidden
        self.place = f"student cls tower block {len(student.cls_tower) - 1} at traced cells"
        self.adapter = ADAPTERS[adapter](student.num_anchors, *self.shape)

    def forward(self, sight: Sight, goal: Layers) -> dict[str, Compared]:
        vectors, traced, anchor = read_cells(sight.outputs.cls_trace[-1], sight.places)
        return {"": ([self.adapter(functional.relu(vectors), anchor)], [goal[self.layer][0][traced]])}

    def rows(self) -> dict[str, tuple[str, str, str]]:
        width, hidden = self.shape
        return {"": (self.layer, self.place, f"{self.kind} {width} -> {hidden}")}


class Shared(Link):
    """Two-stage student, guide with regions: both read the same regions, ground truth among them."""

    def __init__(self, student: BoxHead, guide: BoxHead, layer: str) -> None:
        super().__init__()
        self.layer, self.place = layer, f"student {student.layers[-1]} at the same regions"
        self.adapter = nn.Linear(student.hidden, guide.hidden, bias=False)

    def forward(self, sight: Sight, goal: Layers) -> dict[str, Compared]:
        return {"": ([self.adapter(student_vectors(sight))], goal[self.layer])}

    def rows(self) -> dict[str, tuple[str, str, str]]:
        through = f"linear {self.adapter.in_features} -> {self.adapter.out_features}, no bias"
        return {"": (self.layer, self.place, through)}


class LookedUp(Link):
    """Two-stage student, dense guide: a region's vector against the guide's classification tower at its cell.

    The cell is that of the student's RPN; where the guide's strides are `factors` times as wide, the one that holds
    it. Ground-truth boxes have no cell.
    """

    by_anchor = True
    layer = "cls_tower"

    def __init__(self, student: BoxHead, anchors: int, parts: Sequence[int], guide: DenseHead, adapter: str) -> None:
        super().__init__()
        self.parts, self.kind = list(parts), adapter
        self.shape = student.hidden, guide.width
        self.place = f"student {student.layers[-1]} of the regions that came from them"
        self.adapter = ADAPTERS[adapter](anchors, *self.shape)

    def forward(self, sight: Sight, goal: Layers) -> dict[str, Compared]:
        vectors, traced, anchor = read_cells(goal[self.layer], sight.places, self.parts)
        return {"": ([self.adapter(student_vectors(sight)[traced], anchor)], [vectors])}

    def rows(self) -> dict[str, tuple[str, str, str]]:
        hidden, width = self.shape
        return {"": (f"{self.layer} at cells", self.place, f"{self.kind} {hidden} -> {width}")}


class Aligned(Link):
    """Both dense: maps of the towers, cell by cell, through 1x1 convolutions shared by the levels.

    With a teacher the middle block of either tower (the second of four) imitates the last of the teacher's; without
    one, the last block of the classification tower imitates the assistant's.
    """

    def __init__(self, student: DenseHead, guide: DenseHead, *, free: bool) -> None:
        super().__init__()
        self.parts = factors(student.strides, guide.strides)
        self.blocks = {"cls": len(student.cls_tower) - 1}
        if not free:
            towers = {"cls": student.cls_tower, "reg": student.reg_tower}
            self.blocks = {name: (len(tower) - 1) // 2 for name, tower in towers.items()}
        self.adapters = nn.ModuleDict({name: nn.Conv2d(student.width, guide.width, 1) for name in self.blocks})
        self.free = free

    def forward(self, sight: Sight, goal: Layers) -> dict[str, Compared]:
        found = {}
        traces = {"cls": sight.outputs.cls_trace, "reg": sight.outputs.reg_trace}
        for name, block in self.blocks.items():
            maps = coarsen([functional.relu(x) for x in traces[name][block]], self.parts)
            ending = "" if self.free else name
            found[ending] = ([self.adapters[name](x) for x in maps], goal[f"{name}_tower"])
        return found

    def rows(self) -> dict[str, tuple[str, str, str]]:
        rows = {}
        for name, block in self.blocks.items():
            layer: Any = self.adapters[name]
            through = f"1x1 {layer.in_channels} -> {layer.out_channels}"
            rows["" if self.free else name] = (f"{name}_tower", f"student {name} tower block {block}", through)
        return rows


def student_vectors(sight: Sight) -> Tensor:
    """The last layer of a two-stage student's (first) box head at the shared regions: (R, D), activated."""
    vectors = sight.outputs.first.roi.hidden[-1]
    return functional.relu(vectors if sight.rows is None else vectors[sight.rows])


def first_box_head(roi: nn.Module) -> Any:
    """A two-stage detector's box head, or the first of several."""
    return roi.heads[0] if isinstance(roi, CascadeRoIHead) else roi


def connect(student: Detector, guide: nn.Module, assistant: Assistant, adapter: str, *, free: bool) -> Link:
    """The link for a student and the head that guides it: a dense head, or what reads regions (`roi`).

    `adapter` is for links that go by an anchor; the others have one layer.
    """
    head = student.head
    if isinstance(assistant, DenseAssistant) and isinstance(guide, DenseHead):
        if isinstance(head, DenseHead):
            return Aligned(head, guide, free=free)
        own = first_box_head(head.roi)
        return LookedUp(own, head.rpn.num_anchors, assistant.factors, guide, adapter)
    first: BoxHead = first_box_head(guide)
    layer = first.layers[-1] if isinstance(assistant, RCNNAssistant) else f"stage0_{first.layers[-1]}"
    if isinstance(head, DenseHead):
        return Traced(head, first, layer, adapter)
    return Shared(first_box_head(head.roi), first, layer)
