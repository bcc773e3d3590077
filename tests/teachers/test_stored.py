"""A teacher whose answers are kept on disk says the same to the bit, with fewer passes."""

import copy
from dataclasses import replace

import pytest
import torch

from headstart.engine.precision import Precision
from headstart.engine.teacher import prepare_frozen
from headstart.methods import build_method
from headstart.structures import ImageBatch, Progress
from headstart.teachers import Frozen, OwnSize, Store, Stored
from laws.tiny import detector, run, scene

FAMILIES = ("retinanet", "reppoints", "fasterrcnn", "cascadercnn", "yolox")


def make(family, folder, own=None, limit=10**9):
    teacher = Stored(detector(family), store=Store(folder, family, limit, lambda text: None), own=own)
    teacher.open()
    return teacher


def count_passes(teacher):
    """How many images each pass of the backbone had."""
    calls = []
    teacher.model.backbone.register_forward_hook(lambda module, args, _: calls.append(len(args[0])))
    return calls


def batches():
    """Of two images: 0 and 1, 2 and 3, then 0 beside 2."""
    first, second = scene(0, size=64)[0], scene(1, size=64)[0]
    mixed = replace(
        first,
        pixels=torch.stack([first.pixels[0], second.pixels[0]]),
        sizes=[first.sizes[0], second.sizes[0]],
    )
    return [first, second, mixed]


def places(family):
    two_stage = family.endswith("rcnn")
    return ["neck", "backbone/C3", "region/fc0"] if two_stage else ["neck", "backbone/C3", "cls_tower/0", "output/cls"]


def everything(teacher, batch, family):
    taps = teacher.taps(batch, places(family))
    found = [x for maps in taps.values() for x in maps]
    for one in teacher.detections(batch):
        found += [one.boxes, one.scores, one.labels, one.cells.level, one.cells.y, one.cells.x, one.cells.anchor]
    if not family.endswith("rcnn"):
        outputs = teacher.outputs(batch) if teacher.own is None else teacher._said(batch)
        found += [*outputs.cls, *outputs.reg, *(outputs.quality or []), *(x for maps in outputs.earlier for x in maps)]
    else:
        found += teacher.at(batch, [torch.tensor([[3.0, 4, 40, 50]]), torch.tensor([[10.0, 2, 30, 31]])])
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_to_the_bit_with_and_without(family, tmp_path):
    """Made, read again, read by another object, and of a batch in which other images lie beside one."""
    plain, teacher = Frozen(detector(family)), make(family, tmp_path)
    for round_, user in enumerate((teacher, teacher, make(family, tmp_path))):
        calls = count_passes(user)
        for batch in map(copy.copy, batches()):
            for a, b in zip(everything(plain, batch, family), everything(user, batch, family), strict=True):
                assert torch.equal(a, b) and a.dtype == b.dtype
        assert calls == ([2, 2] if round_ == 0 else [])


def test_the_same_to_the_bit_in_bf16(tmp_path):
    """Weights as a run stores them, computed with under autocast; beside other images, and fewer of them."""
    precision = Precision(torch.bfloat16, channels_last=True)
    teachers = [Frozen(detector("retinanet")), make("retinanet", tmp_path), make("retinanet", tmp_path)]
    for teacher in teachers:
        prepare_frozen(teacher.model, precision)
    found = []
    with precision.autocast(torch.device("cpu")):
        for teacher in teachers:
            found.append([x for batch in batches() for x in everything(teacher, batch, "retinanet")])
    assert torch.bfloat16 in {x.dtype for x in found[0]}
    for others in found[1:]:
        assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(found[0], others, strict=True))


def test_only_images_that_are_not_there_are_passed_through(tmp_path):
    """At least two at a time, because one alone is convolved in another order."""
    pixels = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)

    def batch(*rows):
        sizes = [(64, 64)] * len(rows)
        return ImageBatch(pixels[list(rows)], sizes, list(rows), sizes)

    teacher = make("retinanet", tmp_path)
    calls = count_passes(teacher)
    for rows in ((0, 1), (0, 1, 2), (3, 2, 1), (0, 1, 2, 3), (0,), (0,)):
        found = teacher.taps(batch(*rows), ["neck"])["neck"]
        expected = Frozen(detector("retinanet")).taps(batch(*rows), ["neck"])["neck"]
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert calls == [2, 2, 2, 1]


def test_two_places_cost_one_pass(tmp_path):
    teacher = make("retinanet", tmp_path)
    calls = count_passes(teacher)
    (batch, *_) = batches()
    teacher.taps(batch, ["neck", "cls_tower/0"])
    teacher.outputs(batch)
    assert calls == [2]


def test_before_it_is_opened_it_measures_and_writes_nothing(tmp_path):
    teacher = Stored(detector("retinanet"), store=Store(tmp_path / "new", "t", 10**9, print))
    (batch, *_) = batches()
    maps = teacher.taps(batch, ["neck"])["neck"]
    assert teacher.sizes == {"neck": sum(x[0].numel() * 4 for x in maps)} and not (tmp_path / "new").exists()


def test_at_its_own_size(tmp_path):
    own = OwnSize(32, 64)
    plain, teacher = Frozen(detector("fasterrcnn"), own=own), make("fasterrcnn", tmp_path, own)
    (batch, *_) = batches()
    for _ in range(2):
        for a, b in zip(everything(plain, batch, "fasterrcnn"), everything(teacher, batch, "fasterrcnn"), strict=True):
            assert torch.equal(a, b)
        teacher.clear()


def test_a_full_store_changes_nothing(tmp_path):
    plain, teacher = Frozen(detector("retinanet")), make("retinanet", tmp_path, limit=7000)
    for batch in batches() * 2:
        for a, b in zip(teacher.taps(batch, ["neck"])["neck"], plain.taps(batch, ["neck"])["neck"], strict=True):
            assert torch.equal(a, b)
    assert len(list(tmp_path.rglob("*.safetensors"))) == 1


@pytest.mark.parametrize("name", ["head", "crosskd", "pkd", "head+pkd"])
@pytest.mark.parametrize("family", ["fasterrcnn", "gfl"])
def test_methods_get_the_same_gradients(name, family, tmp_path):
    """From the model and from the disk."""
    found = []
    for teacher in (Frozen(detector(family)), make(family, tmp_path), make(family, tmp_path)):
        student = detector("retinanet")
        torch.manual_seed(7)
        method = build_method(name, student, teacher).train()
        torch.manual_seed(8)
        images, targets = scene(0, size=64)
        calls = count_passes(teacher)
        objective = run(method, images, targets, Progress(50, 100))
        objective.total.backward()
        found.append([p.grad for p in method.parameters() if p.grad is not None])
    assert calls == []
    for others in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], others, strict=True))
