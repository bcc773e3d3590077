import pytest
import torch

from headstart.methods import Frozen, build_method
from headstart.methods.criteria.weighted_mse import weighted_mse
from headstart.methods.masks import level_masks, valid_cells
from laws.tiny import MIDWAY, detector, run, scene


def make(student="retinanet", teacher="retinanet", **options):
    return build_method("defeat", detector(student), Frozen(detector(teacher, 1)), **options).eval()


def values(method):
    return {n: v.item() for n, v in run(method, *scene(size=64)).terms.items() if n.startswith("defeat/")}


@torch.no_grad()
def test_it_is_the_papers_terms_averaged_over_levels():
    method = make()
    step = method.step(*scene(size=64), MIDWAY)
    own, goals = step.features.pyramid, method.teachers[0].model.extract(step.batch).pyramid
    strides = method.student.neck.strides
    masks = level_masks(step.targets, valid_cells(step.batch.sizes, own, strides), strides)
    found = values(method)
    for name, constant, weights in zip(("foreground", "background"), (3, 12), masks, strict=True):
        levels = [weighted_mse(*row).item() / 2 for row in zip(own, goals, weights, strict=True)]
        assert found[f"defeat/neck/{name}"] == pytest.approx(constant * sum(levels) / 5, rel=1e-4)
    half = values(make(foreground_weight=1.5))
    assert half["defeat/neck/foreground"] == pytest.approx(found["defeat/neck/foreground"] / 2, rel=1e-5)


@pytest.mark.parametrize(
    ("student", "teacher"), [("gfl", "fasterrcnn"), ("fasterrcnn", "gfl"), ("retinanet", "retinanet")]
)
def test_classes_are_compared_between_two_stage_detectors_alone_and_the_table_says_so(student, teacher):
    method = make(student, teacher)
    assert method.describe()[-1]["to"] == "left out: not both read regions"
    assert set(values(method)) == {"defeat/neck/foreground", "defeat/neck/background"}


def test_regions_are_the_teachers_proposals_and_the_ground_truth():
    method = make("cascadercnn", "fasterrcnn", regions=16)
    step = method.step(*scene(size=64), MIDWAY)
    guidance = method.guidances["defeat/regions"]
    (teacher,) = method.teachers
    regions = guidance.source.proposals(step)
    assert guidance.target.proposals(step) is regions and [len(r) <= 16 for r in regions] == [True, True]
    found = teacher.model.head.candidates(teacher.outputs(step.batch).rpn, step.batch.sizes, training=True)
    for own, proposals, target in zip(regions, found, step.targets, strict=True):
        known = torch.cat([proposals.boxes, target.boxes])
        assert all(bool((box == known).all(1).any()) for box in own.boxes)
    own, goal = guidance.source(step), guidance.target(step)
    assert len(own.cls) == len(goal.cls) == sum(len(r) for r in regions) and not goal.cls.requires_grad
    rows = [(row["from"], row["to"]) for row in method.describe()[2:]]
    said = "teacher classes at its proposals", "student classes at the teacher's proposals"
    assert rows == [(f"{said[0]}, {name}", said[1]) for name in ("foreground", "background")]


def test_a_teacher_of_the_same_weights_has_nothing_to_say():
    student = detector("fasterrcnn").eval()
    method = build_method("defeat", student, Frozen(detector("fasterrcnn"))).eval()
    assert max(values(method).values()) < 1e-6
