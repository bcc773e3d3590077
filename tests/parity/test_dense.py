"""The dense heads against the official numbers: outputs, targets, losses, gradients, predictions."""

from dataclasses import replace

import pytest
import torch

from headstart.boxes import encode_deltas, encode_distances
from headstart.heads.anchor import AnchorHead
from headstart.heads.atss import ATSSHead, ATSSOptions
from headstart.heads.cells import flatten
from headstart.heads.fcos import FCOSHead, FCOSOptions
from headstart.heads.gfl import GFLHead, GFLOptions
from headstart.heads.reppoints import RepPointsHead, RepPointsOptions
from headstart.heads.retina import RetinaHead, RetinaOptions
from headstart.heads.selection import Selection
from parity.official import (
    SCENARIOS,
    check_parameter_gradients,
    close,
    features,
    load_head,
    sizes,
    targets,
    tensor,
)

STRIDES = [8, 16, 32, 64, 128]
NAMES = {
    "cls": "cls",
    "bbox": "box",
    "centerness": "quality",
    "dfl": "distribution",
    "pts_refine": "box",
    "pts_init": "initial_box",
}
FCOS_TEST = Selection(nms_pre=1000, score_threshold=0.05, iou_threshold=0.5, max_detections=100)
TRICKS_TEST = Selection(nms_pre=1000, score_threshold=0.05, iou_threshold=0.6, max_detections=100)


def build(name):
    if name == "dense_retina":
        return RetinaHead(7, 32, STRIDES, RetinaOptions(width=32))
    if name == "dense_atss":
        return ATSSHead(7, 64, STRIDES, ATSSOptions(width=64))
    if name == "dense_gfl":
        return GFLHead(7, 64, STRIDES, GFLOptions(width=64))
    if name == "dense_reppoints":
        return RepPointsHead(7, 64, STRIDES, RepPointsOptions(width=64))
    if name == "dense_fcos":
        return FCOSHead(7, 64, STRIDES, FCOSOptions(width=64, selection=FCOS_TEST))
    return FCOSHead(
        7,
        64,
        STRIDES,
        FCOSOptions(
            width=64,
            normalised=True,
            centre_sampling=True,
            centreness_on_box=True,
            box_loss="giou",
            conv_bias=True,
            selection=TRICKS_TEST,
        ),
    )


@pytest.fixture(
    params=["dense_retina", "dense_fcos", "dense_fcos_tricks", "dense_atss", "dense_gfl", "dense_reppoints"]
)
def case(request, reference):
    arrays = reference(request.param)
    head = build(request.param)
    load_head(head, arrays)
    inputs = features(arrays, STRIDES)
    return request.param, arrays, head, inputs, head(inputs, sizes(arrays))


def test_outputs(case):
    name, arrays, head, _, outputs = case
    for level in range(5):
        close(outputs.cls[level], arrays[f"out/cls{level}"], 6e-5)
        if name == "dense_reppoints":
            close(outputs.earlier[0][level], arrays[f"out/pts_init{level}"], 6e-5)
        close(outputs.reg[level], arrays[f"out/{'pts_refine' if outputs.earlier else 'reg'}{level}"], 6e-5)
        if outputs.quality is not None:
            close(outputs.quality[level], arrays[f"out/ctr{level}"], 6e-5)
        if name == "dense_fcos_tricks":
            close(outputs.reg[level] * head.strides[level], arrays[f"out_eval/reg{level}"], 6e-5)


def test_priors(case):
    _, arrays, head, _, outputs = case
    for level, maps in enumerate(outputs.cls):
        shape = (maps.shape[2], maps.shape[3])
        anchors = isinstance(head, AnchorHead)
        ours = head.level_anchors(level, shape) if anchors else head.level_points(level, shape, "cpu")
        close(ours, arrays[f"prior/level{level}"], 1e-6)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_targets(case, scenario):
    name, arrays, head, _, outputs = case
    assert ("tgt/full/labels0" in arrays) == (name != "dense_reppoints")  # see its losses level by level, below
    assigned = head.assign(outputs, targets(arrays, scenario))
    start = 0
    for level, maps in enumerate(outputs.cls):
        rows = slice(start, start + maps.shape[2] * maps.shape[3] * head.num_anchors)
        start = rows.stop
        key = f"tgt/{scenario}/labels{level}"
        if key not in arrays:
            assert scenario != "full" or name == "dense_reppoints"
            continue
        labels = tensor(arrays[key]).reshape(2, -1)
        boxes = tensor(arrays[f"tgt/{scenario}/bbox_targets{level}"]).reshape(2, -1, 4)
        positive = assigned.positive[:, rows]
        assert torch.equal(positive, labels < 7)
        ours, theirs = assigned.boxes[:, rows][positive], boxes[positive]
        if isinstance(head, AnchorHead):
            weight = tensor(arrays[f"tgt/{scenario}/label_weights{level}"])
            assert torch.equal(assigned.weight[:, rows], weight)
            assert torch.equal(assigned.labels[:, rows][weight > 0], labels[weight > 0])
        else:
            assert torch.equal(assigned.labels[:, rows], labels)
        close(official_code(head, level, arrays, positive, ours), theirs, 1e-5)


def official_code(head, level, arrays, positive, boxes):
    """Our target boxes of the positives in the code in which the official targets are written."""
    priors = tensor(arrays[f"prior/level{level}"])
    priors = priors.expand(2, *priors.shape)[positive]
    if isinstance(head, RetinaHead):
        return encode_deltas(priors, boxes)
    if isinstance(head, FCOSHead):
        return encode_distances(priors, boxes) / (head.strides[level] if head.normalised else 1)
    return boxes


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_losses_and_gradients(case, scenario):
    _, arrays, head, inputs, outputs = case
    losses = head.loss(outputs, head.assign(outputs, targets(arrays, scenario)))
    for official, ours in NAMES.items():
        key = f"loss/{scenario}/loss_{official}"
        if key in arrays:
            close(losses[ours].double(), tensor(arrays[key]).double().sum(), 1e-5)
    total = torch.stack(list(losses.values())).sum()
    close(total.double(), tensor(arrays[f"loss/{scenario}/TOTAL"]), 1e-5)
    if scenario == "full":
        total.backward()
        for level, maps in enumerate(inputs.pyramid):
            close(maps.grad, arrays[f"grad/full/feat{level}"], 1e-4)
        check_parameter_gradients(head, arrays["grad/full/params/names"], arrays["grad/full/params/l2_sum_abssum"])


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_reppoints_losses_level_by_level(reference, scenario):
    """Its targets were not saved: each stage's objects must at least lie on the right levels and cost the right sum."""
    arrays = reference("dense_reppoints")
    head = build("dense_reppoints")
    load_head(head, arrays)
    outputs = head(features(arrays, STRIDES), sizes(arrays))
    assigned = head.assign(outputs, targets(arrays, scenario))
    whole = [counted(stage) for stage in (assigned, *assigned.earlier)]
    level_of = head.cells(outputs).level
    for level in range(5):
        refined, first = (only(stage, level_of == level) for stage in (assigned, *assigned.earlier))
        losses = head.loss(outputs, replace(refined, earlier=(first,)))
        for official, ours, stage, count in (
            ("cls", "cls", refined, whole[0]),
            ("pts_refine", "box", refined, whole[0]),
            ("pts_init", "initial_box", first, whole[1]),
        ):
            goal = arrays[f"loss/{scenario}/loss_{official}"]
            found = losses[ours].double() * counted(stage) / count
            assert found.item() == pytest.approx(goal[level], rel=1e-5, abs=1e-5 * abs(goal).max()), (level, ours)


def only(assigned, rows):
    """An assignment of which only the given rows count."""
    return replace(assigned, positive=assigned.positive & rows, weight=assigned.weight * rows)


def counted(assigned):
    """What divides the losses: the positives, at least one per image."""
    return assigned.positive.sum(dim=1).clamp(min=1).sum()


@pytest.mark.parametrize("prefix", ["pred/", "pred/thr0.3_"])
def test_predictions(case, prefix):
    _, arrays, head, _, outputs = case
    if prefix != "pred/":
        chosen = head.selection
        head.selection = Selection(chosen.nms_pre, 0.3, chosen.iou_threshold, chosen.max_detections)
    for image, found in enumerate(head.decode(outputs, sizes(arrays))):
        close(found.boxes, arrays[f"{prefix}bboxes{image}"], 1e-5)
        close(found.scores, arrays[f"{prefix}scores{image}"], 1e-5)
        assert torch.equal(found.labels, tensor(arrays[f"{prefix}labels{image}"]))


def test_flattening_is_y_x_anchor():
    maps = torch.arange(2 * 6 * 4 * 5).reshape(2, 6, 4, 5)
    flat = flatten([maps], 3)
    assert torch.equal(flat[1, (2 * 5 + 3) * 2 + 1], maps[1, 3:6, 2, 3])
