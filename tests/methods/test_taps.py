"""Places of the student and of a teacher as methods read them."""

import pytest
import torch

from headstart.detectors.taps import tap_names
from headstart.methods.step import Needs, Step
from headstart.methods.taps import StudentTap, TeacherTap, spell
from headstart.structures import Progress
from methods.pairs import batch, frozen, tiny


def make_step(family, trace=True):
    images, targets = batch()
    return Step(tiny(family), images, targets, Progress(0, 10), Needs(trace=trace))


@pytest.mark.parametrize("family", ["retinanet", "reppoints", "fasterrcnn", "cascadercnn"])
def test_every_place_of_a_student_carries_its_gradient(family):
    step = make_step(family)
    for name in tap_names(step.student):
        found = StudentTap(name)(step)
        assert found and all(x.requires_grad for x in found), name


def test_a_place_of_the_student_is_read_before_its_activation():
    step = make_step("retinanet")
    (last,) = StudentTap("neck/P5")(step)
    assert last is step.features.pyramid[2]
    blocks = StudentTap("cls_tower/0")(step)
    tower = step.student.head.cls_tower
    for maps, pyramid in zip(blocks, step.features.pyramid, strict=True):
        torch.testing.assert_close(maps, tower.convs[0](pyramid))
        assert bool((maps < 0).any())


@pytest.mark.parametrize(
    ("name", "trace"),
    [("backbone/C3", False), ("neck", False), ("output/cls", False), ("cls_tower/1", True), ("initial_conv", True)],
)
def test_only_places_inside_the_head_need_a_trace(name, trace):
    assert StudentTap(name).needs == Needs(trace=trace)


def test_places_outside_the_towers_need_no_traced_pass():
    step = make_step("gfl", trace=False)
    assert step.outputs.cls_trace == []
    assert StudentTap("output/reg")(step) is step.outputs.reg and StudentTap("neck")(step) is step.features.pyramid


def test_a_place_of_a_teacher_has_no_gradient_and_asks_nothing_of_the_student():
    teacher, step = frozen("fcos"), make_step("retinanet")
    tap = TeacherTap(teacher, "reg_tower/0")
    assert tap.needs == Needs()
    found = tap(step)
    expected = teacher.model(step.batch, trace=True).reg_trace[0]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)
        assert not a.requires_grad and bool((a < 0).any())


def test_a_place_of_a_teacher_may_be_read_after_its_activation():
    teacher, step = frozen("fcos"), make_step("retinanet")
    before, after = (TeacherTap(teacher, "cls_tower", activated=x)(step) for x in (False, True))
    assert all(torch.equal(a, b.clamp(min=0)) for a, b in zip(after, before, strict=True))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cls_tower/3", "cls tower block 3"),
        ("reg_tower", "reg_tower"),
        ("region/fc1", "fc1"),
        ("neck/P3", "neck P3"),
        ("backbone", "backbone"),
        ("output/cls", "output cls"),
        ("initial_conv", "initial_conv"),
    ],
)
def test_what_the_pairing_table_says(name, text):
    assert spell(name) == text and str(StudentTap(name)) == f"student {text}"
    assert str(TeacherTap(frozen("fcos"), name)) == f"teacher {text}"
