"""The links between regions: layers of box heads, or crops of pyramids, at boxes that both sides read."""

from __future__ import annotations

from headstart.methods.adapters import Adapter
from headstart.methods.allstage.context import Context, LeftOutError
from headstart.methods.allstage.distances import RowDistance
from headstart.methods.allstage.regions import RegionTap
from headstart.methods.assistants import AssistantLosses, AssistantTap, TeacherLayer, assistant_for
from headstart.methods.imitation import Imitation
from headstart.methods.soft_levels import SoftLevels, StudentCrops, TeacherCrops
from headstart.methods.step import Needs
from headstart.methods.taps import Tap
from headstart.methods.weight import Weight


def link_regions(pair: Context) -> list[Imitation]:
    """The layers of two box heads, or crops of the pyramids, at shared boxes; or an assistant's layers."""
    if pair.plan.through == "assistant":
        return _link_assistant(pair)
    teacher, regions = pair.teacher.model, pair.regions
    if pair.plan.through == "soft":
        width, needs = teacher.neck.width, Needs(regions=pair.own_regions)
        taps = StudentCrops(pair.student, width, needs), TeacherCrops(pair.teacher, needs)
        return [_link(pair, "crops", *taps, SoftLevels(width))]
    if not regions.both_read_regions:
        adapter = pair.convolution(pair.student.neck.width, teacher.neck.width, bias=True)
        return [_link(pair, "crops", RegionTap(regions, own=True), RegionTap(regions, own=False), adapter)]
    own, other = pair.student.head.box_heads[0], teacher.head.box_heads[0]
    depths = len(own.layers), len(other.layers)
    made = []
    for back in range(min(depths), 0, -1):  # where one has more layers than the other, the last ones correspond
        mine, theirs = depths[0] - back, depths[1] - back
        taps = RegionTap(regions, own=True, index=mine), RegionTap(regions, own=False, index=theirs)
        made.append(_link(pair, f"fc{mine}", *taps, pair.linear(own.hidden, other.hidden)))
    return made


def _link_assistant(pair: Context) -> list[Imitation]:
    """The layers of an assistant of the teacher's kind imitate the teacher's, as in HEAD's AKD."""
    if pair.teacher.model.head.predicts_at != "regions":
        raise LeftOutError("an assistant of a dense teacher reads no regions: use through=student")
    assistant = assistant_for(pair.teacher, pair.student)
    fresh = assistant.init_from_teacher(pair.teacher, pair.classes)
    needs, title = Needs(regions=pair.own_regions), f"assistant/{pair.name}"
    pair.assist.append(AssistantLosses(title, assistant, Weight(1.0), needs, fresh))
    return [
        Imitation(
            f"{pair.name}/{layer}",
            AssistantTap(title, assistant, layer),
            TeacherLayer(pair.teacher, assistant, layer),
            adapter=assistant.adapter(),
            weight=Weight(1.0),
            # A later stage of a cascade reads boxes of its own, so there are no weights of rows.
            criterion=RowDistance(pair.plan.row_measure),
            reads=needs,
        )
        for layer in assistant.layers
    ]


def _link(pair: Context, what: str, source: Tap, target: Tap, adapter: Adapter | None) -> Imitation:
    plan = pair.plan
    distance = RowDistance(plan.row_measure, pair.regions, micro=plan.row, worse=plan.worse, relation=plan.relation)
    name = f"{pair.name}/{what}"
    return Imitation(name, source, target, adapter=adapter, weight=Weight(1.0), criterion=distance)
