"""The detectors of a run."""

import pytest
import torch

from headstart.detectors.weights import save_detector
from headstart.engine.detectors import make_student
from headstart.errors import UserError
from headstart.recipe import check_run
from laws.tiny import detector

CLASSES = ["triangle", "Star", "circle", "moon"]
"""Of the data: two of the detector's three, in another order and spelling, and two that it does not know."""

TEACHING = {"teacher": "t.safetensors", "method": "head"}


def run_of(student, **more):
    return check_run({"data": {"path": "x"}, "student": student, **more})


@pytest.fixture
def file(tmp_path):
    return str(save_detector(detector("retinanet"), tmp_path / "w.safetensors"))


def test_a_student_starts_alike_whenever_the_seed_is_the_same():
    choice = {"name": "retinanet_mnv2_050", "width": 16, "pretrained": False}
    one, other, third = (make_student(run_of(choice, train={"seed": seed}), ["a", "b"])[0] for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values()))
    assert not all(torch.equal(a, b) for a, b in zip(one.parameters(), third.parameters()))


def test_a_run_says_what_it_keeps(file):
    said = []
    student, matched = make_student(run_of(file), CLASSES, said.append)
    assert student.classes == tuple(CLASSES) and matched.known == (1, 2)
    assert said == [
        "The student's file finds 3 classes, the data has 4: 2 are known to it (Star, circle); 2 start anew (triangle, "
        "moon). All else of it is kept."
    ]
    again, _ = make_student(run_of(file), CLASSES)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in student.state_dict().items())


def rows(built, number):
    """Of one class: RetinaNet's nine anchors each have a row."""
    return built.head.cls.weight.unflatten(0, (9, -1))[:, number]


@pytest.mark.parametrize("more", [{}, TEACHING])
def test_rows_of_renamed_classes_are_kept(file, more):
    """By the map alone; with a teacher in the run, names of which only the teacher knows are left to it."""
    given = {"square": "moon", "star": None} | ({"teacher's own": "triangle"} if more else {})
    before = detector("retinanet")
    student, matched = make_student(run_of(file, class_map=given, **more), CLASSES)
    assert matched.known == (2, 3) and matched.unmatched_teacher == ("star",)
    assert torch.equal(rows(student, 3), rows(before, 1)) and torch.equal(rows(student, 2), rows(before, 0))
    assert not torch.equal(rows(student, 1), rows(before, 2))


def test_several_classes_may_become_one(file):
    before = detector("retinanet")
    student, _ = make_student(run_of(file, class_map={"square": "moon", "circle": "moon"}), CLASSES)
    torch.testing.assert_close(rows(student, 3), (rows(before, 0) + rows(before, 1)) / 2)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"sqare": "moon"}, "the student's file has no class 'sqare'.*did you mean 'square'"),
        ({"square": "mon"}, "the data has no class 'mon'.*did you mean 'moon'"),
    ],
)
def test_mistyped_names(file, given, said):
    with pytest.raises(UserError, match=said):
        make_student(run_of(file, class_map=given), CLASSES)


def test_a_map_that_nothing_needs_is_refused(file):
    classes = list(detector("retinanet").classes)
    assert make_student(run_of(file), classes)[1] is None
    assert make_student(run_of(file, class_map={"x": "y"}, **TEACHING), classes)[1] is None  # the teacher's
    with pytest.raises(UserError, match="nothing to map: leave out class_map"):
        make_student(run_of(file, class_map={"square": "moon"}), classes)
