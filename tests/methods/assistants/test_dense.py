"""Assistants that predict at every cell, and the strides at which they are compared."""

import re

import pytest
import torch

from headstart.detectors.detector import Detector
from headstart.errors import UserError
from headstart.methods import Frozen, build_method
from headstart.methods.adapters import ConvAdapter
from headstart.methods.assistants.dense import DenseAssistant
from headstart.methods.pairing import coarsen
from headstart.necks.fpn import FPN
from headstart.structures import Progress
from laws.tiny import CLASSES, run
from methods.pairs import batch, frozen, imitations, make, only_assistant, only_teacher, tiny, watch

HIGH = [8, 16, 32, 64, 128]


def retinanet(family, **options):
    """A RetinaNet on another pyramid over the backbone of a family."""
    body = tiny(family).backbone
    neck = FPN(body.channels, body.strides, width=16, **options)
    return Detector(body, neck, tiny("retinanet", depth=1).head.rebuild(16, neck.strides), CLASSES)


@pytest.mark.parametrize("levels", [3, 4])
def test_a_shorter_pyramid_is_made_longer_for_the_assistant(levels):
    """By every second cell; the student's own head is compared on its own levels."""
    method = build_method("head", retinanet("retinanet", start=1, levels=levels), frozen("fcos")).train()
    assistant = only_assistant(method)
    assert assistant.factors == (1,) * levels and assistant.head.strides == HIGH
    assert assistant.levels == f"P3..P{2 + levels} (and every second cell up to stride 128)"
    terms, step, outputs = watch(method)
    theirs = assistant.teacher_layers(only_teacher(method), step.batch, outputs)
    for name, maps in outputs.layers.items():
        assert [m.shape for m in maps] == [m.shape for m in theirs[name]] and len(maps) == 5
    last = step.features.pyramid[-1]
    longer = [last[..., ::2, ::2], last[..., ::4, ::4]][: 5 - levels]
    for one, maps in zip(longer, outputs.layers["cls_tower"][levels:], strict=True):
        assert torch.equal(assistant.head.cls_tower(one)[0], maps)
    assert terms["akd/fcos/cls_tower"].item() > 0
    (ckd,) = imitations(method, "ckd/fcos/cls").values()
    assert len(ckd.match(step.outputs.cls_trace[0], theirs["cls_tower"], step).target) == levels


def test_a_longer_pyramid_than_the_teachers():
    short = Frozen(retinanet("retinanet", start=1, levels=3))
    method = build_method("head", tiny("fcos"), short).train()
    assert only_assistant(method).head.strides == [8, 16, 32] and only_assistant(method).factors == (1, 1, 1)
    assert all(term.item() >= 0 and bool(term.isfinite()) for term in run(method, *batch()).terms.values())


def test_a_teacher_of_finer_strides_is_refused():
    fine = Frozen(retinanet("fasterrcnn", start=0, levels=5, extra="maxpool"))
    with pytest.raises(UserError, match=re.escape("teacher of strides 4, 8, 16, 32, 64 cannot be compared")):
        build_method("head", tiny("fcos"), fine)
    assert only_assistant(build_method("head", tiny("fasterrcnn"), fine)).factors == (1,) * 5


@pytest.mark.parametrize("student", ["retinanet", "fasterrcnn"])
def test_it_reads_the_students_averaged_levels_at_the_teachers_strides(student):
    method = make("fcos", student)
    assistant = only_assistant(method)
    assert isinstance(assistant, DenseAssistant) and assistant.head.strides == HIGH
    assert assistant.layers == ("cls_tower", "reg_tower") and assistant.kind == "fcos"
    averaged = student == "fasterrcnn"
    assert assistant.levels == ("P2..P6 (averaged to strides 8..128)" if averaged else "P3..P7")
    _, step, outputs = watch(method)
    maps = coarsen(step.features.pyramid, [2 if averaged else 1] * 5)
    for name, tower in (("cls_tower", assistant.head.cls_tower), ("reg_tower", assistant.head.reg_tower)):
        assert all(torch.equal(a, tower(x)[0]) for a, x in zip(outputs.layers[name], maps, strict=True))
    assert outputs.regions == [] and set(outputs.losses) == {"cls", "box", "quality"}


def test_the_teachers_own_maps_have_the_same_cells():
    """Also where sizes are odd: what is averaged of a finer pyramid has as many cells as the coarser one."""
    method = make("retinanet", "fasterrcnn")
    images, _ = batch()
    pixels = torch.nn.functional.pad(images.pixels, (0, 32, 0, 96))
    images = type(images)(pixels, images.sizes, images.ids, images.originals)
    mine = coarsen(method.student.extract(images).pyramid, [2] * 5)
    theirs = only_teacher(method).features(images).pyramid
    assert [m.shape[-2:] for m in mine] == [t.shape[-2:] for t in theirs]


def test_losses_are_the_heads_own_at_the_averaged_levels():
    method = make("retinanet", "fasterrcnn")
    head = only_assistant(method).head
    _, step, outputs = watch(method)
    maps = coarsen(step.features.pyramid, [2] * 5)
    found = head.resume(maps, maps, start=0, sizes=step.batch.sizes)
    expected = head.loss(found, head.assign(found, step.targets))
    assert set(expected) == set(outputs.losses)
    assert all(torch.equal(outputs.losses[name], value) for name, value in expected.items())


def test_the_teachers_layers_are_those_of_its_head_without_gradient():
    method = make("reppoints", "retinanet")
    assistant, images = only_assistant(method), batch()[0]
    _, _, outputs = watch(method)
    theirs = assistant.teacher_layers(only_teacher(method), images, outputs)
    model = only_teacher(method).model
    expected = model.head.layers(model.head(model.extract(images), images.sizes, trace=True))
    assert set(theirs) == set(assistant.layers) == set(expected) and len(theirs) == 5
    for name, maps in theirs.items():
        assert all(torch.equal(a, b) and not a.requires_grad for a, b in zip(maps, expected[name], strict=True))


def test_the_teacher_runs_once():
    method = make("reppoints", "retinanet")
    calls = []
    only_teacher(method).model.head.register_forward_hook(lambda *_: calls.append(1))
    for step in (1, 2):
        run(method, *batch(step), Progress(step, 10))
        assert len(calls) == step


def test_its_adapters_are_one_convolution_for_all_levels():
    for imitation in imitations(make("fcos", "retinanet"), "akd").values():
        assert isinstance(imitation.adapter, ConvAdapter)
        assert tuple(imitation.adapter.conv.weight.shape) == (16, 16, 1, 1) and imitation.adapter.conv.bias is not None
