import copy

import pytest
import torch

from headstart.errors import UserError
from headstart.heads.cells import flatten
from headstart.methods import Frozen, build_method
from headstart.methods.criteria.relation import relation
from headstart.structures import Progress, Targets
from laws.tiny import DENSE, TWO_STAGE, detector, run, scene, total

LATE = Progress(500, 1000)


def method_of(student="retinanet", teacher="retinanet", **options):
    taught = Frozen(detector(teacher, 1))
    torch.manual_seed(5)
    return build_method("gid", detector(student, 0), taught, **options).eval()


def terms(method, **options):
    return {n: t for n, t in run(method, *scene(size=64), LATE, **options).terms.items() if n.startswith("gid/")}


@pytest.mark.parametrize("teacher", [*DENSE, *TWO_STAGE])
def test_predictions_are_compared_between_heads_of_one_kind_alone(teacher):
    (guidance,) = method_of("gfl", teacher)
    both = ["feature", "relation"]
    assert list(guidance.weights) == ([*both, "cls", "box"] if teacher == "gfl" else both)


def test_heads_of_other_strides_are_not_aligned():
    student, teacher = detector("yolox", 0), Frozen(detector("yolox", 1))
    teacher.model.head.strides = [16, 32, 64]
    (guidance,) = build_method("gid", student, teacher)
    assert list(guidance.weights) == ["feature", "relation"]


@torch.no_grad()
def test_the_published_form():
    """Squared error summed over channels, mean over the cells of the crops, times 5e-4; the relation times 40."""
    method = method_of(weights="paper")
    (guidance,) = method
    step = method.step(*scene(size=64), LATE)
    instances = guidance.instances(step)
    own, goal = guidance._crops(step, [t.boxes for t in instances])
    count = sum(len(t) for t in instances)
    assert own.shape == goal.shape == (count, 16 * 100) and count > 3
    found = guidance(step)
    assert found["gid/feature"].item() == pytest.approx(
        5e-4 * ((own - goal) ** 2).sum().item() / (count * 100), rel=1e-4
    )
    assert found["gid/relation"].item() == pytest.approx(40 * relation(own, goal).item(), rel=1e-4)
    rows = step.student.head.assign(step.outputs, instances).positive
    said = method.teachers[0].outputs(step.batch)
    own, goal = (flatten(x.cls, 3)[rows] for x in (step.outputs, said))
    chances = goal.sigmoid()
    cross = -(chances * own.sigmoid().log() + (1 - chances) * (1 - own.sigmoid()).log())
    entropy = -(chances * chances.log() + (1 - chances) * (1 - chances).log())
    expected = 0.1 * (cross - entropy).sum().item() / int(rows.sum())
    assert found["gid/cls"].item() == pytest.approx(expected, rel=1e-3)
    own, goal = (flatten(x.reg, 4)[rows] for x in (step.outputs, said))
    assert found["gid/box"].item() == pytest.approx((own - goal).abs().sum().item() / int(rows.sum()), rel=1e-4)


def test_features_pass_the_convolution_which_is_trained():
    """In the published re-write it is neither registered nor used."""
    method = method_of("fcos", "fasterrcnn")
    (guidance,) = method
    assert set(method.parts()) == {"guidances.gid"} and len(list(guidance.parameters())) == 2
    before = terms(method)
    total(before).backward()
    assert bool(guidance.adapter.weight.grad.any()) and guidance.adapter.weight.shape == (16, 16, 3, 3)
    guidance.adapter.weight.data *= 3
    assert terms(method)["gid/feature"] != before["gid/feature"]


@pytest.mark.parametrize("family", ["retinanet", "reppoints", "yolox", "fasterrcnn"])
def test_equal_detectors_have_nothing_to_teach(family):
    student = detector(family).eval()
    method = build_method("gid", student, Frozen(copy.deepcopy(student))).eval()
    assert all(abs(value.item()) < 1e-4 for value in terms(method).values())


def test_instances_do_not_need_objects():
    method = method_of("gfl", "fasterrcnn")
    empty = run(method, scene(size=64)[0], [Targets.empty(), Targets.empty()], LATE).terms
    assert {n: t.item() for n, t in empty.items() if n.startswith("gid/")} == {
        n: t.item() for n, t in terms(method).items()
    }


def test_how_many():
    for count in (1, 3):
        method = method_of(instances=count)
        (guidance,) = method
        step = method.step(*scene(size=64), LATE)
        assert all(len(t) == count for t in guidance.instances(step))
    assert terms(method_of(instances=1))["gid/relation"] == 0  # two in all


def test_weights():
    def constants(**options):
        (guidance,) = method_of(**options)
        return {term: weight.constant for term, weight in guidance.weights.items()}

    assert constants() == {"feature": 0.5, "relation": 40, "cls": 0.1, "box": 1}
    assert constants(weights="paper") == {"feature": pytest.approx(5e-4 * 16), "relation": 40, "cls": 0.1, "box": 1}
    assert constants(feature_weight=2, box_weight=3) == {"feature": 2, "relation": 40, "cls": 0.1, "box": 3}
    (guidance,) = method_of(feature_weight=2)
    guidance.share(0.5)
    assert {t: w.constant for t, w in guidance.weights.items()} == {
        "feature": 2,
        "relation": 20,
        "cls": 0.05,
        "box": 0.5,
    }


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match="method gid needs a teacher: give --teacher FILE"):
        build_method("gid", detector("gfl"))
    with pytest.raises(UserError, match=r"method gid: cls_weight is for predictions, .* leave it out"):
        method_of("gfl", "fasterrcnn", cls_weight=1)


def test_a_teacher_whose_neck_is_the_same_everywhere_is_named():
    method = method_of()
    for parameter in method.teachers[0].model.neck.parameters():
        parameter.data.zero_()
    (problem,) = method.problems(*scene(size=64), LATE)
    assert problem.startswith("gid: teacher neck is the same everywhere")
