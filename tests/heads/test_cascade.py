"""The cascade: how its stages differ, and what one hands to the next."""

import math

import pytest
import torch
from torch.nn import functional

from headstart.boxes import encode_deltas
from headstart.heads.cascade import STAGES, CascadeOptions, CascadeRoIHead, refine_regions
from headstart.heads.selection import Selection
from headstart.structures import CellIndex, Detections, RegionOutputs, Regions, Targets
from laws.tiny import detector, scene

STRIDES = [4, 8, 16, 32]
SIZES = [(100, 100)]


def cascade(**options):
    return CascadeRoIHead(2, 3, STRIDES, CascadeOptions(hidden=6, grid=2, **options))


def pyramid(images=1):
    torch.manual_seed(0)
    return [torch.randn(images, 3, 64 // s, 64 // s) for s in STRIDES]


def offered(*boxes):
    """Proposals, the n-th from cell n."""
    index = torch.arange(len(boxes))
    rows = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return Detections(rows, torch.ones(len(rows)), torch.zeros_like(index), CellIndex(*[index] * 4))


def truth(*boxes):
    rows = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return Targets(rows, torch.ones(len(rows), dtype=torch.int64), torch.zeros(len(rows), dtype=torch.bool))


def standing(roi):
    """The same cascade, refining nothing."""
    for head in roi.heads:
        torch.nn.init.zeros_(head.reg.weight)
    return roi


OBJECT = (0, 0, 40, 40)
IOU = {0.55: (0, 0, 22, 40), 0.65: (0, 0, 26, 40), 0.75: (0, 0, 30, 40), 0.3: (0, 0, 12, 40)}


def test_every_stage_asks_for_more_overlap():
    outputs = standing(cascade())(pyramid(), [offered(*IOU.values())], SIZES, [truth(OBJECT)])
    labels = [dict(zip(r.cells.level.tolist(), r.labels.tolist())) for (r,) in (stage.regions for stage in outputs)]
    own = list(IOU)
    for stage, found in zip(STAGES, labels):
        assert found == {-1: 1, **{cell: 1 if own[cell] >= stage.pos_iou else 2 for cell in range(4)}}


def test_without_targets_every_stage_reads_every_box():
    outputs = cascade()(pyramid(), [offered(*IOU.values())], SIZES)
    assert [len(stage.roi.cls) for stage in outputs] == [4, 4, 4]
    assert all(stage.regions == [] and stage.read_boxes is stage.proposals for stage in outputs)
    assert not torch.equal(outputs[0].proposals[0].boxes, outputs[1].proposals[0].boxes)
    assert all(torch.equal(stage.proposals[0].cells.x, torch.arange(4)) for stage in outputs)


def test_what_a_stage_hands_on():
    """The refined boxes of everything but the ground truth, in order, each with its cell and best probability."""
    head = cascade().heads[1]
    cells = CellIndex(*[torch.tensor([-1, 4, 7])] * 4)
    read = torch.tensor([OBJECT, (10, 10, 30, 30), (50, 50, 90, 90)]).float()
    regions = [
        Regions(read, torch.tensor([1, 1, 2]), read, cells),
        Regions(read[:0], cells.level[:0], read[:0], cells[:0]),
    ]
    goal = torch.tensor([(1, 1, 9, 9), (12, 8, 34, 30), (60, 60, 130, 95)]).float()
    logits = torch.tensor([[9.0, 9, 9], [1, 3, 2], [0, 0, math.log(2)]])
    outputs = RegionOutputs([], logits, encode_deltas(read, goal, STAGES[1].stds))
    found, none = refine_regions(head, outputs, regions, SIZES + SIZES)
    torch.testing.assert_close(found.boxes, torch.tensor([(12.0, 8, 34, 30), (60, 60, 100, 95)]))
    assert found.cells.level.tolist() == found.cells.x.tolist() == [4, 7] and found.labels.tolist() == [0, 0]
    torch.testing.assert_close(found.scores, torch.tensor([logits[1].softmax(0)[1].item(), 0.25]))
    assert len(none) == 0 and none.boxes.shape == (0, 4)


def test_two_cascades_read_the_same_regions():
    """Stage by stage from outside: one samples and refines, the other reads what the first read."""
    own, other = cascade(), cascade()
    maps, theirs = pyramid(), [x + 1 for x in pyramid()]
    proposals, targets = [offered(*IOU.values())], [truth(OBJECT)]
    together = own(maps, proposals, SIZES, targets)
    for head, guide, sampler, stage in zip(own.heads, other.heads, own.samplers, together):
        regions = [sampler(p, t, own.num_classes) for p, t in zip(proposals, targets)]
        boxes = [p.boxes for p in regions]
        mine = head(maps, boxes)
        assert torch.equal(regions[0].boxes, stage.regions[0].boxes) and torch.equal(mine.cls, stage.roi.cls)
        hidden = guide.read(theirs, boxes)
        assert [h.shape for h in hidden] == [h.shape for h in mine.hidden] and len(hidden) == len(guide.layers) == 2
        proposals = refine_regions(head, mine, regions, SIZES)


def test_the_first_regions_may_be_shared():
    """They are read as they are, without a look at proposals; later stages sample what was refined."""
    roi, targets = cascade(regions=4), [truth(OBJECT)]
    whole = roi(pyramid(), [offered(*IOU.values())], SIZES, targets)
    first = whole[0].regions
    shared = roi(pyramid(), [], SIZES, targets, first=first)
    assert shared[0].regions is first and shared[0].read_boxes is first and len(shared) == 3
    assert torch.equal(shared[0].roi.cls, whole[0].roi.cls)
    (expected,) = refine_regions(roi.heads[0], shared[0].roi, first, SIZES)
    assert len(expected) > 0 and torch.equal(shared[1].proposals[0].boxes, expected.boxes)
    assert bool((shared[1].regions[0].cells.level == -1).any())  # the ground truth is sampled again
    assert set(roi.loss(shared)) == set(roi.loss(whole))


def test_boxes_carry_no_gradient_from_stage_to_stage():
    roi = cascade()
    outputs = roi(pyramid(), [offered(*IOU.values())], SIZES, [truth(OBJECT)])
    losses = roi.loss(outputs)
    (losses["stage2_cls"] + losses["stage2_box"]).backward()
    assert all(p.grad is None for head in roi.heads[:2] for p in head.parameters())
    assert all(p.grad is not None for p in roi.heads[2].parameters())


def test_losses_are_weighted_by_stage():
    roi = cascade()
    outputs = roi(pyramid(), [offered(*IOU.values())], SIZES, [truth(OBJECT)])
    losses = roi.loss(outputs)
    assert len(losses) == 6
    for index, weight in enumerate((1.0, 0.5, 0.25)):
        plain = roi.heads[index].loss(outputs[index].roi, outputs[index].regions)
        assert losses[f"stage{index}_cls"].item() == pytest.approx(weight * plain["cls"].item())
        assert losses[f"stage{index}_box"].item() == pytest.approx(weight * plain["box"].item())


def test_detections_have_the_mean_of_the_logits_and_the_last_boxes():
    roi = cascade(selection=Selection(1000, 0.2, 0.5, 100))
    outputs = roi(pyramid(), [offered((10, 10, 40, 40))], SIZES)
    (found,) = roi.decode(outputs, SIZES)
    chances = functional.softmax(sum(stage.roi.cls for stage in outputs) / 3, dim=1)[0, :2]
    assert sorted(found.scores.tolist()) == pytest.approx(sorted(chances.tolist()))
    last = roi.heads[-1].refine(outputs[-1].roi, [outputs[-1].proposals[0].boxes], SIZES)[0]
    torch.testing.assert_close(found.boxes, last.expand(2, 4))


def test_a_twin_is_of_the_same_make():
    roi = CascadeRoIHead(2, 3, STRIDES, CascadeOptions(hidden=6, grid=2, regions=7, stages=STAGES[:2], convs=1, fcs=1))
    rebuilt = roi.rebuild(5, [8, 16, 32, 64], num_classes=4)
    assert len(rebuilt.heads) == 2 and [s.count for s in rebuilt.samplers] == [7, 7]
    assert [head.stds for head in rebuilt.heads] == [stage.stds for stage in STAGES[:2]]
    assert [head.beta for head in rebuilt.heads] == [1.0, 1.0] and all(head.class_agnostic for head in rebuilt.heads)
    assert (
        rebuilt.num_classes == 4
        and rebuilt.heads[1].cls.out_features == 5
        and rebuilt.heads[0].strides == [8, 16, 32, 64]
    )
    assert rebuilt.heads[0].convs[0].in_channels == 5 and rebuilt.heads[0].layers == ("fc0",)


def test_more_proposals_are_sampled_from_than_read():
    built = detector("cascadercnn")
    batch, targets = scene()
    assert built.head.rpn.proposing.max_detections == 2000 and built.head.rpn.selection.max_detections == 1000
    trained, detected = built(batch, targets), built(batch)
    assert all(len(s.regions) == 2 for s in trained.stages) and all(s.regions == [] for s in detected.stages)
    losses = built.loss(trained, targets)
    assert set(losses) == {"rpn_cls", "rpn_box", *(f"stage{s}_{part}" for s in range(3) for part in ("cls", "box"))}
