"""What every head of every family does, whatever it is made of."""

from dataclasses import replace

import pytest
import torch
from torchvision.ops import clip_boxes_to_image

from headstart.boxes import centers, encode_deltas, encode_distances, pairwise_iof
from headstart.detectors.zoo import FAMILIES
from headstart.heads.anchor import AnchorHead
from headstart.heads.cells import flatten_level, shapes
from headstart.heads.dense import DenseHead
from headstart.heads.fcos import FCOSHead
from headstart.heads.gfl import GFLHead
from headstart.heads.points import LevelHead
from headstart.heads.reppoints import RepPointsHead
from headstart.heads.rpn import RPNHead
from headstart.heads.rtmdet import RTMDetHead
from headstart.heads.selection import Selection
from headstart.heads.two_stage import RPNBasedHead
from headstart.heads.yolox import YOLOXHead
from headstart.structures import Targets
from laws.tiny import (
    DENSE,
    TWO_STAGE,
    VARIANTS,
    at_cells,
    box_heads,
    cell_heads,
    detector,
    every_map,
    label,
    losses,
    scene,
    total,
)

OPEN = Selection(nms_pre=200, score_threshold=0.02, iou_threshold=0.7, max_detections=100)


@pytest.fixture(params=VARIANTS, ids=lambda variant: "-".join(map(label, variant)))
def built(request):
    family, options = request.param
    return detector(family, **options)


@pytest.fixture
def outputs_of(built):
    """(head, its traced outputs, the batch) of every head that predicts at cells."""
    batch, _ = scene()
    features = built.extract(batch)
    return [(head, head(features, batch.sizes, trace=True), batch) for head in cell_heads(built)]


@pytest.fixture(params=[v for v in VARIANTS if v[0] in TWO_STAGE], ids=lambda variant: "-".join(map(label, variant)))
def two_stage(request):
    family, options = request.param
    return detector(family, **options)


def test_every_family_is_listed(built):
    """The families of `DENSE` and `TWO_STAGE` are what they are listed as, and no family is missing."""
    assert set(DENSE + TWO_STAGE) == set(FAMILIES)
    kind = RPNBasedHead if built.recipe["name"] in TWO_STAGE else DenseHead
    assert isinstance(built.head, kind) and cell_heads(built)


def traced_blocks(head, outputs):
    """What each block of its towers gave, [block]: the maps with which `resume` enters after it."""
    if isinstance(head, RPNHead):
        return [(outputs.inner[f"tower/{block}"],) for block in range(len(head.tower))]
    return list(zip(outputs.cls_trace, outputs.reg_trace, strict=True))


def test_resuming_at_any_block_is_the_forward_pass(outputs_of):
    for head, whole, batch in outputs_of:
        blocks = traced_blocks(head, whole)
        assert blocks
        for start, maps in enumerate(blocks, start=1):
            passed = [f"tower/{block}" for block in range(start)]
            inner = {name: levels for name, levels in whole.inner.items() if name not in passed}
            rest = replace(whole, cls_trace=whole.cls_trace[start:], reg_trace=whole.reg_trace[start:], inner=inner)
            expected = every_map(rest)
            found = every_map(head.resume(*maps, start=start, sizes=batch.sizes, trace=True))
            assert list(found) == list(expected)
            for name, value in expected.items():
                assert torch.equal(found[name], value), f"{name} after resuming at {start}"


def test_tracing_changes_nothing(outputs_of, built):
    for head, whole, batch in outputs_of:
        plain = every_map(head(built.extract(batch), batch.sizes))
        assert all(torch.equal(plain[name], every_map(whole)[name]) for name in plain)
        assert not any("trace" in name or "inner" in name for name in plain)


def test_the_trace_is_what_stands_before_the_activation(outputs_of):
    """A tower that worked in place would hand out rectified maps."""
    for head, whole, _ in outputs_of:
        for block in traced_blocks(head, whole):
            assert all(bool((maps < 0).any()) for levels in block for maps in levels[:2])


def test_every_place_can_be_read_and_is_as_wide_as_it_says(outputs_of):
    for head, whole, _ in outputs_of:
        names = head.tap_names()
        assert {"output/cls", "output/reg"} < set(names) and len(set(names)) == len(names)
        assert ("output/quality" in names) == (whole.quality is not None)
        for name in names:
            maps = head.read_tap(name, whole)
            assert [m.shape[1] for m in maps] == [head.tap_width(name)] * len(whole.cls), name
        kept = head.keep_taps(whole, names[:1])
        assert all(a is b for a, b in zip(head.read_tap(names[0], kept), head.read_tap(names[0], whole)))
        assert len(every_map(head.keep_taps(whole, ()))) < len(every_map(kept)) <= len(every_map(whole))


def test_an_rpn_has_one_tower(two_stage):
    batch, _ = scene()
    outputs = two_stage.head(two_stage.extract(batch), batch.sizes, trace=True)
    assert outputs.rpn.cls_trace == outputs.rpn.reg_trace == [] and "tower/0" in outputs.rpn.inner
    assert not any("_tower" in name for name in two_stage.head.rpn.tap_names())
    assert two_stage.head.keep_taps(outputs, two_stage.head.tap_names()).rpn.inner == {}


def test_a_proposals_score_and_box_are_those_of_its_cell(outputs_of):
    """The round trip of HEAD's tracing (its cells must follow every filter)."""
    for head, whole, batch in outputs_of:
        for image, found in enumerate(head.proposals(whole, batch.sizes)):
            assert len(found) > 20 and len(found.cells.level.unique()) > 2
            logits = at_cells(whole.cls, head.num_classes, image, found.cells)
            scores = logits.amax(dim=1).sigmoid()
            if head.objectness:
                scores = scores * at_cells(whole.quality, 1, image, found.cells)[:, 0].sigmoid()
            torch.testing.assert_close(found.scores, scores)
            boxes = clip_boxes_to_image(decode_at(head, whole, image, found.cells), batch.sizes[image])
            torch.testing.assert_close(found.boxes, boxes)
            assert bool((found.scores.diff() <= 0).all())
            assert not any(t.requires_grad for t in (found.boxes, found.scores))


def test_a_detections_score_and_box_are_those_of_its_cell(outputs_of):
    for head, whole, batch in outputs_of:
        head.selection = OPEN
        for image, found in enumerate(head.decode(whole, batch.sizes)):
            assert len(found) > 5 and len(found.cells.level.unique()) > 1
            logits = at_cells(whole.cls, head.num_classes, image, found.cells)
            scores = logits.sigmoid()[torch.arange(len(found)), found.labels]
            if whole.quality is not None:
                scores = scores * at_cells(whole.quality, 1, image, found.cells)[:, 0].sigmoid()
                scores = scores.sqrt() if head.convention.joint_score else scores
            torch.testing.assert_close(found.scores, scores)
            boxes = clip_boxes_to_image(decode_at(head, whole, image, found.cells), batch.sizes[image])
            torch.testing.assert_close(found.boxes, boxes)
            assert bool((found.scores.diff() <= 0).all())


def test_a_two_stage_detection_comes_from_the_proposal_at_its_cell(two_stage):
    batch, _ = scene()
    outputs = two_stage.eval()(batch)
    stages = outputs.stages
    logits = torch.stack([stage.roi.cls for stage in stages]).mean(dim=0)
    chances = logits.softmax(dim=1).split([len(p) for p in stages[0].proposals])
    for image, found in enumerate(two_stage.head.decode(outputs, batch.sizes)):
        proposals = stages[-1].proposals[image]
        row = {cell: i for i, cell in enumerate(named_cells(proposals.cells))}
        assert len(row) == len(proposals) and len(found) > 3
        rows = torch.tensor([row[cell] for cell in named_cells(found.cells)])
        torch.testing.assert_close(found.scores, chances[image][rows, found.labels].detach())


@torch.no_grad()
def test_box_heads_can_be_read_one_by_one(two_stage):
    """At the boxes that training sampled: reading is pure, in hidden layers, classes and boxes."""
    batch, targets = scene()
    features = two_stage.extract(batch)
    stages = two_stage.head(features, batch.sizes, targets).stages
    assert len(stages) == len(box_heads(two_stage))
    for head, stage in zip(box_heads(two_stage), stages):
        again = head(features.pyramid, [r.boxes for r in stage.regions])
        assert torch.equal(again.cls, stage.roi.cls) and torch.equal(again.reg, stage.roi.reg)
        read = head.read(features.pyramid, [r.boxes for r in stage.regions])
        assert len(read) == len(head.layers)
        assert all(torch.equal(a, b) and bool((a < 0).any()) for a, b in zip(read, stage.roi.hidden))


def test_regions_are_ground_truth_or_what_was_offered_with_its_cell(two_stage):
    batch, targets = scene()
    for stage in two_stage(batch, targets).stages:
        for regions, proposals, target in zip(stage.regions, stage.proposals, targets):
            offered = dict(zip(named_cells(proposals.cells), proposals.boxes.tolist()))
            assert len(offered) == len(proposals) and torch.equal(regions.boxes[: len(target)], target.boxes)
            assert not regions.boxes.requires_grad and len(regions) > len(target)
            for cell, box in list(zip(named_cells(regions.cells), regions.boxes.tolist()))[len(target) :]:
                assert offered[cell] == box


def named_cells(cells):
    return list(zip(*(getattr(cells, key).tolist() for key in ("level", "y", "x", "anchor"))))


def decode_at(head, outputs, image, cells):
    """Boxes (N, 4) decoded at given cells, one level at a time from the maps, as the head says they are to be read."""
    boxes = torch.zeros(len(cells), 4)
    for level, (height, width) in enumerate(shapes(outputs)):
        own = cells.level == level
        codes = flatten_level(outputs.reg[level][image : image + 1], head.code_size)[0]
        every = head.decode_level(codes, level, (height, width), head.steps(outputs)[level])
        row = (cells.y[own] * width + cells.x[own]) * head.num_anchors + cells.anchor[own]
        boxes[own] = every[row].detach()
    return boxes


def encode_level(head, boxes, level, shape, step=None):
    """The box code of boxes (H*W*A, 4) on a level: written down here a second time, head by head."""
    stride = head.strides[level]
    if isinstance(head, GFLHead):
        distances = encode_distances(centers(head.level_anchors(level, shape)), boxes) / stride
        return encode_edges(distances.clamp(0, head.reg_max), head.reg_max).flatten(1)
    if isinstance(head, AnchorHead):
        return encode_deltas(head.level_anchors(level, shape, step), boxes, head.stds)
    points = head.level_points(level, shape, boxes.device, step)
    if isinstance(head, RepPointsHead):
        return encode_points((boxes - points.repeat(1, 2)) / stride, head.moment.detach())
    if isinstance(head, YOLOXHead):
        return torch.cat([(centers(boxes) - points) / stride, ((boxes[:, 2:] - boxes[:, :2]) / stride).log()], dim=1)
    if isinstance(head, RTMDetHead):
        return encode_distances(points, boxes)
    assert isinstance(head, FCOSHead), f"say here how {type(head).__name__} encodes boxes"
    distances = encode_distances(points, boxes)
    return distances / stride if head.normalised else distances


def encode_edges(distances, reach):
    """Logits (..., reach + 1) that leave only the two whole numbers around each distance, in the right proportion."""
    share = (1 - (torch.arange(reach + 1) - distances[..., None]).abs()).clamp(min=0)
    return share.clamp(min=1e-12).log()


def encode_points(boxes, moment):
    """Nine points, dy and dx, on the diagonal of each box: their middle is its centre, their spread half its side."""
    line = torch.linspace(-1, 1, 9)
    half = (boxes[:, 2:] - boxes[:, :2]) / 2 / moment.exp()
    places = centers(boxes)[:, None] + half[:, None] * (line / line.std())[:, None]
    return places.flip(-1).flatten(1)


def test_decoding_what_was_encoded_is_the_identity(outputs_of):
    """For boxes around their cells, up to 16 strides wide."""
    for head, whole, _ in outputs_of:
        generator = torch.Generator().manual_seed(0)
        cells = head.cells(whole)
        for level, shape in enumerate(shapes(whole)):
            own = cells.level == level
            place = torch.stack([cells.x[own], cells.y[own]], dim=1) + 0.25
            low, high = 0.5 + 7.5 * torch.rand(2, len(place), 2, generator=generator)
            boxes = torch.cat([place - low, place + high], dim=1) * head.strides[level]
            again = head.decode_level(encode_level(head, boxes, level, shape), level, shape)
            torch.testing.assert_close(again, boxes, rtol=1e-4, atol=1e-3)


def test_answering_every_target_exactly_costs_nothing(outputs_of):
    """The code that the loss asks for is the one that `decode` reads."""
    _, targets = scene()
    for head, whole, _ in outputs_of:
        assigned = head.assign(whole, targets)
        assert all(int(image.sum()) > 0 for image in assigned.positive)
        reg, start = [], 0
        for level, shape in enumerate(shapes(whole)):
            count = shape[0] * shape[1] * head.num_anchors
            rows = slice(start, start := start + count)
            solid = torch.where(
                assigned.positive[:, rows, None], assigned.boxes[:, rows], torch.tensor([0.0, 0, 90, 90])
            )
            step = head.steps(whole)[level]
            codes = torch.stack([encode_level(head, boxes, level, shape, step) for boxes in solid])
            reg.append(codes.reshape(2, *shape, -1).permute(0, 3, 1, 2))
        perfect = head.loss(replace(whole, reg=reg), assigned)["box"].item()
        assert perfect == pytest.approx(0, abs=1e-4) and head.loss(whole, assigned)["box"].item() > 0.1


@pytest.mark.parametrize("which", ["no image", "one image"])
def test_without_objects_losses_and_gradients_are_finite(built, which):
    batch, targets = scene()
    targets[0] = Targets.empty()
    if which == "no image":
        targets[1] = Targets.empty()
    found = losses(built, batch, targets)
    total(found).backward()
    assert all(torch.isfinite(value) for value in found.values())
    for name, parameter in built.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), name
    if which == "no image":
        assert all(
            value.item() == 0 for name, value in found.items() if name.endswith(("box", "quality", "distribution"))
        )


def test_what_stands_in_the_padding_changes_nothing(built):
    batch, targets = scene()
    noise = torch.randint(0, 256, batch.pixels.shape, dtype=torch.uint8)
    dirty = batch.pixels.clone()
    for image, (height, width) in enumerate(batch.sizes):
        dirty[image, :, height:] = noise[image, :, height:]
        dirty[image, :, :, width:] = noise[image, :, :, width:]
    other = replace(batch, pixels=dirty)
    assert not torch.equal(dirty, batch.pixels)
    ours, theirs = losses(built, batch, targets), losses(built, other, targets)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    built.eval()
    for mine, yours in zip(built.detect(batch), built.detect(other)):
        assert len(mine) and torch.equal(mine.boxes, yours.boxes) and torch.equal(mine.scores, yours.scores)


def test_boxes_stay_inside_the_valid_area(built):
    batch, _ = scene()
    for found, (height, width) in zip(built.eval().detect(batch), batch.sizes):
        limit = torch.tensor([width, height, width, height])
        assert len(found) and bool((found.boxes >= 0).all()) and bool((found.boxes <= limit).all())
        assert bool((found.boxes[:, 2:] > found.boxes[:, :2]).all())


BOXES = ("boxes", "labels", "ignored")
"""What `Targets` say of each box."""


def crowded(targets, area):
    """The same annotations and an ignored box of class 0 in each image."""
    crowd = Targets(torch.tensor([area]), torch.tensor([0]), torch.tensor([True]))
    return [Targets(*(torch.cat([getattr(t, key), getattr(crowd, key)]) for key in BOXES)) for t in targets]


def priors_inside(head, outputs, area):
    """(B, N) whether each prior lies in the area: its point, or most of its anchor or of its first box."""
    if isinstance(head, LevelHead):
        points = head.all_points(outputs, 0.5 if isinstance(head, YOLOXHead) else 0.0)
        own = encode_distances(points, torch.tensor(area)).amin(dim=1) > 0
    elif isinstance(head, FCOSHead):
        every = [head.level_points(level, shape, "cpu") for level, shape in enumerate(shapes(outputs))]
        own = encode_distances(torch.cat(every), torch.tensor(area)).amin(dim=1) > 0
    elif isinstance(head, AnchorHead):
        own = pairwise_iof(head.all_anchors(outputs), torch.tensor([area]))[:, 0] > 0.6
    else:
        return torch.stack(
            [pairwise_iof(image, torch.tensor([area]))[:, 0] > 0.6 for image in head.first_boxes(outputs)]
        )
    return own.expand(len(outputs.sizes), -1)


def test_ignored_boxes_are_neither_objects_nor_background(outputs_of):
    """No gradient reaches the predictions inside them, and nobody is told that an object is there."""
    area = [0.0, 0.0, 60.0, 60.0]
    targets = crowded([Targets.empty(), Targets.empty()], area)
    for head, whole, _ in outputs_of:
        # An objectness is what is told of the background, classes learn from objects alone then.
        told, width = ("quality", 1) if head.objectness else ("cls", head.num_classes)
        maps = [m.detach().requires_grad_() for m in getattr(whole, told)]
        leaves = replace(whole, **{told: maps})
        torch.manual_seed(0)
        assigned = head.assign(leaves, targets)
        total(head.loss(leaves, assigned)).backward()
        grads = torch.cat([flatten_level(m.grad, width) for m in maps], dim=1)
        inside = priors_inside(head, whole, area)
        assert bool((inside.sum(dim=1) > 10).all()) and bool((grads[inside] == 0).all())
        assert bool((grads[~inside] != 0).any())
        assert not bool(assigned.positive.any()) and bool((assigned.labels == head.num_classes).all())


def test_regions_in_ignored_boxes_are_not_sampled(two_stage):
    batch, targets = scene(objects=1)
    for t in targets:
        t.boxes.copy_(torch.tensor([[64.0, 30, 76, 60]]))
    area = [0.0, 0.0, 60.0, 60.0]
    both = (two_stage(batch, t).stages for t in (crowded(targets, area), targets))
    for with_crowd, without in zip(*([stage.regions for stage in stages] for stages in both), strict=True):
        assert [covered(r.boxes, area) for r in with_crowd] == [0, 0]
        assert min(covered(r.boxes, area) for r in without) > 0
        assert all(int((r.labels < 3).sum()) >= 1 for r in with_crowd)


def covered(boxes, area):
    """How many boxes lie for the most part in the area."""
    return int((pairwise_iof(boxes, torch.tensor([area])) > 0.5).sum())


def test_targets_are_not_touched(built):
    batch, targets = scene()
    targets = crowded(targets, [0.0, 0.0, 20.0, 20.0])
    before = [[getattr(t, key).clone() for key in BOXES] for t in targets]
    pixels = batch.pixels.clone()
    losses(built, batch, targets)
    assert torch.equal(pixels, batch.pixels)
    for kept, t in zip(before, targets):
        assert all(torch.equal(a, getattr(t, key)) for a, key in zip(kept, BOXES))


def test_order_of_images_does_not_matter(built):
    """An image's detections do not depend on its place in the batch (in evaluation mode)."""
    batch, _ = scene()
    turned = replace(batch, pixels=batch.pixels.flip(0), sizes=batch.sizes[::-1], ids=batch.ids[::-1])
    built.eval()
    for mine, theirs in zip(built.detect(batch), built.detect(turned)[::-1]):
        assert len(mine) == len(theirs) > 0
        torch.testing.assert_close(mine.scores, theirs.scores, rtol=1e-4, atol=1e-5)
