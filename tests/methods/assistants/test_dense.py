"""Assistants that predict at every cell, and the strides at which they are compared."""

import re

import pytest
import torch
from headstart.methods.assistants.maps import DenseAssistant, coarsen, factors

from headstart.detectors.detector import Detector
from headstart.errors import UserError
from headstart.heads.retina import RetinaHead
from headstart.methods import Frozen, build_method
from headstart.necks.fpn import FPN
from laws.tiny import CLASSES
from methods.pairs import batch, make, only, teacher, tiny, watch

HIGH = [8, 16, 32, 64, 128]
LOW = [4, 8, 16, 32, 64]


@pytest.mark.parametrize(
    ("own", "goal", "found"),
    [
        (HIGH, HIGH, [1] * 5),
        (LOW, HIGH, [2] * 5),
        ([2, 4, 8, 16, 32], HIGH, [4] * 5),
        ([4, 8, 32], [12, 16, 32], [3, 2, 1]),
        (LOW, [8, 16, 32], [2, 2, 2]),
    ],
)
def test_levels_answer_each_other_by_their_place(own, goal, found):
    assert factors(own, goal) == found


@pytest.mark.parametrize(
    ("own", "goal"), [(HIGH, LOW), (HIGH[:4], HIGH), ([8, 16], [12, 16]), ([8, 16, 64], [8, 16, 32])]
)
def test_finer_strides_missing_levels_and_broken_multiples_are_refused(own, goal):
    with pytest.raises(UserError) as refused:
        factors(own, goal)
    said = str(refused.value)
    assert said.startswith("method head: ") and "\n" not in said and ". " not in said
    for strides in (own, goal):
        assert ", ".join(map(str, strides)) in said


def test_a_student_that_lacks_levels_is_refused():
    body = tiny("retinanet").backbone
    neck = FPN(body.channels, body.strides, width=16, start=1, levels=4)
    student = Detector(body, neck, RetinaHead(3, 16, neck.strides, width=16, depth=1), CLASSES)
    with pytest.raises(UserError, match=re.escape("strides 8, 16, 32, 64: the student needs as many levels")):
        build_method("head", student, teacher("fcos"))


def test_a_teacher_of_finer_strides_is_refused():
    body = tiny("fasterrcnn").backbone
    neck = FPN(body.channels, body.strides, width=16, start=0, levels=5, extra="maxpool")
    fine = Detector(body, neck, RetinaHead(3, 16, neck.strides, width=16, depth=1), CLASSES)
    with pytest.raises(UserError, match=re.escape("teacher of strides 4, 8, 16, 32, 64 cannot be compared")):
        build_method("head", tiny("fcos"), Frozen(fine))
    assert only(build_method("head", tiny("fasterrcnn"), Frozen(fine))).assistant.factors == [1] * 5


def test_coarse_cells_are_the_averages_of_the_cells_that_there_are():
    """Sizes are rounded up, and at the border the cells that exist are averaged."""
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, 3, *size, generator=generator) for size in ((7, 8), (5, 3), (1, 1), (2, 2))]
    parts = [2, 3, 2]
    found = coarsen(maps, parts)
    assert [tuple(m.shape[-2:]) for m in found] == [(4, 4), (2, 1), (1, 1)]
    for coarse, fine, k in zip(found, maps, parts):
        for y in range(coarse.shape[2]):
            for x in range(coarse.shape[3]):
                block = fine[:, :, y * k : y * k + k, x * k : x * k + k]
                torch.testing.assert_close(coarse[:, :, y, x], block.flatten(2).mean(dim=2))


def test_equal_strides_leave_the_maps_alone():
    maps = [torch.randn(1, 2, 4, 4), torch.randn(1, 2, 2, 2)]
    assert all(a is b for a, b in zip(coarsen(maps, [1, 1]), maps))


@pytest.mark.parametrize("student", ["retinanet", "fasterrcnn"])
def test_it_reads_the_students_averaged_levels_at_the_teachers_strides(student):
    method = make("fcos", student)
    assistant = only(method).assistant
    assert isinstance(assistant, DenseAssistant) and assistant.head.strides == HIGH
    assert assistant.layers == ("cls_tower", "reg_tower") and assistant.kind == "fcos"
    averaged = student == "fasterrcnn"
    assert assistant.where == ("P2..P6 (averaged to strides 8..128)" if averaged else "P3..P7")
    _, sight, reading = watch(method)
    maps = coarsen(sight.features.pyramid, [2 if averaged else 1] * 5)
    for name, tower in (("cls_tower", assistant.head.cls_tower), ("reg_tower", assistant.head.reg_tower)):
        assert all(torch.equal(a, tower(x)[0]) for a, x in zip(reading.layers[name], maps, strict=True))
    assert reading.places == [] and set(reading.losses) == {"cls", "box", "quality"}


def test_the_teachers_own_maps_have_the_same_cells():
    """Also where sizes are odd: what is averaged of a finer pyramid has as many cells as the coarser one."""
    method = make("retinanet", "fasterrcnn")
    images, _ = batch()
    pixels = torch.nn.functional.pad(images.pixels, (0, 32, 0, 96))
    images = type(images)(pixels, images.sizes, images.ids, images.originals)
    mine = coarsen(method.student.extract(images).pyramid, [2] * 5)
    theirs = method.teacher.extract(images).pyramid
    assert [m.shape[-2:] for m in mine] == [t.shape[-2:] for t in theirs]


def test_losses_are_the_heads_own_at_the_averaged_levels():
    method = make("retinanet", "fasterrcnn")
    assistant = only(method).assistant
    _, sight, reading = watch(method)
    outputs = assistant.head.resume(*[coarsen(sight.features.pyramid, [2] * 5)] * 2, start=0, sizes=sight.sizes)
    expected = assistant.head.loss(outputs, assistant.head.assign(outputs, sight.targets))
    assert set(expected) == set(reading.losses)
    assert all(torch.equal(reading.losses[name], value) for name, value in expected.items())


def test_the_teacher_is_asked_once_without_gradient():
    method = make("reppoints", "retinanet")
    assistant, images = only(method).assistant, batch()[0]
    _, _, reading = watch(method)
    goal = assistant.consult(method.teacher, images, reading)
    head, model = method.teacher.model.head, method.teacher.model
    outputs = head(model.extract(images), images.sizes, trace=True)
    expected = head.layers(outputs)
    assert set(goal) == set(assistant.layers) == set(expected) and len(goal) == 5
    for name, maps in goal.items():
        assert all(torch.equal(a, b) and not a.requires_grad for a, b in zip(maps, expected[name], strict=True))


def test_its_adapters_are_one_convolution_for_all_levels():
    adapter = only(make("fcos", "retinanet")).adapters["cls_tower"]
    assert isinstance(adapter, torch.nn.Conv2d) and tuple(adapter.weight.shape) == (16, 16, 1, 1)
    assert adapter.bias is not None
