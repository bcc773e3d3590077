import copy

import pytest

from headstart.errors import UserError
from headstart.methods import Frozen, build_method
from headstart.structures import Targets
from laws.tiny import DENSE, OTHER_CLASSES, OTHER_NAMES, detector, run, scene, total


def method_of(student="gfl", teacher="gfl", **options):
    return build_method("bckd", detector(student, 0), Frozen(detector(teacher, 1)), **options).eval()


def terms(method, targets=None):
    images, own = scene(size=64)
    found = run(method, images, targets or own).terms
    return {name: term for name, term in found.items() if name.startswith("bckd/")}


@pytest.mark.parametrize("teacher", DENSE)
@pytest.mark.parametrize("student", DENSE)
def test_prior_by_prior_between_heads_of_one_kind_and_cell_by_cell_between_others(student, teacher):
    (guidance,) = method_of(student, teacher)
    assert guidance.criterion.per_prior == (student == teacher)


def test_published_constants():
    (guidance,) = method_of()
    assert guidance.criterion.terms == {"cls": 1, "box": 4} and guidance.criterion.region == "all"
    (guidance,) = method_of(cls_weight=2, box_weight="0.5")
    assert guidance.criterion.terms == {"cls": 2, "box": 0.5}


@pytest.mark.parametrize("family", ["gfl", "retinanet", "yolox"])
def test_equal_detectors_have_nothing_to_teach(family):
    student = detector(family).eval()
    method = build_method("bckd", student, Frozen(copy.deepcopy(student)))
    assert all(abs(value.item()) < 1e-4 for value in terms(method).values())


@pytest.mark.parametrize("teacher", ["gfl", "retinanet"])
def test_the_students_own_predictors_learn(teacher):
    method = method_of("gfl", teacher)
    total(terms(method)).backward()
    head = method.student.head
    assert all(layer.weight.grad.count_nonzero() for layer in (head.cls, head.reg, head.cls_tower.convs[0]))


@pytest.mark.parametrize("region", ["all", "positives"])
def test_images_without_objects_are_finite(region):
    found = terms(method_of(region=region), [Targets.empty(), Targets.empty()])
    assert all(bool(value.isfinite()) and (region == "all") == (value.item() > 0) for value in found.values())


def test_other_classes_are_compared_prior_by_prior_too():
    taught = Frozen(detector("gfl", 1, classes=OTHER_CLASSES), OTHER_NAMES)
    method = build_method("bckd", detector("gfl", 0), taught)
    (guidance,) = method
    assert guidance.criterion.per_prior and all(value.item() > 0 for value in terms(method).values())


@pytest.mark.parametrize(
    ("teacher", "student", "sentence"),
    [
        (None, "gfl", "method bckd needs a teacher: give --teacher FILE"),
        ("fasterrcnn", "gfl", "method bckd needs a dense student and a dense teacher.*use method head or crosskd"),
        ("gfl", "fasterrcnn", "method bckd needs a dense student and a dense teacher"),
    ],
)
def test_what_cannot_be_is_refused(teacher, student, sentence):
    with pytest.raises(UserError, match=sentence):
        build_method("bckd", detector(student, 0), Frozen(detector(teacher, 1)) if teacher else None)


def test_cells_of_other_sizes_are_refused():
    taught = Frozen(detector("yolox", 1))
    taught.model.head.strides = [16, 32, 64]
    with pytest.raises(UserError, match=r"method bckd compares cells of one size: .* use method crosskd"):
        build_method("bckd", detector("yolox"), taught)
