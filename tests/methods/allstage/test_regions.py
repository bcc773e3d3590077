"""What both sides are read at, and what they say there."""

import pytest
import torch

from headstart.errors import UserError
from headstart.methods import build_method
from headstart.methods.allstage.distances import RowDistance
from laws.tiny import scene
from methods.pairs import LATE, frozen, tiny


def made(student="fasterrcnn", teacher="cascadercnn", **options):
    torch.manual_seed(7)
    method = build_method("allstage", tiny(student), frozen(teacher), **options).train()
    (guidance,) = method
    return method, guidance._of("region")[0].criterion.regions


def step_of(method, seed=3, objects=3):
    torch.manual_seed(seed)
    return method.step(*scene(size=64, objects=objects), LATE)


@pytest.mark.parametrize(
    ("student", "teacher"), [("fasterrcnn", "cascadercnn"), ("retinanet", "fasterrcnn"), ("fcos", "gfl")]
)
@pytest.mark.parametrize("boxes", ["teacher", "student"])
def test_both_are_read_at_the_same_boxes(student, teacher, boxes):
    method, regions = made(student, teacher, boxes=boxes, regions=20)
    step = step_of(method)
    sets = regions.sets(step)
    assert sets.own is sets.theirs and max(regions.counts(step)) <= 20 and regions.sets(step) is sets
    if boxes == "student":
        assert sets.own is step.regions
    assert all((one.labels < 3).any() and (one.labels == 3).any() for one in sets.own)
    assert (
        regions.crops(step, own=True).shape[0] == regions.crops(step, own=False).shape[0] == sum(regions.counts(step))
    )


@pytest.mark.parametrize("teacher", ["fasterrcnn", "gfl"])
def test_the_ground_truth_is_among_the_boxes(teacher):
    method, regions = made("retinanet", teacher, regions=4000)
    step = step_of(method)
    for one, targets in zip(regions.sets(step).own, step.targets):
        assert (one.boxes[:, None] == targets.boxes[None]).all(dim=-1).any(dim=0).all()


def test_independent_boxes_are_as_many_and_others():
    method, regions = made(boxes="independent", regions=20)
    step = step_of(method)
    sets = regions.sets(step)
    assert [len(r) for r in sets.own] == [len(r) for r in sets.theirs]
    assert not torch.equal(torch.cat([r.boxes for r in sets.own]), torch.cat([r.boxes for r in sets.theirs]))
    own = regions.outputs(step, own=True)
    again = method.student.head.box_heads[0](step.features.pyramid, [r.boxes for r in sets.own])
    torch.testing.assert_close(own.cls, again.cls, rtol=1e-4, atol=1e-4)


def test_a_box_head_says_the_same_at_its_own_regions_however_it_is_asked():
    method, regions = made(boxes="student", regions=8)
    step = step_of(method)
    again = method.student.head.box_heads[0](step.features.pyramid, [r.boxes for r in step.regions])
    torch.testing.assert_close(regions.outputs(step, own=True).hidden[-1], again.hidden[-1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("student", "teacher"), [("fasterrcnn", "cascadercnn"), ("retinanet", "fasterrcnn"), ("fcos", "gfl")]
)
def test_weights_of_regions_average_one(student, teacher):
    method, regions = made(student, teacher)
    step = step_of(method)
    found = regions.weights(step, 0.25)
    assert found.shape == (sum(regions.counts(step)),) and found.mean().item() == pytest.approx(1, abs=1e-5)
    assert found.std() > 0 and not found.requires_grad


def test_the_order_of_the_rows_does_not_matter():
    method, regions = made()
    step = step_of(method)
    count = regions.counts(step)
    rows, goals = torch.randn(sum(count), 6), torch.randn(sum(count), 6)
    order = torch.randperm(sum(count))
    for measure in ("cosine", "mse", "smooth_l1", "pearson"):
        distance = RowDistance(measure, regions)
        one, other = (distance([r], [g], step)[""] for r, g in ((rows, goals), (rows[order], goals[order])))
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    assert RowDistance("cosine", regions)([rows], [goals], step)[""].item() == pytest.approx(
        (1 - torch.cosine_similarity(rows, goals)).mean().item(), rel=1e-4
    )


def test_relations_between_the_regions_of_an_image():
    method, regions = made()
    step = step_of(method)
    rows = torch.randn(sum(regions.counts(step)), 6)
    other = rows.roll(1, 0)
    plain, more = (RowDistance("mse", regions, relation=w)([rows], [other], step)[""] for w in (0.0, 2.0))
    assert more > plain
    turned = 3 * rows + 1  # distances keep their ratios
    both = [RowDistance("mse", regions, relation=w)([rows], [turned], step)[""] for w in (0.0, 2.0)]
    torch.testing.assert_close(*both, rtol=1e-4, atol=1e-5)


def test_no_region_gives_zero_with_a_gradient():
    rows = torch.zeros(0, 6, requires_grad=True)
    method, regions = made()
    value = RowDistance("cosine", regions, micro=True)([rows], [torch.zeros(0, 6)], step_of(method))[""]
    value.backward()
    assert value == 0 and rows.grad is not None


def test_more_regions_than_the_student_samples_are_refused():
    with pytest.raises(UserError, match="the student samples 512 regions per image"):
        made(boxes="student", regions=600)
    made(boxes="teacher", regions=600)
