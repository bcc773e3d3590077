"""What a step knows of the student: one pass, and everything that follows from it made once, when it is asked for."""

import pytest
import torch

from headstart.methods.step import Needs, Step
from headstart.structures import Progress
from laws.tiny import TWO_STAGE, losses
from methods.pairs import batch, tiny


class Counted:
    """Counts calls of a detector's parts."""

    def __init__(self, detector):
        self.calls = {"backbone": 0, "neck": 0, "head": 0}
        for part in self.calls:
            getattr(detector, part).register_forward_hook(lambda *_, part=part: self._count(part))

    def _count(self, part):
        self.calls[part] += 1


def make_step(family, needs=None, seed=5, **options):
    images, targets = batch()
    torch.manual_seed(seed)
    return Step(tiny(family, **options), images, targets, Progress(0, 10), needs or Needs())


def with_cells(found):
    """(box, level, y, x, anchor) of everything found."""
    keys = (getattr(found.cells, key).tolist() for key in ("level", "y", "x", "anchor"))
    return list(zip(map(tuple, found.boxes.tolist()), *keys))


def test_needs_are_joined():
    assert Needs() == Needs(trace=False, regions=0)
    assert Needs(trace=True) | Needs(regions=5) == Needs(trace=True, regions=5)
    assert Needs(regions=9) | Needs(regions=5) == Needs(regions=5) | Needs(regions=9) == Needs(regions=9)


@pytest.mark.parametrize("family", ["retinanet", "fasterrcnn"])
def test_one_pass_whoever_asks(family):
    step = make_step(family, Needs(trace=True, regions=8))
    counted = Counted(step.student)
    assert set(counted.calls.values()) == {0}  # nothing is made that nobody asks for
    for _ in range(2):
        for name in ("features", "outputs", "assignment", "losses", "regions", "region_rows"):
            assert getattr(step, name) is getattr(step, name)
    assert counted.calls == {"backbone": 1, "neck": 1, "head": 1}


@pytest.mark.parametrize("family", ["gfl", "cascadercnn"])
def test_losses_are_the_students_own(family):
    """Those of plain training, with the same random numbers."""
    step = make_step(family)
    expected = losses(step.student, step.batch, step.targets)
    torch.manual_seed(5)
    assert step.losses.keys() == expected.keys()
    assert all(torch.equal(step.losses[name], value) for name, value in expected.items())


def test_towers_are_traced_only_if_somebody_needs_it():
    assert make_step("retinanet").outputs.cls_trace == []
    assert len(make_step("retinanet", Needs(trace=True)).outputs.cls_trace) == 2


@pytest.mark.parametrize("family", ["retinanet", *TWO_STAGE])
def test_without_readers_there_are_no_regions(family):
    step = make_step(family)
    step.student.head.proposals = None  # a dense student is not asked for any
    assert step.regions == [] and step.region_rows is None


def test_a_dense_students_regions_come_from_its_proposals():
    """Ground truth without a cell, then proposals, each with its own; at most a quarter objects; no gradient."""
    step = make_step("retinanet", Needs(regions=100))
    assert [len(r) for r in step.regions] == [100, 100] and step.region_rows is None
    proposals = step.student.head.proposals(step.outputs, step.batch.sizes)
    classes = step.student.head.num_classes
    for regions, target, proposed in zip(step.regions, step.targets, proposals):
        known = set(with_cells(proposed))
        assert torch.equal(regions.boxes[: len(target)], target.boxes)
        assert regions.cells.level[: len(target)].tolist() == [-1] * len(target)
        assert known.issuperset(with_cells(regions)[len(target) :])
        assert 0 < int((regions.labels < classes).sum()) <= 25
        assert not regions.boxes.requires_grad


@pytest.mark.parametrize("family", TWO_STAGE)
def test_a_two_stage_students_regions_are_those_that_it_samples(family):
    step = make_step(family, Needs(regions=512))
    assert step.regions is step.outputs.first.regions and step.region_rows is None
    fewer = make_step(family, Needs(regions=6))
    own = torch.cat([r.boxes for r in fewer.outputs.first.regions])
    assert [len(r) for r in fewer.regions] == [6, 6] and len(fewer.region_rows) == 12
    assert torch.equal(own[fewer.region_rows], torch.cat([r.boxes for r in fewer.regions]))


def test_once_makes_a_thing_at_the_first_request():
    step, made = make_step("retinanet"), []

    def make():
        made.append(object())
        return made[-1]

    key = object()
    assert step.once(key, make) is step.once(key, make) is made[0]
    assert step.once("another", make) is made[1] and len(made) == 2
