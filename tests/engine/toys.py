"""The smallest things that behave like a student, a teacher and a method."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from headstart.methods import Frozen, Method
from headstart.structures import CellIndex, Detections, Features, ImageBatch, Objective, Progress, Targets

CLASSES = ("circle", "square")


class Student(nn.Module):
    """A convolution, a batch norm and a frozen layer; `forward` gives one vector per image."""

    def __init__(self, classes: tuple[str, ...] = CLASSES, width: int = 4, norm: bool = True) -> None:
        super().__init__()
        self.classes = classes
        self.body = nn.Conv2d(3, width, 3, stride=4)
        self.norm = nn.BatchNorm2d(width) if norm else nn.Identity()
        self.head = nn.Linear(width, 4)
        self.stem = nn.Linear(2, 2).requires_grad_(False)
        self.register_buffer("mean", torch.zeros(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.ones(1, 3, 1, 1), persistent=False)
        self.recipe: dict = {}

    def extract(self, batch: ImageBatch) -> Features:
        vector = self.norm(self.body(batch.pixels.float() / 255)).mean((2, 3))
        return Features([], [], [vector], [4])

    def forward(self, batch: ImageBatch) -> Tensor:
        return self.head(self.extract(batch).pyramid[0])

    def last_part(self, on: bool) -> None:
        """It has no loss of the last part."""

    def detect(self, batch: ImageBatch) -> list[Detections]:
        boxes = self(batch).abs() * 10
        boxes = torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:] + 1], 1)
        one = torch.ones(1)
        zero = torch.zeros(1, dtype=torch.int64)
        return [Detections(box[None], one, zero, CellIndex.none(1)) for box in boxes]


class Plain(Method):
    """Mean over the images of a squared distance to their first box."""

    def forward(self, batch: ImageBatch, targets: list[Targets], progress: Progress) -> Objective:
        goals = torch.stack([t.boxes[0] / 100 if len(t) else torch.zeros(4) for t in targets])
        return Objective({"student/box": (self.student(batch) - goals).square().sum(1).mean()})


class Copying(Plain):
    """Plain, and an adapter from the student's vector to the teacher's; `fault` breaks one thing."""

    def __init__(self, student: nn.Module, teacher: Frozen, fault: str = "") -> None:
        super().__init__(student, (), [teacher])
        width = teacher.model.head.in_features
        self.adapter = nn.Linear(student.head.in_features, width)
        self.spare = nn.Linear(2, 2)
        self.register_buffer("seen", torch.zeros(()))
        self.fault = fault
        self.dropout = nn.Dropout(0.5)

    def forward(self, batch: ImageBatch, targets: list[Targets], progress: Progress) -> Objective:
        terms = dict(super().forward(batch, targets, progress).terms)
        (teacher,) = self.teachers
        vector = self.adapter(self.dropout(self.student.extract(batch).pyramid[0]))
        gap = (vector - teacher.features(batch).pyramid[0]).square().mean()
        self.seen += 1
        ready = min(progress.step / 4, 1.0)
        if self.fault == "zero term":
            ready = 0.0
        if self.fault == "not finite":
            gap = gap / 0
        if self.fault == "changes teacher":
            teacher.model.head.bias.data.add_(1)
        if self.fault == "idle part":
            gap = gap.detach() + 0 * vector.sum()
        terms["copy/vector"] = gap * ready
        return Objective(terms, {"seen": self.seen.clone()})

    def parts(self) -> dict[str, nn.Module]:
        parts: dict[str, nn.Module] = {"adapter": self.adapter}
        if self.fault == "unused part":
            parts["spare"] = self.spare
        else:
            self.spare.requires_grad_(self.fault == "stranger")
        return parts

    def describe(self) -> list[dict[str, str]]:
        return [{"from": "teacher", "to": "student"}]


class Resting(Copying):
    """Copying in every second step; in those between the adapter rests."""

    def forward(self, batch: ImageBatch, targets: list[Targets], progress: Progress) -> Objective:
        found = super().forward(batch, targets, progress)
        own = {name: value for name, value in found.terms.items() if progress.step % 2 == 0 or name == "student/box"}
        return Objective(own, found.monitors)

    def resting(self, step: int, total: int) -> list[nn.Parameter]:
        return list(self.adapter.parameters()) if step % 2 else []


def batch_of(count: int = 4, seed: int = 0, objects: int = 1) -> tuple[ImageBatch, list[Targets]]:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    boxes = [torch.rand(objects, 4, generator=generator).sort(dim=1).values * 32 for _ in range(count)]
    blank = [(torch.zeros(objects, dtype=torch.int64), torch.zeros(objects, dtype=torch.bool)) for _ in boxes]
    images = ImageBatch(pixels, [(32, 32)] * count, list(range(count)), [(32, 32)] * count)
    return images, [Targets(b, labels, ignored) for b, (labels, ignored) in zip(boxes, blank)]


def teacher() -> Frozen:
    torch.manual_seed(7)
    return Frozen(Student(width=6))
