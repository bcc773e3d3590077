"""HEAD: distillation between different detectors through assistants (arXiv:2207.05345)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headstart.detectors.custom import demand_known_head
from headstart.detectors.detector import Detector
from headstart.detectors.taps import tap_width
from headstart.errors import UserError
from headstart.methods.adapters import Adapter, ConvAdapter, LinearAdapter, PerAnchorAdapter
from headstart.methods.assistants import (
    Assistant,
    AssistantLosses,
    AssistantTap,
    TeacherLayer,
    assistant_for,
    standalone_assistant,
)
from headstart.methods.guidance import Guidance
from headstart.methods.head_options import (
    AUTO,
    PAPER_AKD,
    HeadOptions,
    check_heads,
    check_regions,
    check_someone_teaches,
    paper_ckd,
    parse_assistants,
)
from headstart.methods.imitation import Imitation
from headstart.methods.pairing import Correspondence, correspond
from headstart.methods.step import Needs
from headstart.methods.taps import StudentTap
from headstart.methods.weight import Schedule, TargetVariance, Weight
from headstart.teachers.base import Teacher


def head(student: Detector, teachers: Sequence[Teacher], options: HeadOptions) -> list[Guidance]:
    """Assistants, heads of the teacher's kind, ride on the student's pyramid and learn beside it.

    With a teacher, the assistant is of the teacher's kind. AKD: its layers imitate the teacher's, at the same regions
    or cells. CKD: the student's own head imitates the teacher's last layer. Several teachers have an assistant each.
    Without one (TF-HEAD), assistants learn from the ground truth alone and CKD is from them, detached. Student and
    teacher need no more in common than some classes: widths, strides and preprocessing may differ; what is compared
    belongs to no class, only the assistant's classifier is translated (`teacher.match`).

    Checked against the official code: tests/parity, head_assist.
    """
    check_heads(student, teachers)
    if options.ckd:
        demand_known_head("head", student, "leave CKD out with ckd=False")
    standalone = parse_assistants(options.assistants, student)
    check_someone_teaches(teachers, standalone)
    build = _Builder(student, options, len(teachers) + len(standalone))
    for teacher in teachers:
        assistant = assistant_for(teacher, student)
        classes = teacher.match(student.classes)
        fresh = assistant.init_from_teacher(teacher, classes) if options.transfer else ["everything"]
        build.add(assistant, teacher, own=1.0, fresh=fresh)
    for kind, chosen in standalone.items():
        own, rest = _own_weight(kind, chosen)
        assistant = standalone_assistant(kind, student, rest)
        build.add(assistant, None, own=build.default_own(assistant) if own is None else own)
    build.check()
    return build.guidances


class _Builder:
    """Makes the guidances of each assistant in turn; `share` is what of the automatic weights falls to one of them."""

    def __init__(self, student: Detector, options: HeadOptions, assistants: int) -> None:
        self.student, self.options, self.share = student, options, 1 / assistants
        self.guidances: list[Guidance] = []
        self.by_anchor = self.ckd_terms = False

    def add(self, assistant: Assistant, teacher: Teacher | None, *, own: float, fresh: Sequence[str] = ()) -> None:
        """An assistant, its teacher if it has one, the factor of its losses, and what of it is not from the teacher."""
        options, taught, name = self.options, teacher is not None, self._name(assistant.kind)
        needs = self._needs(regions=assistant.predicts_at == "regions")
        # The layers of CKD are drawn before those of AKD, so that a seed means the same as ever.
        ckd = self._ckd(name, assistant, teacher) if options.ckd else []
        weight = Weight(own, options.assistant_schedule(taught=taught))
        self.guidances.append(AssistantLosses(f"assistant/{name}", assistant, weight, needs, fresh))
        if teacher is not None and options.akd:
            self.guidances += [self._akd(name, assistant, teacher, layer) for layer in assistant.layers]
        self.guidances += ckd

    def _akd(self, name: str, assistant: Assistant, teacher: Teacher, layer: str) -> Imitation:
        """A layer of the assistant imitates the teacher's, at the same places."""
        constant = PAPER_AKD.get(assistant.kind, 1.0)
        if self.options.weights == "auto":
            constant = AUTO["akd"] * self.share / len(assistant.layers)
        return Imitation(
            f"akd/{name}/{layer}",
            AssistantTap(f"assistant/{name}", assistant, layer),
            TeacherLayer(teacher, assistant, layer),
            adapter=assistant.adapter(),
            weight=self._weight(constant, self.options.akd_weight, self.options.akd_schedule(), taught=True),
        )

    def _ckd(self, name: str, assistant: Assistant, teacher: Teacher | None) -> list[Imitation]:
        """The student's own head imitates the teacher's, or without one the assistant's."""
        options, taught, own = self.options, teacher is not None, self.student.head.predicts_at
        match = correspond(own, assistant.predicts_at, assistant.factors)
        self.by_anchor, self.ckd_terms = self.by_anchor or match.by_anchor, True
        needs = self._needs(regions="regions" in (own, assistant.predicts_at))
        places = ckd_places(self.student, assistant, taught=taught)
        constant = paper_ckd(self.student, assistant, taught=taught)
        if options.weights == "auto":
            constant = AUTO["ckd"] * self.share / len(places)
        made = []
        for ending, (place, layer) in places.items():
            imitated = TeacherLayer(teacher, assistant, layer) if teacher is not None else None
            made.append(
                Imitation(
                    f"ckd/{name}{ending}",
                    StudentTap(place),
                    imitated or AssistantTap(f"assistant/{name}", assistant, layer, detached=True),
                    adapter=self._ckd_adapter(match, tap_width(self.student, place), assistant.width),
                    match=match,
                    weight=self._weight(
                        constant, options.ckd_weight, options.ckd_schedule(taught=taught), taught=taught
                    ),
                    reads=needs,
                )
            )
        return made

    def _ckd_adapter(self, match: Correspondence, channels: int, width: int) -> Adapter:
        if match.by_anchor:
            if self.options.adapter == "per_anchor":
                return PerAnchorAdapter(self.student.head.num_anchors, channels, width)
            return LinearAdapter(channels, width)
        return ConvAdapter(channels, width) if match.of_maps else LinearAdapter(channels, width, bias=False)

    def _weight(self, constant: float, given: float | None, schedule: Schedule, *, taught: bool) -> Weight:
        """The table's constant, or the one that was given in its place."""
        auto = self.options.weights == "auto"
        unit = TargetVariance(moving=not taught) if auto else None
        return Weight(constant if given is None else given, schedule, unit, auto=auto and given is None)

    def _needs(self, *, regions: bool) -> Needs:
        return Needs(regions=self.options.regions_for(self.student) if regions else 0)

    def _name(self, kind: str) -> str:
        taken = {guidance.name for guidance in self.guidances}
        names = [kind, *(f"{kind}-{number}" for number in range(2, len(taken) + 3))]
        return next(name for name in names if f"assistant/{name}" not in taken)

    def default_own(self, assistant: Assistant) -> float:
        """The factor of a standalone assistant's losses: half for some kinds, unless it is the only assistant."""
        halved = assistant.kind == "fcos" if self.options.weights == "paper" else assistant.predicts_at == "cells"
        return 0.5 if halved and self.share < 1 else 1.0

    def check(self) -> None:
        """Raises UserError for an option that would do nothing."""
        if self.options.adapter == "per_anchor" and self.ckd_terms and not self.by_anchor:
            raise UserError(
                "method head: adapter per_anchor needs regions that are traced to an anchor, which this pair does not "
                "have; use adapter linear"
            )
        check_regions(self.student, self.options.regions, read=any(g.needs.regions for g in self.guidances))


def ckd_places(student: Detector, assistant: Assistant, *, taught: bool) -> dict[str, tuple[str, str]]:
    """What CKD compares: end of the term's name -> place of the student, layer that it imitates.

    A box head's last layer, and the last block of a dense student's classification tower. A dense student of a dense
    teacher: the middle block of either tower (the second of four) against the last of the teacher's, as published.
    """
    if student.head.predicts_at == "regions":
        return {"": (student.head.tap_names()[-1], assistant.target_layer)}
    _, depth = student.head.tower_shape or (0, 1)
    if taught and assistant.predicts_at == "cells":
        return {f"/{side}": (f"{side}_tower/{(depth - 1) // 2}", f"{side}_tower") for side in ("cls", "reg")}
    return {"": (f"cls_tower/{depth - 1}", assistant.target_layer)}


def _own_weight(kind: str, options: Mapping[str, object]) -> tuple[float | None, dict[str, object]]:
    """The option `weight` of an assistant, and the other ones."""
    rest = dict(options)
    own = rest.pop("weight", None)
    if own is not None and not isinstance(own, int | float):
        raise UserError(f"method head: assistant {kind}: weight must be a number, not '{own}'")
    return own, rest
