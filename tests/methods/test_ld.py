import copy

import pytest
import torch

from headstart.errors import UserError
from headstart.methods import Frozen, build_method
from headstart.structures import Targets
from laws.tiny import DENSE, OTHER_CLASSES, OTHER_NAMES, TWO_STAGE, detector, run, scene, total


def method_of(*, teacher=None, **options):
    return build_method("ld", detector("gfl", 0), teacher or Frozen(detector("gfl", 1)), **options).eval()


def terms(method, targets=None):
    images, own = scene(size=64)
    found = run(method, images, targets or own).terms
    return {name: term for name, term in found.items() if name.startswith("ld/")}


def constants(**options):
    (guidance,) = method_of(**options)
    return guidance.criterion.terms


def test_published_constants_and_those_that_are_divided_by_the_positives():
    assert constants(weights="paper", cls=True) == {"box": 0.25, "valuable": 0.25, "cls": 10}
    assert constants(cls=True) == {"box": 10, "valuable": 10, "cls": 10}
    assert constants(valuable=False) == {"box": 10}
    assert constants(box_weight=1, valuable_weight=2, cls=True, cls_weight=3) == {"box": 1, "valuable": 2, "cls": 3}
    (guidance,) = method_of()
    assert guidance.criterion.temperature == 10 and not guidance.criterion.summed


def test_both_forms_are_equal_at_forty_positives():
    method = method_of()
    step = method.step(*scene(size=64), None)
    count = step.assignment.positive.sum(dim=1).clamp(min=1).sum().item()
    auto, paper = terms(method), terms(method_of(weights="paper"))
    for name in ("ld/box", "ld/valuable"):
        assert auto[name].item() * count == pytest.approx(paper[name].item() * 40, rel=1e-5)


def test_equal_detectors_have_nothing_to_teach():
    student = detector("gfl").eval()
    method = build_method("ld", student, Frozen(copy.deepcopy(student)), cls=True)
    assert all(abs(value.item()) < 1e-4 for value in terms(method).values())


def test_only_the_predictors_side_of_boxes_learns_without_the_class_term():
    method = method_of()
    total(terms(method)).backward()
    head = method.student.head
    assert bool(head.reg.weight.grad.any()) and head.cls.weight.grad is None
    method = method_of(cls=True)
    total(terms(method)).backward()
    assert bool(method.student.head.cls.weight.grad.any())


def test_images_without_objects_give_zero():
    found = terms(method_of(cls=True), [Targets.empty(), Targets.empty()])
    assert all(value.item() == 0 for value in found.values())
    total(found).backward()


def test_other_classes_share_the_boxes():
    found = terms(method_of(teacher=Frozen(detector("gfl", 1, classes=OTHER_CLASSES), OTHER_NAMES), cls=True))
    assert all(value.item() > 0 for value in found.values())


@pytest.mark.parametrize("other", [name for name in (*DENSE, *TWO_STAGE) if name != "gfl"])
def test_heads_without_edge_distributions_are_refused_on_either_side(other):
    for student, teacher in (("gfl", other), (other, "gfl")):
        with pytest.raises(
            UserError, match=r"method ld needs a gfl student and a gfl teacher.*use method bckd or cross"
        ):
            build_method("ld", detector(student), Frozen(detector(teacher)))


def test_other_bins_and_strides_are_refused():
    with pytest.raises(UserError, match=r"method ld needs gfl heads of equal bins and strides: .* reg_max 16"):
        method_of(teacher=Frozen(detector("gfl", 1, reg_max=8)))


def test_a_class_term_needs_two_classes_and_a_weight_needs_its_term():
    one = {"circle": "circle", "square": None, "star": None}
    with pytest.raises(UserError, match="student and teacher have one in common; leave cls out"):
        method_of(teacher=Frozen(detector("gfl", 1), one), cls=True)
    with pytest.raises(UserError, match="method ld: cls_weight is the weight of a term that is off; set cls=true"):
        method_of(cls_weight=1)
    with pytest.raises(UserError, match="method ld: valuable_weight is the weight of a term that is off"):
        method_of(valuable=False, valuable_weight=1)


def test_without_a_teacher_it_is_refused():
    with pytest.raises(UserError, match="method ld needs a teacher: give --teacher FILE"):
        build_method("ld", detector("gfl"))


@torch.no_grad()
def test_warmup():
    method = method_of(warmup=1000)
    half = terms(method)["ld/box"].item()
    assert half == pytest.approx(terms(method_of())["ld/box"].item() / 2, rel=1e-5)
