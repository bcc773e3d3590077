"""HEAD: distillation between different detectors through assistants (arXiv:2207.05345)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import nn

from headstart.assign.sample import RegionSampler
from headstart.detectors.detector import Detector
from headstart.errors import UserError
from headstart.heads.two_stage import RPNBasedHead
from headstart.methods.assistants import Assistant, Sight, follow, raise_free
from headstart.methods.assistants.maps import DenseAssistant
from headstart.methods.assistants.tracing import ADAPTERS
from headstart.methods.base import Frozen, Method
from headstart.methods.choices import HEADS, Kinds, check_pairs, check_regions, chosen_kinds, published
from headstart.methods.ckd import LookedUp, connect
from headstart.methods.lesson import Lesson
from headstart.methods.weighting import until, warm
from headstart.structures import ImageBatch, Objective, Progress, Regions, Size, Targets

AUTO = {"akd": 1.0, "ckd": 0.5}
"""Of all AKD layers together and of CKD, in units of their targets' variance, shared out among the assistants."""

REGIONS = {"auto": 128, "paper": 512}
"""Per image, by `weights`: a quarter of the published number brings as much (docs/methods/head.md, Numbers)."""


class HEAD(Method):
    """Assistants, heads of the teacher's kind, ride on the student's pyramid and learn beside it.

    With a teacher, the assistant is of the teacher's kind. AKD: its layers imitate the teacher's, at the same regions
    or cells. CKD: the student's own head imitates the teacher's last layer. Several teachers have an assistant each.
    Without one (TF-HEAD), assistants learn from the ground truth alone and CKD is from them, detached. Student and
    teacher need no more in common than some classes: widths, strides and preprocessing may differ; what is compared
    belongs to no class, only the assistant's classifier is translated (`teacher.match`).

    akd, ckd          switches; both off leaves the assistants with ground truth only ("assist")
    assistants        further assistants that no teacher guides: kinds (rcnn, cascade, retinanet, fcos, atss, gfl,
                      reppoints), or "auto" for the paper's; as a mapping, kind -> options of its head and `weight`,
                      the factor of its losses
    weights           "auto": each squared error in units of its target's variance (see `Scale`), 1 for all AKD layers
                      of an assistant together and 0.5 for its CKD, shared out among the assistants;
                      "paper": the published constants on the plain squared error
    akd_weight, ckd_weight   replace the constant of each AKD layer and of each CKD term
    adapter           CKD's layer where a region is traced to an anchor: "linear", or "per_anchor" (one per shape)
    warmup            steps over which AKD and CKD grow from 0; None: 2000, but at most a tenth of the run
    assistant_warmup  the same for the assistants' own ground-truth losses; None: as `warmup` without a teacher, 0 with
                      one, as in the released code
    ckd_stop          the last step that CKD takes part in; None: no end; "auto": with a teacher no end, without one
                      where the learning rate first drops
    transfer          start an assistant from its teacher's head where shapes agree
    regions           regions per image that assistants and teachers read, at most a quarter of them objects; None: 128,
                      with `weights: paper` 512, or all that a two-stage student samples for itself

    Checked against the official code: tests/parity, head_assist.
    """

    teachers = students = HEADS
    several_teachers = True
    same_classes = False

    def __init__(
        self,
        student: Detector,
        teacher: Frozen | Sequence[Frozen] | None = None,
        *,
        akd: bool = True,
        ckd: bool = True,
        assistants: Kinds = None,
        weights: Literal["auto", "paper"] = "auto",
        akd_weight: float | None = None,
        ckd_weight: float | None = None,
        adapter: Literal["linear", "per_anchor"] = "linear",
        warmup: int | None = None,
        assistant_warmup: int | None = None,
        ckd_stop: int | Literal["auto"] | None = "auto",
        transfer: bool = True,
        regions: int | None = None,
    ) -> None:
        super().__init__(student, teacher)
        free = chosen_kinds(assistants, student)
        check_pairs(student, self.guides, free)
        if weights not in ("auto", "paper"):
            raise UserError(f"method head: weights must be auto or paper, not '{weights}'")
        if adapter not in ADAPTERS:
            raise UserError(f"method head: adapter must be {' or '.join(ADAPTERS)}, not '{adapter}'")
        if isinstance(ckd_stop, str) and ckd_stop != "auto":
            raise UserError(f"method head: ckd_stop must be a step, auto or null, not '{ckd_stop}'")
        self.akd, self.ckd, self.weights, self.adapter_kind = akd, ckd, weights, adapter
        self.akd_weight, self.ckd_weight, self.share = akd_weight, ckd_weight, 1 / (len(self.guides) + len(free))
        self.warmup, self.assistant_warmup, self.ckd_stop = warmup, assistant_warmup, ckd_stop
        self.regions, self.sampler = regions, RegionSampler(REGIONS[weights] if regions is None else regions)
        self.lessons = nn.ModuleDict()
        for guide in self.guides:
            self._add(self._follow(guide, transfer))
        for kind, options in free.items():
            self._add(self._raise(kind, options, alone=len(self.guides) + len(free) == 1))
        links = [lesson.link for lesson in self._lessons if lesson.link is not None]
        if adapter == "per_anchor" and links and not any(link.by_anchor for link in links):
            raise UserError(
                "method head: adapter per_anchor needs regions that are traced to an anchor, which this pair does not "
                "have; use adapter linear"
            )
        self.reads_regions = any(isinstance(link, LookedUp) for link in links) or not all(
            isinstance(lesson.assistant, DenseAssistant) for lesson in self._lessons
        )
        check_regions(student, regions, read=self.reads_regions)

    def _follow(self, teacher: Frozen, transfer: bool) -> Lesson:
        assistant = follow(teacher.model, self.student)
        guide = teacher.model.head if isinstance(assistant, DenseAssistant) else teacher.model.head.roi
        classes = teacher.match(self.student.classes)
        fresh = assistant.inherit(guide, classes) if transfer else ["everything"]
        return self._lesson(assistant, teacher, guide, fresh=fresh)

    def _raise(self, kind: str, options: Mapping[str, Any], *, alone: bool) -> Lesson:
        chosen = dict(options)
        own = chosen.pop("weight", None)
        if own is not None and not isinstance(own, int | float):
            raise UserError(f"method head: assistant {kind}: weight must be a number, not '{own}'")
        assistant = raise_free(kind, self.student, chosen)
        if own is None:
            halved = kind == "fcos" if self.weights == "paper" else isinstance(assistant, DenseAssistant)
            own = 0.5 if halved and not alone else 1.0
        return self._lesson(assistant, None, assistant.head, own=own)

    def _lesson(self, assistant: Assistant, teacher: Frozen | None, guide: nn.Module, **options: Any) -> Lesson:
        link = None
        if self.ckd:
            link = connect(self.student, guide, assistant, self.adapter_kind, free=teacher is None)
        akd, ckd = published(self.student.head, assistant, link, free=teacher is None)
        if self.weights == "auto":
            terms = len(link.rows()) if link is not None else 1
            akd, ckd = AUTO["akd"] * self.share / len(assistant.layers), AUTO["ckd"] * self.share / terms
        akd = akd if self.akd_weight is None else self.akd_weight
        ckd = ckd if self.ckd_weight is None else self.ckd_weight
        return Lesson(
            self._name(assistant.kind),
            assistant,
            teacher,
            akd=akd if self.akd else None,
            link=link,
            ckd=ckd,
            auto=self.weights == "auto",
            **options,
        )

    def _name(self, kind: str) -> str:
        names = [kind, *(f"{kind}-{number}" for number in range(2, len(self.lessons) + 2))]
        return next(name for name in names if name not in self.lessons)

    def _add(self, lesson: Lesson) -> None:
        self.lessons[lesson.name] = lesson

    @property
    def _lessons(self) -> list[Lesson]:
        return list(self.lessons.values())  # ty: ignore[invalid-explicit-return]

    def forward(self, batch: ImageBatch, targets: list[Targets], progress: Progress) -> Objective:
        sight = self.look(batch, targets)
        losses = self.student.loss(sight.outputs, targets)
        terms = {f"student/{name}": value for name, value in losses.items()}
        for lesson in self._lessons:
            terms |= lesson(sight, batch, progress, **self.schedule(lesson, progress))
        return Objective(terms)

    def look(self, batch: ImageBatch, targets: list[Targets]) -> Sight:
        """The student's pass, and the regions that everybody reads."""
        features = self.student.extract(batch)
        outputs = self.student.head(features, batch.sizes, targets, trace=True)
        places, rows = self.sample(outputs, batch.sizes, targets), None
        if self.regions is not None and isinstance(self.student.head, RPNBasedHead):
            places, rows = self.sampler.subsample(places, self.student.head.num_classes)
        return Sight(features, outputs, batch.sizes, targets, places, rows)

    def sample(self, outputs: Any, sizes: list[Size], targets: list[Targets]) -> list[Regions]:
        """The regions that student, assistants and teachers all read: one sampling per step."""
        head = self.student.head
        if isinstance(head, RPNBasedHead):
            return outputs.first.regions
        if not self.reads_regions:
            return []
        proposals = head.proposals(outputs, sizes)
        return [self.sampler(p, t, head.num_classes) for p, t in zip(proposals, targets)]

    def schedule(self, lesson: Lesson, progress: Progress) -> dict[str, float]:
        """How far the assistant's own losses, AKD and CKD have come, each 0 to 1."""
        steps = self.warmup if self.warmup is not None else min(2000, progress.total // 10)
        free = lesson.teacher is None
        own = self.assistant_warmup if self.assistant_warmup is not None else (steps if free else 0)
        stop = self.ckd_stop
        if isinstance(stop, str):  # auto
            stop = progress.first_drop if free else None
        ready = warm(progress, steps)
        return {"own": warm(progress, own), "akd": ready, "ckd": ready * until(progress, stop)}

    def parts(self) -> dict[str, nn.Module]:
        found: dict[str, nn.Module] = {}
        for lesson in self._lessons:
            found[f"lessons.{lesson.name}.assistant"] = lesson.assistant
            if len(lesson.adapters):
                found[f"lessons.{lesson.name}.adapters"] = lesson.adapters
        return found

    def describe(self) -> list[dict[str, str]]:
        return [row for lesson in self._lessons for row in lesson.describe()]
