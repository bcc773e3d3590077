"""The links of a pair of detectors, group by group, and why it lacks those that it cannot have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from headstart.detectors.detector import Detector
from headstart.errors import UserError
from headstart.methods.allstage.context import Context, LeftOutError
from headstart.methods.allstage.maps import link_backbones, link_necks, link_towers
from headstart.methods.allstage.plan import Plan
from headstart.methods.allstage.predictions import link_predictions
from headstart.methods.allstage.rows import link_regions
from headstart.methods.guidance import Guidance
from headstart.methods.imitation import Imitation
from headstart.teachers.base import Teacher

MAKERS: dict[str, Callable[[Context], list[Imitation]]] = {
    "backbone": link_backbones,
    "neck": link_necks,
    "dense_cls": partial(link_towers, side="cls_tower"),
    "dense_reg": partial(link_towers, side="reg_tower"),
    "region": link_regions,
    "logit": link_predictions,
}
"""Group -> what makes its links; raises LeftOutError for a pair that cannot have them."""


@dataclass(frozen=True)
class Links:
    """The links by group, assistants that they read, and what was left out with the reason."""

    groups: dict[str, list[Imitation]]
    assist: list[Guidance]
    left: list[tuple[str, str]]


def make_links(name: str, student: Detector, teacher: Teacher, plan: Plan) -> Links:
    """Every group of the plan that student and teacher can have. Raises UserError if that is none."""
    pair = Context(name, student, teacher, plan, teacher.match(student.classes))
    groups: dict[str, list[Imitation]] = {}
    for group in plan.stages or MAKERS:
        try:
            groups[group] = MAKERS[group](pair)
        except LeftOutError as reason:
            pair.left.append((group, str(reason)))
    if not groups:
        reasons = "; ".join(f"{group}: {why}" for group, why in pair.left)
        raise UserError(
            f"method allstage needs a group of links that this pair can have ({reasons}); choose others by stages, or "
            "use method head"
        )
    return Links(groups, pair.assist, pair.left)
