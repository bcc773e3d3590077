"""HEAD: distillation between different detectors through an assistant (arXiv:2207.05345)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from headstart.assign.sample import RegionSampler
from headstart.detectors.detector import Detector
from headstart.errors import UserError
from headstart.heads.dense import DenseHead
from headstart.heads.roi import BoxHead
from headstart.heads.two_stage import TwoStageHead
from headstart.losses.imitation import squared
from headstart.methods.assistants import ADAPTERS, RCNNAssistant, read_cells
from headstart.methods.base import Frozen, Method
from headstart.methods.weighting import Scale, until, warm
from headstart.structures import ImageBatch, Objective, Progress, Targets

PAPER = {"akd": 2.0, "ckd": 2.0}
AUTO = {"akd": 0.5, "ckd": 0.5}


class HEAD(Method):
    """A two-stage teacher's head rides on the student's pyramid as the assistant and is taught beside the student.

    AKD: the assistant's fully connected layers imitate the teacher's at the same regions. CKD: the student's
    classification tower imitates the teacher's last layer at the cells its regions came from. Student and teacher
    need no more in common than some classes: widths, strides and preprocessing may differ. Both terms compare vectors
    of regions, which belong to no class; only the assistant's classifier is translated (`teacher.match`).

    akd, ckd          switches; both off leaves the assistant with ground truth only ("assist")
    weights           "auto": each squared error in units of its target's variance (see `Scale`), times 0.5;
                      "paper": the published constant 2.0 on the plain squared error
    akd_weight, ckd_weight   replace the constant of either
    adapter           CKD's layer from student to teacher width: "linear", or "per_anchor" (one per anchor shape)
    warmup            steps over which both terms grow from 0; None: 2000, but at most a tenth of the run
    assistant_warmup  the same for the assistant's own ground-truth losses (0: none, as in the released code)
    ckd_stop          the last step that CKD takes part in (None: no end)
    transfer          start the assistant from the teacher's head where shapes agree
    regions           regions per image, a quarter of them objects

    Checked against the official code: tests/parity, head_assist.
    """

    teachers = (TwoStageHead,)
    students = (DenseHead,)
    teacher: Frozen
    same_classes = False

    def __init__(
        self,
        student: Detector,
        teacher: Frozen | None,
        *,
        akd: bool = True,
        ckd: bool = True,
        weights: Literal["auto", "paper"] = "auto",
        akd_weight: float | None = None,
        ckd_weight: float | None = None,
        adapter: Literal["linear", "per_anchor"] = "linear",
        warmup: int | None = None,
        assistant_warmup: int = 0,
        ckd_stop: int | None = None,
        transfer: bool = True,
        regions: int = 512,
    ) -> None:
        super().__init__(student, teacher)
        head, guide = check_pair(student, teacher)
        if weights not in ("auto", "paper"):
            raise UserError(f"method head: weights must be auto or paper, not '{weights}'")
        if adapter not in ADAPTERS:
            raise UserError(f"method head: adapter must be {' or '.join(ADAPTERS)}, not '{adapter}'")
        self.akd, self.ckd, self.weights, self.adapter_kind = akd, ckd, weights, adapter
        default = PAPER if weights == "paper" else AUTO
        self.akd_weight = default["akd"] if akd_weight is None else akd_weight
        self.ckd_weight = default["ckd"] if ckd_weight is None else ckd_weight
        self.warmup, self.assistant_warmup, self.ckd_stop = warmup, assistant_warmup, ckd_stop

        channels = student.neck.width
        classes = self.teacher.match(student.classes)
        sampler = RegionSampler(regions)
        self.assistant = RCNNAssistant(guide, channels, student.neck.strides, sampler, len(student.classes))
        self.fresh = self.assistant.inherit(guide, classes) if transfer else ["everything"]
        width = guide.hidden
        self.adapters = nn.ModuleDict()
        if akd:
            self.adapters.update({layer: nn.Linear(width, width) for layer in guide.layers})
        if ckd:
            self.adapters["ckd"] = ADAPTERS[adapter](head.anchors, head.width, width)
        self.scales = nn.ModuleDict({name: Scale() for name in self.adapters} if weights == "auto" else {})

    def forward(self, batch: ImageBatch, targets: list[Targets], progress: Progress) -> Objective:
        student = self.student
        features = student.extract(batch)
        outputs = student.head(features, batch.sizes, trace=True)
        losses = student.loss(outputs, targets)
        terms = {f"student/{name}": value for name, value in losses.items()}

        mine = self.assistant(student.head, features, outputs, batch.sizes, targets)
        ready = warm(progress, self.assistant_warmup)
        terms |= {f"assistant/rcnn/{name}": value * ready for name, value in mine.losses.items()}
        if not (self.akd or self.ckd):
            return Objective(terms)

        guide = self.assistant.consult(self.guide, self.teacher.extract(batch), mine.places)
        ready = warm(progress, self.warmup if self.warmup is not None else min(2000, progress.total // 10))
        monitors = {}
        if self.akd:
            for layer in self.guide.layers:
                gap = squared(self.adapters[layer](mine.hidden[layer]), guide[layer])
                gap = self.scaled(gap, layer, guide[layer], progress)
                terms[f"akd/rcnn/{layer}"] = gap * (self.akd_weight * ready)
        if self.ckd:
            vectors, traced, anchor = read_cells(outputs.cls_trace[-1], mine.places)
            goal = guide[self.guide.layers[-1]][traced]
            gap = squared(self.adapters["ckd"](functional.relu(vectors), anchor), goal)
            gap = self.scaled(gap, "ckd", goal, progress)
            terms["ckd/rcnn"] = gap * (self.ckd_weight * ready * until(progress, self.ckd_stop))
        return Objective(terms, monitors)

    def scaled(self, gap: Tensor, name: str, goal: Tensor, progress: Progress) -> Tensor:
        return gap / self.scales[name](goal, progress) if self.weights == "auto" else gap

    @property
    def guide(self) -> BoxHead:
        """The teacher's box head."""
        return self.teacher.model.head.roi

    def parts(self) -> dict[str, nn.Module]:
        return {"assistant": self.assistant, "adapters": self.adapters}

    def describe(self) -> list[dict[str, str]]:
        return pairing(self)


def check_pair(student: Detector, teacher: Frozen | None) -> tuple[DenseHead, BoxHead]:
    """The student's dense head and the teacher's box head. Raises UserError for a pair HEAD cannot serve yet."""
    if teacher is None:
        raise UserError("method head needs a teacher: give --teacher FILE, a Faster R-CNN trained on such objects")
    guide = teacher.model.head
    if not isinstance(guide, HEAD.teachers):
        kind = type(guide).__name__
        raise UserError(f"method head needs a teacher with a two-stage head (fasterrcnn_*); this teacher has a {kind}")
    if not isinstance(student.head, HEAD.students):
        kind = type(student.head).__name__
        raise UserError(
            "method head needs a student with a dense head (retinanet_*, fcos_*, atss_*, gfl_* or reppoints_*); "
            f"this student has a {kind}"
        )
    return student.head, guide.roi


def pairing(method: HEAD) -> list[dict[str, str]]:
    """Who imitates what, through what, how much: the rows of the table printed before training."""
    head = method.student.head
    boxes = method.assistant.head
    where = f"P{_level(boxes.strides[0])}..P{_level(boxes.strides[-1])} of the student"
    fresh = "" if not method.fresh else f"; not from the teacher: {', '.join(method.fresh)}"
    rows = [{"from": "ground truth", "to": f"assistant/rcnn on {where}{fresh}", "through": "", "weight": "1"}]
    unit = " / variance" if method.weights == "auto" else ""
    if method.akd:
        for layer in boxes.layers:
            through = f"linear {boxes.hidden} -> {boxes.hidden}"
            weight = f"{method.akd_weight:g}{unit}"
            rows.append({"from": f"teacher {layer}", "to": f"assistant {layer}", "through": through, "weight": weight})
    if method.ckd:
        through = f"{method.adapter_kind} {head.width} -> {boxes.hidden}"
        target = f"student cls tower block {len(head.cls_tower) - 1} at traced cells"
        weight = f"{method.ckd_weight:g}{unit}"
        rows.append({"from": f"teacher {boxes.layers[-1]}", "to": target, "through": through, "weight": weight})
    return rows


def _level(stride: int) -> int:
    return stride.bit_length() - 1
