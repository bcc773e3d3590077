"""Cascade R-CNN's heads against the official numbers, stage by stage."""

import pytest
import torch

from headstart.heads.cascade import CascadeHead, CascadeOptions, CascadeRoIHead, refine_regions
from headstart.heads.rpn import RPNHead, RPNOptions
from headstart.heads.selection import Selection
from headstart.structures import Assignment
from parity.official import SCENARIOS, check_parameter_gradients, close, features, load_head, sizes, targets, tensor

STRIDES = [4, 8, 16, 32, 64]
EVERY_ANCHOR = 100_000


@pytest.fixture
def arrays(reference):
    return reference("two_stage_cascade")


@pytest.fixture
def head(arrays):
    few = Selection(nms_pre=1000, score_threshold=None, iou_threshold=0.7, max_detections=250)
    rpn = RPNHead(32, STRIDES, RPNOptions(width=32, sample=EVERY_ANCHOR, selection=few, beta=1 / 9, crossing=False))
    rpn.proposing = Selection(nms_pre=2000, score_threshold=None, iou_threshold=0.7, max_detections=250)
    roi = CascadeRoIHead(7, 32, STRIDES, CascadeOptions(hidden=64))
    load_head(rpn, arrays, "w/rpn_head/")
    load_head(roi, arrays, "w/roi_head/")
    return CascadeHead(rpn, roi)


def official_regions(arrays, scenario, stage, image):
    """Boxes of objects and of background, labels and ground truth of the objects."""
    prefix = f"sampling/{scenario}/s{stage}/"
    names = ("pos_priors", "neg_priors", "pos_gt_labels", "pos_gt_bboxes")
    return [tensor(arrays[f"{prefix}{name}{image}"]) for name in names]


def test_rpn(arrays, head):
    outputs = head.rpn(features(arrays, STRIDES), sizes(arrays))
    for level in range(5):
        close(outputs.cls[level], arrays[f"out/rpn_cls{level}"], 6e-5)
        close(outputs.reg[level], arrays[f"out/rpn_reg{level}"], 6e-5)
    for image, found in enumerate(head.candidates(outputs, sizes(arrays), training=True)):
        close(found.boxes, arrays[f"proposals/full/bboxes{image}"], 1e-5)
        close(found.scores, arrays[f"proposals/full/scores{image}"], 1e-5)


def test_rpn_targets(arrays, head):
    """No anchor that reaches out of its image is trained."""
    assigned = head.rpn.assign(head.rpn(features(arrays, STRIDES), sizes(arrays)), targets(arrays, "full"))
    weight, labels = (
        torch.cat([tensor(arrays[f"tgt/full_rpnall/rpn_{key}{level}"]) for level in range(5)], dim=1)
        for key in ("label_weights", "labels")
    )
    assert torch.equal(assigned.weight, weight) and 0 < weight.mean() < 0.9
    assert torch.equal(assigned.labels[weight > 0], labels[weight > 0])


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_sampling(arrays, head, scenario):
    """Every stage is offered the boxes that the one before refined, and assigns them at its own overlap."""
    outputs = head(features(arrays, STRIDES), sizes(arrays), targets(arrays, scenario))
    assert len(outputs.stages) == 3
    for stage, read in enumerate(outputs.stages):
        for image, regions in enumerate(read.regions):
            objects, background, labels, truth = official_regions(arrays, scenario, stage, image)
            close(regions.boxes, torch.cat([objects, background]), 1e-5)
            assert torch.equal(regions.labels[: len(objects)], labels)
            assert (regions.labels[len(objects) :] == 7).all()
            close(regions.matched[: len(objects)], truth, 1e-6)


def test_stages(arrays, head):
    """Read one by one at the official boxes, as a distillation method does, and all at once."""
    inputs = features(arrays, STRIDES)
    whole = head(inputs, sizes(arrays), targets(arrays, "full"))
    for stage, (roi, together) in enumerate(zip(head.roi.heads, whole.stages)):
        boxes = [torch.cat(official_regions(arrays, "full", stage, image)[:2]) for image in range(2)]
        for read in (roi(inputs.pyramid, boxes), together.roi):
            close(read.cls, arrays[f"roi/full/s{stage}/cls_score"], 6e-5)
            close(read.reg, arrays[f"roi/full/s{stage}/bbox_pred"], 6e-5)


def test_refined_boxes(arrays, head):
    """What a stage hands on, but for the ground truth that the next sampler adds, is what the next samples from."""
    whole = head(features(arrays, STRIDES), sizes(arrays), targets(arrays, "full"))
    for stage in (0, 1):
        read = whole.stages[stage]
        offered = refine_regions(head.roi.heads[stage], read.roi, read.regions, sizes(arrays))
        for image, found in enumerate(offered):
            objects, background, *_ = official_regions(arrays, "full", stage + 1, image)
            added = len(targets(arrays, "full")[image])
            goal = torch.cat([objects[added:], background])
            close(found.boxes[row_order(found.boxes)], goal[row_order(goal)], 1e-5)


def row_order(boxes):
    """An order of rows that does not depend on how they came."""
    return (boxes * torch.tensor([1.0, 1e-3, 1e3, 1e-2])).sum(dim=1).argsort()


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_losses_and_gradients(arrays, head, scenario):
    inputs = features(arrays, STRIDES)
    found = targets(arrays, scenario)
    outputs = head(inputs, sizes(arrays), found)
    losses = head.loss(outputs, head.assign(outputs, found))
    terms = {"rpn_cls": "loss_rpn_cls", "rpn_box": "loss_rpn_bbox"}
    terms |= {
        f"stage{s}_{ours}": f"s{s}.loss_{name}" for s in range(3) for ours, name in (("cls", "cls"), ("box", "bbox"))
    }
    assert set(losses) == set(terms)
    for ours, official in terms.items():
        close(losses[ours].double(), tensor(arrays[f"loss/{scenario}_rpnall/{official}"]).double().sum(), 1e-5)
    if scenario == "full":
        torch.stack(list(losses.values())).sum().backward()
        for level, maps in enumerate(inputs.pyramid):
            close(maps.grad, arrays[f"grad/full_rpnall/feat{level}"], 1e-4)
        names, numbers = (arrays[f"grad/full_rpnall/params/{key}"] for key in ("names", "l2_sum_abssum"))
        for part, prefix in ((head.rpn, "rpn_head."), (head.roi, "roi_head.")):
            own = [index for index, name in enumerate(names) if str(name).startswith(prefix)]
            plain = [str(names[index]).removeprefix(prefix) for index in own]
            assert len(own) == len(list(part.parameters()))
            check_parameter_gradients(part, plain, numbers[own])


def test_sampled_rpn_loss(arrays, head):
    """The usual 256 anchors per image, read off the official sample."""
    outputs = head.rpn(features(arrays, STRIDES), sizes(arrays))
    every = head.rpn.assign(outputs, targets(arrays, "full"))
    weight = torch.cat([tensor(arrays[f"tgt/full_rpn256/rpn_label_weights{level}"]) for level in range(5)], dim=1)
    losses = head.rpn.loss(outputs, Assignment(every.labels, every.boxes, every.positive & (weight > 0), weight))
    close(losses["cls"].double(), tensor(arrays["loss/full_rpn256/loss_rpn_cls"]).sum(), 1e-5)
    close(losses["box"].double(), tensor(arrays["loss/full_rpn256/loss_rpn_bbox"]).sum(), 1e-5)


def test_predictions(arrays, head):
    outputs = head(features(arrays, STRIDES), sizes(arrays))
    for image, found in enumerate(head.decode(outputs, sizes(arrays))):
        close(found.boxes, arrays[f"pred/bboxes{image}"], 1e-5)
        close(found.scores, arrays[f"pred/scores{image}"], 1e-5)
        assert torch.equal(found.labels, tensor(arrays[f"pred/labels{image}"]))
