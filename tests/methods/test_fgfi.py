import pytest
import torch

from headstart.methods import Frozen, build_method
from headstart.methods.criteria.weighted_mse import weighted_mse
from headstart.methods.masks import anchor_masks, anchors_of, valid_cells
from laws.tiny import MIDWAY, detector, run, scene


def make(student="retinanet", teacher="retinanet", **options):
    return build_method("fgfi", detector(student), Frozen(detector(teacher, 1)), **options).eval()


def term(method):
    return run(method, *scene(size=64)).terms["fgfi/neck"].item()


@torch.no_grad()
def errors(method, heads, threshold=0.5):
    step = method.step(*scene(size=64), MIDWAY)
    own, goals = step.features.pyramid, method.teachers[0].model.extract(step.batch).pyramid
    strides = method.student.neck.strides
    valid = valid_cells(step.batch.sizes, own, strides)
    masks = anchor_masks(step.targets, valid, anchors_of(heads, own, strides), threshold=threshold)
    return [weighted_mse(*row).item() for row in zip(own, goals, masks, strict=True)]


def test_it_is_the_papers_term_for_a_map_as_wide_as_the_papers_averaged_over_levels():
    """0.01 / 2 of the error summed over 512 channels."""
    method = make()
    goal = 0.01 / 2 * 512 * sum(errors(method, [method.student.head])) / 5
    assert term(method) == pytest.approx(goal, rel=1e-4)
    assert term(make(weight="0.02")) == pytest.approx(2 * goal, rel=1e-4)


def test_a_head_without_anchors_has_squares_of_eight_strides():
    method = make("fcos", "reppoints", threshold=0.8)
    goal = 2.56 * sum(errors(method, [None], 0.8)) / 5
    assert term(method) == pytest.approx(goal, rel=1e-4)


def test_or_the_teachers_anchors():
    method = make("fcos", "retinanet")
    goal = 2.56 * sum(errors(method, [method.teachers[0].model.head])) / 5
    assert term(method) == pytest.approx(goal, rel=1e-4)


def test_images_without_objects_have_nothing_to_imitate():
    method = make()
    images, targets = scene(size=64, objects=0)
    assert run(method, images, targets).terms["fgfi/neck"].item() == 0
