"""The links between predictions: cell by cell, region by region, or of a cell with a region."""

from __future__ import annotations

from typing import cast

from headstart.classmap import ClassMap, match_classes
from headstart.errors import UserError
from headstart.heads.dense import DenseHead
from headstart.heads.gfl import GFLHead
from headstart.heads.rpn import RPNHead
from headstart.heads.two_stage import RPNBasedHead
from headstart.methods.allstage.cells import CellOutputs
from headstart.methods.allstage.context import Context, LeftOutError
from headstart.methods.allstage.region_logits import RegionLogits
from headstart.methods.allstage.regions import Misplaced, RegionPredictionsTap
from headstart.methods.criteria.answers import RegionAnswers
from headstart.methods.criteria.cells import CellPredictions
from headstart.methods.criteria.predictions import DensePredictions
from headstart.methods.imitation import Imitation
from headstart.methods.mimic import same_layout
from headstart.methods.pairing import stride_factors
from headstart.methods.region_answers import StudentAnswers, TeacherAnswers
from headstart.methods.step import Needs
from headstart.methods.weight import Weight

CONSTANTS = {"cls": 1.0, "box": 1.0}


def link_predictions(pair: Context) -> list[Imitation]:
    """Classes and boxes: of dense heads cell by cell; of two-stage ones those of the RPNs and, at shared boxes, of the
    box heads; of one of either kind, what both say about the regions that the student proposes."""
    pair.demand_known_heads()
    own, other = pair.student.head, pair.teacher.model.head
    if isinstance(own, DenseHead) and isinstance(other, DenseHead):
        return [_link_cells(pair, own, other, pair.classes, "cells")]
    if not (isinstance(own, RPNBasedHead) and isinstance(other, RPNBasedHead)):
        return [_link_answers(pair)]
    regions, heads = pair.regions, (own.box_heads[0], other.box_heads[0])
    taps = RegionPredictionsTap(regions, own=True), RegionPredictionsTap(regions, own=False)
    made = [Imitation(f"{pair.name}/boxes", *taps, weight=Weight(1.0), criterion=RegionLogits(*heads, regions))]
    try:
        made.append(_link_cells(pair, own.rpn, other.rpn, match_classes(("object",), ("object",)), "rpn"))
    except LeftOutError as reason:
        pair.left.append(("logit of the RPN", str(reason)))
    return made


def _link_cells(
    pair: Context, own: DenseHead | RPNHead, other: DenseHead | RPNHead, classes: ClassMap, what: str
) -> Imitation:
    both = min(len(own.strides), len(other.strides))
    if list(own.strides)[:both] != list(other.strides)[:both]:
        raise LeftOutError(f"cells of one size are compared, and the strides are {own.strides} and {other.strides}")
    # The criteria ask of a head what every head at cells has.
    mine, theirs = cast(DenseHead, own), cast(DenseHead, other)
    criterion: DensePredictions | CellPredictions = CellPredictions(mine, theirs, classes, CONSTANTS)
    if isinstance(own, GFLHead) and same_layout(mine, theirs) and classes.identical:
        criterion = DensePredictions(theirs, mine, classes, CONSTANTS, "distribution", confidence=True)
    taps = CellOutputs(own, both), CellOutputs(other, both, pair.teacher)
    return Imitation(f"{pair.name}/{what}", *taps, weight=Weight(1.0), criterion=criterion)


def _link_answers(pair: Context) -> Imitation:
    own, other = pair.student.head, pair.teacher.model.head
    try:
        factors = stride_factors(own.strides, other.strides) if other.predicts_at == "cells" else []
    except UserError as error:
        raise LeftOutError(str(error)) from None
    answers = TeacherAnswers(pair.teacher, pair.classes, tuple(factors))
    return Imitation(
        f"{pair.name}/answers",
        StudentAnswers(pair.classes, Needs(regions=pair.own_regions)),
        Misplaced(answers) if pair.plan.boxes == "independent" else answers,
        weight=Weight(1.0),
        criterion=RegionAnswers(CONSTANTS),
    )
