"""HEAD: distillation between different detectors through assistants (arXiv:2207.05345)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import nn

from headstart.assign.sample import RegionSampler
from headstart.detectors.detector import Detector
from headstart.errors import UserError
from headstart.heads.cascade import CascadeOutputs
from headstart.heads.dense import DenseHead
from headstart.heads.fcos import FCOSHead
from headstart.heads.two_stage import ProposingHead
from headstart.methods.assistants import KINDS, Assistant, Sight, follow, raise_free, suited
from headstart.methods.assistants.kinds import demand
from headstart.methods.assistants.maps import DenseAssistant
from headstart.methods.assistants.tracing import ADAPTERS
from headstart.methods.base import Frozen, Method
from headstart.methods.ckd import Aligned, Link, LookedUp, Traced, connect
from headstart.methods.lesson import Lesson
from headstart.methods.weighting import until, warm
from headstart.structures import ImageBatch, Objective, Progress, Regions, Size, Targets

AUTO = {"akd": 1.0, "ckd": 0.5}
"""Of all AKD layers together and of CKD, in units of their targets' variance, shared out among the assistants."""

REGIONS = 512


class HEAD(Method):
    """Heads of other kinds than the student's ride on its pyramid as assistants and learn beside it.

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
    regions           regions per image, a quarter of them objects; None: 512, or what a two-stage student samples

    Checked against the official code: tests/parity, head_assist.
    """

    teachers = (DenseHead, ProposingHead)
    students = (DenseHead, ProposingHead)
    several_teachers = True
    same_classes = False

    def __init__(
        self,
        student: Detector,
        teacher: Frozen | Sequence[Frozen] | None = None,
        *,
        akd: bool = True,
        ckd: bool = True,
        assistants: str | Sequence[str] | Mapping[str, Any] | None = None,
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
        check_regions(student, regions)
        self.sampler = RegionSampler(REGIONS if regions is None else regions)
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
        self.reads_regions = isinstance(student.head, ProposingHead) or not all(
            isinstance(lesson.assistant, DenseAssistant) for lesson in self._lessons
        )

    def _follow(self, teacher: Frozen, transfer: bool) -> Lesson:
        assistant = follow(teacher.model, self.student)
        guide = teacher.model.head if isinstance(assistant, DenseAssistant) else teacher.model.head.roi
        classes = teacher.match(self.student.classes)
        fresh = assistant.inherit(guide, classes) if transfer else ["everything"]
        return self._lesson(assistant, teacher, guide, fresh=fresh)

    def _raise(self, kind: str, options: Mapping[str, Any], *, alone: bool) -> Lesson:
        chosen = dict(options)
        own = chosen.pop("weight", 0.5 if kind == "fcos" and not alone else 1.0)
        if not isinstance(own, int | float):
            raise UserError(f"method head: assistant {kind}: weight must be a number, not '{own}'")
        assistant = raise_free(kind, self.student, chosen)
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
            self._free_name(assistant.kind),
            assistant,
            teacher,
            akd=akd if self.akd else None,
            link=link,
            ckd=ckd,
            auto=self.weights == "auto",
            **options,
        )

    def _free_name(self, kind: str) -> str:
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
        return Sight(features, outputs, batch.sizes, targets, self.sample(outputs, batch.sizes, targets))

    def sample(self, outputs: Any, sizes: list[Size], targets: list[Targets]) -> list[Regions]:
        """The regions that student, assistants and teachers all read: one sampling per step."""
        head = self.student.head
        if isinstance(head, ProposingHead):
            return (outputs.stages[0] if isinstance(outputs, CascadeOutputs) else outputs).regions
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


def chosen_kinds(
    assistants: str | Sequence[str] | Mapping[str, Any] | None, student: Detector
) -> dict[str, Mapping[str, Any]]:
    """The option `assistants` as kind -> options. Raises UserError for an unknown kind, or one named twice."""
    if assistants is None:
        return {}
    if assistants == "auto":
        return {kind: {} for kind in suited(student)}
    if isinstance(assistants, str):
        assistants = [kind.strip() for kind in assistants.split(",")]
    if not isinstance(assistants, Sequence | Mapping):
        raise UserError(f"method head: assistants must be kinds, auto or a mapping, not '{assistants}'")
    given = assistants if isinstance(assistants, Mapping) else dict.fromkeys(assistants)
    if len(given) < len(assistants):
        twice = next(kind for kind in given if [*assistants].count(kind) > 1)
        raise UserError(f"method head: assistant {twice} is named twice; there is one of each kind")
    chosen = {kind: {} if options is None else options for kind, options in given.items()}
    for kind, options in chosen.items():
        demand(str(kind), list(KINDS), "method head: no assistant is called")
        if not isinstance(options, Mapping):
            raise UserError(f"method head: assistant {kind}: its options must be a mapping, not '{options}'")
    return chosen


def check_pairs(student: Detector, teachers: list[Frozen], free: Mapping[str, Any]) -> None:
    """Raises UserError unless somebody guides the student and everybody has a head that HEAD knows."""
    if not teachers and not free:
        raise UserError(
            "method head needs a teacher: give --teacher FILE, weights of a detector trained on such objects, or let "
            "it do without one by --assistants auto (TF-HEAD)"
        )
    for model, who in [(student, "student"), *((teacher.model, "teacher") for teacher in teachers)]:
        if not isinstance(model.head, HEAD.students):
            kind = type(model.head).__name__
            raise UserError(f"method head needs a {who} with a dense or a two-stage head; this one has a {kind}")


def check_regions(student: Detector, regions: int | None) -> None:
    """Raises UserError where a number of regions is given, but the student's own sampling is shared."""
    if regions is not None and isinstance(student.head, ProposingHead):
        raise UserError(
            "method head: a two-stage student samples its regions itself, and all others read the same; instead of "
            "method.regions set student.options.regions"
        )


def published(head: nn.Module, assistant: Assistant, link: Link | None, *, free: bool) -> tuple[float, float]:
    """The constants of each AKD layer and each CKD term on the plain squared error.

    Those of the authors' configurations; 1.0 where they had no such pair.
    """
    akd = 2.0 if assistant.kind == "rcnn" else 1.0
    if link is None or isinstance(link, Aligned | LookedUp):
        return akd, 1.0
    if free:
        return akd, 1.3
    return akd, 1.0 if isinstance(link, Traced) and isinstance(head, FCOSHead) else 2.0
