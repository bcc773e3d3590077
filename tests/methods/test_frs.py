import pytest
import torch
from torch.nn import functional

from headstart.methods import Frozen, build_method
from headstart.methods.criteria.scored_classes import scored_entropy
from headstart.methods.masks import valid_cells
from headstart.methods.scores import student_outputs, teacher_outputs, teacher_scores
from laws.tiny import MIDWAY, OTHER_CLASSES, OTHER_NAMES, detector, run, scene


def make(student="retinanet", teacher="retinanet", **options):
    return build_method("frs", detector(student), Frozen(detector(teacher, 1)), **options).eval()


def terms(method):
    found = run(method, *scene(size=64)).terms
    return {name: value.item() for name, value in found.items() if name.startswith("frs/")}


@torch.no_grad()
def by_hand(method):
    """The papers' terms with the constants left out, per level: (features summed over channels, classes)."""
    step = method.step(*scene(size=64), MIDWAY)
    (teacher,) = method.teachers
    goals = teacher.model.extract(step.batch).pyramid
    scores = teacher_scores(teacher, step)
    feature = cls = 0.0
    outputs, theirs = student_outputs(step), teacher_outputs(teacher, step)
    for level, inside in enumerate(valid_cells(step.batch.sizes, goals, method.student.neck.strides)):
        weight = scores[level] * inside
        error = (step.features.pyramid[level] - goals[level]).square().sum(1, keepdim=True)
        feature += float((error * weight).sum() / weight.sum())
        cls += float(scored_entropy(outputs.cls[level], theirs.cls[level], weight))
    return feature, cls


@pytest.mark.parametrize(
    ("family", "constants"),
    [("retinanet", (0.005, 0.02)), ("fcos", (0.01, 0.05)), ("gfl", (0.1, 0.05)), ("fasterrcnn", (0.002, 0.1))],
)
def test_it_is_the_papers_terms_with_features_as_wide_as_the_papers(family, constants):
    """Errors are summed over channels there, 256 of them: here the mean times 256, whatever the width."""
    method = make(family, family)
    feature, cls = by_hand(method)
    found = terms(method)
    assert found["frs/neck"] == pytest.approx(constants[0] * feature * 256 / 16, rel=1e-4)
    assert found["frs/cls"] == pytest.approx(constants[1] * cls, rel=1e-4)


def test_given_constants_replace_the_papers():
    feature, cls = by_hand(make())
    found = terms(make(feature_weight=1, cls_weight="2"))
    assert found["frs/neck"] == pytest.approx(feature * 16, rel=1e-4)
    assert found["frs/cls"] == pytest.approx(2 * cls, rel=1e-4)


def test_only_what_is_not_given_is_shared_out():
    both = build_method("frs+pkd", detector("gfl"), Frozen(detector("gfl", 1)), frs={"cls_weight": 1.0})
    assert both.guidances["frs/neck"].weight.constant == 0.5 and both.guidances["frs/cls"].weight.constant == 1.0


@pytest.mark.parametrize(
    ("student", "teacher", "why"),
    [
        ("gfl", "fasterrcnn", "heads of different kinds"),
        ("fasterrcnn", "gfl", "heads of different kinds"),
        ("fasterrcnn", "cascadercnn", None),
        ("yolox", "yolox", None),
    ],
)
def test_without_one_layout_the_pairing_table_says_that_classes_are_left_out(student, teacher, why):
    method = make(student, teacher)
    rows = method.describe()
    assert len(rows) == 2 and (rows[1]["to"] == f"left out: {why}") is (why is not None)
    assert ("frs/cls" in terms(method)) is (why is None)


def test_other_anchors_and_other_classes_are_another_layout():
    teacher = Frozen(detector("retinanet", 1))
    method = build_method("frs", detector("retinanet", anchor_scale=2.0), teacher)
    assert method.describe()[1]["to"] == "left out: heads with different priors"
    other = Frozen(detector("gfl", 1, classes=OTHER_CLASSES), OTHER_NAMES)
    assert build_method("frs", detector("gfl"), other).describe()[1]["to"] == "left out: other classes"


def test_an_rpn_has_no_classes_to_differ():
    other = Frozen(detector("fasterrcnn", 1, classes=OTHER_CLASSES), OTHER_NAMES)
    method = build_method("frs", detector("fasterrcnn"), other)
    assert list(method.guidances) == ["frs/neck", "frs/cls"]


def test_across_strides_the_scores_go_with_the_maps():
    """A two-stage teacher's levels are averaged to a dense student's, its objectness with them."""
    method = make("gfl", "fasterrcnn")
    step = method.step(*scene(size=64), MIDWAY)
    guidance = method.guidances["frs/neck"]
    pair = guidance.match(guidance.source(step), guidance.target(step), step)
    weights = guidance.criterion.where(pair.source, step)[""]
    assert [w.shape[-2:] for w in weights] == [m.shape[-2:] for m in pair.source]
    goal = functional.avg_pool2d(teacher_scores(method.teachers[0], step)[0], 2)
    torch.testing.assert_close(weights[0], goal * (weights[0] > 0))
