"""Assistants: heads of the teacher's kind on the student's pyramid. They are trained and then thrown away."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from headstart.assign.sample import RegionSampler
from headstart.classmap import ClassMap
from headstart.heads.dense import DenseHead
from headstart.heads.roi import BoxHead
from headstart.structures import DenseOutputs, Features, Regions, Size, Targets


@dataclass(frozen=True)
class Assistance:
    """losses {name: scalar}; hidden {layer: (R, D)} activated; places: the regions that were read, per image."""

    losses: dict[str, Tensor]
    hidden: dict[str, Tensor]
    places: list[Regions]


class RCNNAssistant(nn.Module):
    """An R-CNN head for a student whose own head proposes the regions.

    Student and teacher read the same boxes by the same level rule from their own pyramids, level by level from the
    first: a student of strides 8.. is read at twice the stride of a teacher of strides 4... The assistant has the
    student's classes, `num_classes` of them.
    """

    def __init__(
        self, teacher: BoxHead, channels: int, strides: list[int], sampler: RegionSampler, num_classes: int
    ) -> None:
        super().__init__()
        self.head = teacher.twin(channels, strides, num_classes)
        self.sampler = sampler

    def inherit(self, teacher: BoxHead, classes: ClassMap) -> list[str]:
        """Copy every tensor of the teacher's head whose shape agrees, classifier and boxes class by class.

        Merged classes start from the mean of their rows. What does not come from the teacher is returned by name.
        """
        own = self.head.state_dict()
        other = teacher.state_dict() | pull_class_layers(teacher, self.head, classes)
        agreed = {name: value for name, value in other.items() if own[name].shape == value.shape}
        self.head.load_state_dict(agreed, strict=False)
        unknown = len(classes.unmatched_student)
        rows = [f"{unknown} of {len(classes.student)} classes"] if unknown else []
        return [name for name in own if name not in agreed] + rows

    def forward(
        self, head: DenseHead, features: Features, outputs: DenseOutputs, sizes: list[Size], targets: list[Targets]
    ) -> Assistance:
        """Read the student's pyramid at regions sampled once from the proposals of the student's `head`."""
        proposals = head.proposals(outputs, sizes)
        places = [self.sampler(p, t, self.head.num_classes) for p, t in zip(proposals, targets)]
        read = self.head(features.pyramid, [p.boxes for p in places])
        return Assistance(self.head.loss(read, places), activated(read.hidden), places)

    @torch.no_grad()
    def consult(self, teacher: BoxHead, features: Features, places: list[Regions]) -> dict[str, Tensor]:
        """The teacher's head on its own pyramid at the same places: {layer: (R, D)} activated."""
        return activated(teacher.read(features.pyramid, [p.boxes for p in places]))


def pull_class_layers(teacher: BoxHead, own: BoxHead, classes: ClassMap) -> dict[str, Tensor]:
    """`cls` and `reg` of a head of the teacher's make for the student's classes.

    A class gets its rows; merged classes the mean of theirs, their logit raised by the log of their number, which is
    the log of the sum of their exponentials where they agree; unknown classes keep `own` rows, background is copied.
    """
    found = {}
    known, kept = len(classes.teacher), len(classes.student)
    for key in ("weight", "bias"):
        theirs, mine = getattr(teacher.cls, key).detach(), getattr(own.cls, key).detach()
        rows = classes.pull_rows(theirs[:known], mine[:kept])
        if key == "bias":
            rows = rows + classes.counts(rows.device).clamp(min=1).log()
        found[f"cls.{key}"] = torch.cat([rows, theirs[known : known + 1].to(rows)])
        if not own.agnostic:
            boxes = getattr(teacher.reg, key).detach().unflatten(0, (known, 4))
            rows = classes.pull_rows(boxes, getattr(own.reg, key).detach().unflatten(0, (kept, 4)))
            found[f"reg.{key}"] = rows.flatten(0, 1)
    return found


def activated(hidden: list[Tensor]) -> dict[str, Tensor]:
    """{fc0, fc1}: HEAD compares the layers after their ReLU (both official hooks see the in-place result)."""
    return {f"fc{index}": functional.relu(x) for index, x in enumerate(hidden)}


def read_cells(maps: list[Tensor], places: list[Regions]) -> tuple[Tensor, Tensor, Tensor]:
    """The student's own vectors at the cells behind the places.

    maps [l] (B, C, H, W). Returns vectors (N, C), `traced` (N,) which rows of the regions they belong to, and their
    anchor (N,). Ground-truth boxes have no cell and are left out. Gradients flow into the maps.
    """
    level = torch.cat([p.pixels.level for p in places])
    image = torch.cat([torch.full_like(p.labels, i) for i, p in enumerate(places)])
    y, x = torch.cat([p.pixels.y for p in places]), torch.cat([p.pixels.x for p in places])
    rows, vectors = [], []
    for index, features in enumerate(maps):
        own = (level == index).nonzero().flatten()
        rows.append(own)
        vectors.append(features.permute(0, 2, 3, 1)[image[own], y[own], x[own]])
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
