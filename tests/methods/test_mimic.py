import copy

import pytest
import torch

from headstart.errors import UserError
from headstart.methods import Frozen, build_method
from headstart.methods.criteria.answers import RegionAnswers
from headstart.methods.criteria.cells import CellPredictions, best_of_cells
from headstart.methods.criteria.predictions import DensePredictions
from laws.tiny import DENSE, OTHER_CLASSES, OTHER_NAMES, detector, run, scene, total


@pytest.mark.parametrize("teacher", DENSE)
@pytest.mark.parametrize("student", DENSE)
def test_one_kind_is_compared_by_its_own_losses_and_others_cell_by_cell(student, teacher):
    (guidance,) = build_method("mimic", detector(student, 0), Frozen(detector(teacher, 1)))
    assert type(guidance.criterion) is (DensePredictions if student == teacher else CellPredictions)


def test_other_classes_are_compared_cell_by_cell():
    taught = Frozen(detector("gfl", 1, classes=OTHER_CLASSES), OTHER_NAMES)
    (guidance,) = build_method("mimic", detector("gfl", 0), taught)
    assert type(guidance.criterion) is CellPredictions


@pytest.mark.parametrize("teacher", ["gfl", "retinanet"])
def test_the_students_own_predictors_learn(teacher):
    method = build_method("mimic", detector("gfl", 0), Frozen(detector(teacher, 1))).train()
    terms = run(method, *scene(size=64)).terms
    total({name: term for name, term in terms.items() if name.startswith("mimic/")}).backward()
    head = method.student.head
    assert all(layer.weight.grad.count_nonzero() for layer in (head.cls, head.reg, head.cls_tower.convs[0]))


def test_the_likeliest_anchor_speaks_for_a_cell():
    built = detector("retinanet", 0).eval()
    images, _ = scene(size=64)
    with torch.no_grad():
        outputs = built(images)
        logits, boxes = best_of_cells(built.head, outputs, 2, lambda x: x)
    count = sum(m.shape[-2] * m.shape[-1] for m in outputs.cls[:2])
    assert logits.shape == (2, count, 3) and boxes.shape == (2, count, 4)
    height, width = outputs.cls[0].shape[-2:]
    every = outputs.cls[0].unflatten(1, (-1, 3))[1, :, :, 1, 2]  # the anchors of the cell at row 1, column 2
    assert torch.equal(logits[1, width + 2], every[every.amax(dim=1).argmax()])
    assert height * width < count


def test_without_a_teacher_it_is_refused():
    with pytest.raises(UserError, match="method mimic needs a teacher: give --teacher FILE"):
        build_method("mimic", detector("gfl", 0))


@pytest.mark.parametrize(
    ("student", "teacher"), [("gfl", "fasterrcnn"), ("cascadercnn", "retinanet"), ("fasterrcnn", "cascadercnn")]
)
def test_a_two_stage_side_is_compared_region_by_region(student, teacher):
    method = build_method("mimic", detector(student, 0), Frozen(detector(teacher, 1)), box_weight=3).train()
    (guidance,) = method
    assert type(guidance.criterion) is RegionAnswers and guidance.criterion.terms == {"cls": 1, "box": 3}
    assert guidance.needs.regions == (128 if student == "gfl" else 512)
    terms = run(method, *scene(size=64)).terms
    total({name: term for name, term in terms.items() if name.startswith("mimic/")}).backward()
    head = method.student.head
    predictors = (head.cls, head.reg) if student == "gfl" else (head.box_heads[0].cls, head.box_heads[0].reg)
    assert all(layer.weight.grad.count_nonzero() for layer in predictors)


@pytest.mark.parametrize("family", ["fasterrcnn", "cascadercnn"])
def test_equal_two_stage_detectors_have_nothing_to_learn(family):
    student = detector(family).eval()
    method = build_method("mimic", student, Frozen(copy.deepcopy(student)))
    terms = run(method, *scene(size=64)).terms
    assert terms["mimic/cls"].item() < 1e-4 and terms["mimic/box"].abs().item() < 1e-4


def test_whoever_agrees_with_another_kind_has_nothing_to_learn():
    """A criterion of cells is 0 for equal predictions."""
    student = detector("gfl").eval()
    method = build_method("mimic", student, Frozen(copy.deepcopy(student)))
    (guidance,) = method
    classes = method.teachers[0].match(student.classes)
    guidance.criterion = CellPredictions(student.head, student.head, classes, {"cls": 1.0, "box": 1.0})
    terms = run(method, *scene(size=64)).terms
    assert terms["mimic/cls"].item() < 1e-4 and terms["mimic/box"].abs().item() < 1e-4
