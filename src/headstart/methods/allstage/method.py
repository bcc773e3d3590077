"""All-stage guidance: a reconstruction inspired by Hands-on Guidance, of which only the abstract is public."""

from __future__ import annotations

from collections.abc import Sequence

from headstart.detectors.detector import Detector
from headstart.methods.allstage.guidance import AllStage, Course
from headstart.methods.allstage.links import make_links
from headstart.methods.allstage.macro import MacroWeights
from headstart.methods.allstage.options import AllStageOptions
from headstart.methods.allstage.plan import make_plan
from headstart.methods.guidance import Guidance, demand_teacher, names_by_teacher
from headstart.teachers.base import Teacher


def allstage(student: Detector, teachers: Sequence[Teacher], options: AllStageOptions) -> list[Guidance]:
    """Every stage imitates the teacher's; inspired by Hands-on Guidance (HGD), of which only the abstract is public.

    A reconstruction: the abstract (arXiv:2103.14337; there is no code) names features of all stages, a correspondence,
    an imitation measure, and weights from a micro and a macro perspective. What they are here is ours, put together
    from published parts: this is not HGD, and no number of its paper applies.

    Links lie at the backbone, the pyramid, the towers, shared regions and the predictions. Both sides see the same
    images, levels for the same objects, the same boxes and the classes that both know; between them lies a layer that
    is trained and thrown away. Within a link, places, channels and regions that matter to the teacher count more. The
    groups of links are weighted by what they measure at the beginning of the run, once. Links that a pair cannot have
    are left out and named in the pairing table. Several teachers guide by groups of their own. `preset` reduces it to
    methods that are known.
    """
    demand_teacher("allstage", teachers)
    plan = make_plan(options)
    found: list[Guidance] = []
    for name, teacher in zip(names_by_teacher("allstage", teachers), teachers):
        links = make_links(name, student, teacher, plan)
        macro = MacroWeights(
            plan.macro,
            {group: plan.share_of(group) for group in links.groups},
            steps=plan.calibration,
            band=plan.band,
        )
        given = options.shares is not None or options.preset is not None
        if not given:
            macro.share(1 / len(teachers))
        course = Course(plan.warmup, plan.fade, plan.final, plan.stop)
        found.append(
            AllStage(
                name,
                links.groups,
                macro,
                course,
                assist=links.assist,
                reduce=plan.reduce,
                given=given,
                left=links.left,
            )
        )
    return found
