"""The teacher that is a frozen detector: never changed, run once per batch, remembering only what was asked for."""

import copy
import gc
import weakref
from dataclasses import replace

import pytest
import torch

from headstart.detectors.taps import tap_names
from headstart.detectors.zoo import FAMILIES
from headstart.errors import UserError
from headstart.methods import Frozen as FromMethods
from headstart.methods import build_method
from headstart.teachers import TEACHER, Frozen
from laws.tiny import CLASSES, TWO_STAGE, detector, run, scene


def small(seed=0):
    images, _ = scene(seed, size=64)
    return images


def count_passes(teacher):
    """A list that grows by one whenever the teacher's backbone runs."""
    calls = []
    teacher.model.backbone.register_forward_hook(lambda *_: calls.append(1))
    return calls


def count_heads(teacher):
    """The same for its head."""
    calls = []
    teacher.model.head.register_forward_hook(lambda *_: calls.append(1))
    return calls


@pytest.fixture
def teacher():
    return Frozen(detector("fasterrcnn").train())


# -- never changed -----------------------------------------------------------------------------------------------------


def test_it_is_frozen_and_in_evaluation_mode(teacher):
    assert not any(module.training for module in teacher.model.modules())
    assert not any(p.requires_grad for p in teacher.model.parameters())
    assert teacher.classes == teacher.model.classes and FromMethods is Frozen


def test_its_title():
    assert Frozen(detector("fcos")).title == TEACHER == "teacher"
    assert Frozen(detector("retinanet"), name="dense").title == "teacher dense"


def test_copies_are_the_teacher_itself(teacher):
    assert copy.copy(teacher) is teacher and copy.deepcopy(teacher) is teacher
    assert copy.deepcopy([teacher])[0] is teacher


def test_classes_are_matched_by_name_and_by_its_map():
    teacher = Frozen(detector("fcos", classes=("Star", "disc", "bus")), {"disc": "circle"})
    found = teacher.match(CLASSES)
    assert found.student == CLASSES and list(found.unmatched_student) == ["square"]
    assert list(found.unmatched_teacher) == ["bus"]
    with pytest.raises(UserError, match="no class in common"):
        Frozen(detector("fcos", classes=("cat", "dog"))).match(CLASSES)


# -- one pass per batch ------------------------------------------------------------------------------------------------


def test_one_pass_per_batch(teacher):
    calls = count_passes(teacher)
    batch, other = small(), small()
    first = teacher.features(batch)
    assert teacher.features(batch) is first and len(calls) == 1
    assert not any(maps.requires_grad for maps in first.pyramid)
    assert torch.equal(teacher.features(other).pyramid[0], first.pyramid[0]) and len(calls) == 2
    teacher.clear()
    teacher.features(other)
    assert len(calls) == 3


def test_the_head_runs_once_per_batch():
    teacher = Frozen(detector("retinanet"))
    passes, heads = count_passes(teacher), count_heads(teacher)
    batch, other = small(), small(1)
    found = teacher.outputs(batch)
    assert teacher.outputs(batch) is found and len(passes) == len(heads) == 1
    assert not any(maps.requires_grad for maps in (*found.cls, *found.reg))
    features = teacher.features(batch)
    assert len(passes) == 1
    assert torch.equal(teacher.model.head(features, batch.sizes).cls[0], found.cls[0])
    assert not torch.equal(teacher.outputs(other).cls[0], found.cls[0]) and len(passes) == 2
    teacher.features(batch)  # nothing of the batch before is kept when another comes
    assert teacher.outputs(batch) is not found and len(passes) == 3
    teacher.clear()
    teacher.outputs(batch)
    assert len(passes) == 4


def test_all_lanes_share_the_pass(teacher):
    lanes = [build_method("head", detector(student), teacher) for student in ("retinanet", "fcos")]
    lanes.append(copy.deepcopy(lanes[0]))
    calls = count_passes(teacher)
    for step in range(2):
        batch, targets = scene(step, size=64)
        for lane in lanes:
            with torch.no_grad():
                run(lane, batch, targets)
        assert len(calls) == step + 1


def test_another_place_that_is_read_later_costs_no_second_pass():
    """What was remembered of the batch lacks it; from the next batch on it is kept."""
    teacher = Frozen(detector("retinanet"))
    passes, heads = count_passes(teacher), count_heads(teacher)
    batch = small()
    teacher.taps(batch, ["cls_tower"])
    assert (len(passes), len(heads)) == (1, 1)
    teacher.taps(batch, ["neck/P3", "output/cls"])
    assert (len(passes), len(heads)) == (1, 1)
    teacher.taps(batch, ["reg_tower/0"])
    assert (len(passes), len(heads)) == (1, 2)
    teacher.taps(batch, ["backbone/C3"])  # stages are not kept for nothing: here the backbone runs again
    assert len(passes) == 2
    other = small(1)
    for name in ("backbone/C3", "reg_tower/0", "cls_tower", "neck/P3"):
        teacher.taps(other, [name])
    assert (len(passes), len(heads)) == (3, 3)


# -- what is remembered ------------------------------------------------------------------------------------------------


def test_its_memory_ends_with_its_batch():
    """Without the collector of cycles: as soon as nobody holds the batch, or when the next one comes."""
    teacher = Frozen(detector("retinanet"))
    gc.disable()
    try:
        batch = small()
        pyramid = weakref.ref(teacher.features(batch).pyramid[0])
        logits = weakref.ref(teacher.outputs(batch).cls[0])
        assert pyramid() is not None and logits() is not None
        del batch
        assert pyramid() is None and logits() is None
        first, second = small(), small(1)
        pyramid = weakref.ref(teacher.features(first).pyramid[0])
        teacher.features(second)
        assert pyramid() is None
        kept = weakref.ref(teacher.features(second).pyramid[0])
        del first  # the end of an older batch is not that of the newer one
        assert kept() is not None
    finally:
        gc.enable()


def test_an_equal_batch_in_the_place_of_an_old_one_is_another():
    """Objects may get the address of one that is gone."""
    teacher = Frozen(detector("retinanet"))
    calls = count_passes(teacher)
    batch = small()
    for seed in range(5):
        teacher.features(batch)
        batch = replace(batch, pixels=torch.full_like(batch.pixels, seed))
    teacher.features(batch)
    assert len(calls) == 6


def test_stages_are_kept_only_if_required(teacher):
    assert teacher.features(small()).stages == []
    teacher.require(["backbone/C4"])
    assert len(teacher.features(small()).stages) == 4
    assert teacher.features(small()).stage_strides == teacher.model.backbone.strides


def test_of_the_trace_only_required_blocks_are_kept():
    teacher = Frozen(detector("reppoints"))
    batch = small()
    found = teacher.outputs(batch)
    assert found.cls_trace == [[], []] and found.reg_trace == [[], []] and found.inner == {}
    teacher.require(["cls_tower/0", "initial_conv"])
    found = teacher.outputs(batch)
    assert [len(block) for block in found.cls_trace] == [5, 0] and found.reg_trace == [[], []]
    assert list(found.inner) == ["initial_conv"]
    teacher.require(["reg_tower"])  # the last block
    assert [len(block) for block in teacher.outputs(batch).reg_trace] == [0, 5]


@pytest.mark.parametrize("family", FAMILIES)
def test_places_are_the_models_own_values(family):
    """Whatever is asked for first, and all at once."""
    names = tap_names(detector(family))
    batch, teacher = small(), Frozen(detector(family))
    one_by_one = {name: teacher.taps(batch, [name])[name] for name in names}
    together = Frozen(detector(family)).taps(batch, names)
    assert list(together) == names
    for name in names:
        for a, b in zip(one_by_one[name], together[name], strict=True):
            assert torch.equal(a, b) and not a.requires_grad, name


def test_moving_it_lets_go_of_what_it_remembers(teacher):
    batch = small()
    before = teacher.features(batch)
    assert teacher.to(torch.float64) is teacher
    after = teacher.features(batch)
    assert after.pyramid[0].dtype == torch.float64
    torch.testing.assert_close(after.pyramid[0].float(), before.pyramid[0], rtol=1e-3, atol=1e-3)


# -- asked about somebody else's boxes and maps ------------------------------------------------------------------------

BOXES = [torch.tensor([[3.0, 4, 40, 50], [0, 0, 20, 20]]), torch.tensor([[10.0, 2, 30, 31]])]


@pytest.mark.parametrize("family", TWO_STAGE)
def test_the_layers_of_a_box_head_at_given_boxes(family):
    teacher, batch = Frozen(detector(family)), small()
    for stage, head in enumerate(teacher.model.head.box_heads):
        expected = head(teacher.model.extract(batch).pyramid, BOXES).hidden
        found = teacher.at(batch, BOXES, stage=stage)
        assert len(found) == 2 and all(x.shape == (3, 24) and not x.requires_grad for x in found)
        assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-4) for a, b in zip(found, expected, strict=True))


def test_regions_are_read_once_for_the_same_boxes(teacher):
    images = small()
    boxes = [torch.tensor([[4.0, 4.0, 30.0, 40.0]]), torch.tensor([[8.0, 2.0, 50.0, 20.0]])]
    found = teacher.at(images, boxes)
    assert teacher.at(images, list(boxes)) is found
    others = [boxes[0] + 9, boxes[1]]
    read = teacher.at(images, others)
    assert not torch.equal(read[0], found[0])
    assert torch.equal(teacher.at(images, boxes)[0], found[0])


def test_somebody_elses_maps_go_through_its_dense_head():
    """Entered anywhere with its own trace it gives its own outputs; gradients reach the maps, never its weights."""
    teacher, batch = Frozen(detector("gfl")), small()
    traced = teacher.model(batch, trace=True)
    maps = [[x.detach().requires_grad_() for x in trace[0]] for trace in (traced.cls_trace, traced.reg_trace)]
    found = teacher.resume(*maps, start=1, sizes=batch.sizes)
    for a, b in zip(found.cls + found.reg, traced.cls + traced.reg, strict=True):
        torch.testing.assert_close(a, b)
    sum(x.sum() for x in found.cls + found.reg).backward()
    assert all(bool((x.grad != 0).any()) for x in (*maps[0], *maps[1]))
    assert all(p.grad is None for p in teacher.model.parameters())


@pytest.mark.parametrize("family", TWO_STAGE)
def test_somebody_elses_pyramid_and_vectors_go_through_its_box_heads(family):
    teacher = Frozen(detector(family))
    for stage, head in enumerate(teacher.model.head.box_heads):
        pyramid = [torch.randn(2, 16, side, side, requires_grad=True) for side in (16, 8, 4, 2, 1)]
        read = teacher.read_regions(pyramid, BOXES, stage=stage)
        expected = head(pyramid, BOXES)
        assert torch.equal(read.cls, expected.cls) and torch.equal(read.reg, expected.reg)
        vectors = read.hidden[0].detach().requires_grad_()
        again = teacher.resume_regions(vectors, start=1, stage=stage)
        torch.testing.assert_close(again.cls, read.cls)
        (read.cls.sum() + again.reg.sum()).backward()
        assert bool((pyramid[0].grad != 0).any()) and bool((vectors.grad != 0).any())
    assert all(p.grad is None for p in teacher.model.parameters())
