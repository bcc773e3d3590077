"""Faster R-CNN's heads against the official numbers."""

import pytest
import torch

from headstart.assign.sample import RegionSampler
from headstart.heads.roi import BoxHead, BoxHeadOptions
from headstart.heads.rpn import RPNHead, RPNOptions
from headstart.heads.selection import Selection
from headstart.heads.two_stage import TwoStageHead
from headstart.structures import Assignment
from parity.official import SCENARIOS, check_parameter_gradients, close, features, load_head, sizes, targets, tensor

STRIDES = [4, 8, 16, 32, 64]
EVERY_ANCHOR = 100_000


@pytest.fixture
def arrays(reference):
    return reference("two_stage_faster")


@pytest.fixture
def head(arrays):
    few = Selection(nms_pre=1000, score_threshold=None, iou_threshold=0.7, max_detections=250)
    rpn = RPNHead(32, STRIDES, RPNOptions(width=32, sample=EVERY_ANCHOR, selection=few))
    rpn.proposing = Selection(nms_pre=2000, score_threshold=None, iou_threshold=0.7, max_detections=250)
    roi = BoxHead(7, 32, STRIDES, BoxHeadOptions(hidden=64))
    load_head(rpn, arrays, "w/rpn_head/")
    load_head(roi, arrays, "w/roi_head/")
    return TwoStageHead(rpn, roi, RegionSampler())


def test_rpn(arrays, head):
    outputs = head.rpn(features(arrays, STRIDES), sizes(arrays))
    for level in range(5):
        close(outputs.cls[level], arrays[f"out/rpn_cls{level}"], 6e-5)
        close(outputs.reg[level], arrays[f"out/rpn_reg{level}"], 6e-5)
    anchors = head.rpn.all_anchors(outputs)
    close(anchors, torch.cat([tensor(arrays[f"prior/level{level}"]) for level in range(5)]), 1e-6)
    for image, found in enumerate(head.proposals(head(features(arrays, STRIDES), sizes(arrays)), sizes(arrays))):
        close(found.boxes, arrays[f"proposals/full/bboxes{image}"], 1e-5)
        close(found.scores, arrays[f"proposals/full/scores{image}"], 1e-5)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_sampling(arrays, head, scenario):
    outputs = head(features(arrays, STRIDES), sizes(arrays), targets(arrays, scenario))
    for image, regions in enumerate(outputs.regions):
        parts = [arrays[f"sampling/{scenario}/s0/{kind}_priors{image}"] for kind in ("pos", "neg")]
        close(regions.boxes, torch.cat([tensor(p) for p in parts]), 1e-5)
        positives = len(parts[0])
        assert torch.equal(regions.labels[:positives], tensor(arrays[f"sampling/{scenario}/s0/pos_gt_labels{image}"]))
        assert (regions.labels[positives:] == 7).all()
        close(regions.matched[:positives], arrays[f"sampling/{scenario}/s0/pos_gt_bboxes{image}"], 1e-6)


def test_box_head(arrays, head):
    inputs = features(arrays, STRIDES)
    outputs = head(inputs, sizes(arrays), targets(arrays, "full"))
    close(outputs.roi.cls, arrays["roi/full/s0/cls_score"], 6e-5)
    close(outputs.roi.reg, arrays["roi/full/s0/bbox_pred"], 6e-5)
    crops = head.roi.pool(inputs.pyramid, [r.boxes for r in outputs.regions])
    close(crops[::20], arrays["roi/full/s0/bbox_feats_every20"], 6e-5)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_losses_and_gradients(arrays, head, scenario):
    inputs = features(arrays, STRIDES)
    found = targets(arrays, scenario)
    outputs = head(inputs, sizes(arrays), found)
    losses = head.loss(outputs, head.assign(outputs, found))
    terms = {"rpn_cls": "loss_rpn_cls", "rpn_box": "loss_rpn_bbox", "cls": "loss_cls", "box": "loss_bbox"}
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
            check_parameter_gradients(part, plain, numbers[own])


def test_sampled_rpn_loss(arrays, head):
    """The usual 256 anchors per image, read off the official sample."""
    outputs = head.rpn(features(arrays, STRIDES), sizes(arrays))
    every = head.rpn.assign(outputs, targets(arrays, "full"))
    weight = torch.cat([tensor(arrays[f"tgt/full_rpn256/rpn_label_weights{level}"]) for level in range(5)], dim=1)
    losses = head.rpn.loss(outputs, Assignment(every.labels, every.boxes, every.positive & (weight > 0), weight))
    assert weight.sum() == 512
    close(losses["cls"].double(), tensor(arrays["loss/full_rpn256/loss_rpn_cls"]).sum(), 1e-5)
    close(losses["box"].double(), tensor(arrays["loss/full_rpn256/loss_rpn_bbox"]).sum(), 1e-5)


def test_predictions(arrays, head):
    outputs = head(features(arrays, STRIDES), sizes(arrays))
    for image, found in enumerate(head.decode(outputs, sizes(arrays))):
        close(found.boxes, arrays[f"pred/bboxes{image}"], 1e-5)
        close(found.scores, arrays[f"pred/scores{image}"], 1e-5)
        assert torch.equal(found.labels, tensor(arrays[f"pred/labels{image}"]))
