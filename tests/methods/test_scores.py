"""Where a detector sees objects."""

from dataclasses import replace

import pytest
import torch

from detectors.test_custom import Toy
from headstart.detectors.custom import CustomDetector
from headstart.detectors.zoo import FAMILIES
from headstart.methods import Frozen, build_method
from headstart.methods.scores import has_scores, score_maps, scoring_head, student_scores, teacher_scores
from laws.tiny import MIDWAY, TWO_STAGE, at_cells, detector, scene


def step_of(family):
    return build_method("baseline", detector(family)).step(*scene(size=64), MIDWAY)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_cell_has_the_score_of_its_best_proposal(family):
    """Proposals are scored by the likeliest class, an RPN's by its objectness, and the map has the best anchor's."""
    step = step_of(family)
    built = step.student
    maps = student_scores(step)
    assert [m.shape[1] for m in maps] == [1] * len(built.neck.strides) and not any(m.requires_grad for m in maps)
    for image, found in enumerate(built.head.proposals(step.outputs, step.batch.sizes)):
        cells = replace(found.cells, anchor=torch.zeros_like(found.cells.anchor))
        at = at_cells(maps, 1, image, cells)[:, 0]
        assert bool((at >= found.scores - 1e-6).all())
        assert at[0].item() == pytest.approx(found.scores[0].item(), abs=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_teachers_scores_are_those_of_its_outputs(family):
    step = step_of(family)
    teacher = Frozen(detector(family, 3))
    found = teacher_scores(teacher, step)
    head, outputs = scoring_head(teacher.model.head), teacher.outputs(step.batch)
    goals = score_maps(head, outputs.rpn if family in TWO_STAGE else outputs)
    for one, goal in zip(found, goals, strict=True):
        torch.testing.assert_close(one, goal)
    assert teacher_scores(teacher, step) is found


def test_an_rpn_runs_without_the_regions(monkeypatch):
    step, teacher = step_of("gfl"), Frozen(detector("fasterrcnn", 3))
    monkeypatch.setattr(teacher.model.head.roi, "forward", None)
    assert len(teacher_scores(teacher, step)) == 5


def test_an_objectness_counts():
    step = step_of("yolox")
    outputs = step.outputs
    for found, logits, objectness in zip(student_scores(step), outputs.cls, outputs.quality, strict=True):
        torch.testing.assert_close(found, logits.sigmoid().amax(1, keepdim=True) * objectness.sigmoid())


def test_a_student_that_is_not_ours_has_none():
    student = CustomDetector(Toy())
    assert not has_scores(student) and has_scores(detector("gfl"))
    step = build_method("baseline", student).step(*scene(size=64), MIDWAY)
    with pytest.raises(TypeError, match="a CustomHead has no scores of cells"):
        student_scores(step)
