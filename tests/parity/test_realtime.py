"""RTMDet's and YOLOX's heads against the official numbers: outputs, costs, targets, losses, gradients, predictions."""

from dataclasses import replace

import pytest
import torch
from torchvision.ops import clip_boxes_to_image

from headstart.boxes import aligned_iou
from headstart.csp import YOLOX_NORM, ConvModule
from headstart.detectors.weights.key_mapping import rename_tensors
from headstart.detectors.weights.mmdetection import names
from headstart.heads.cells import flatten
from headstart.heads.rtmdet import RTMDetHead, RTMDetOptions
from headstart.heads.selection import Selection
from headstart.heads.yolox import YOLOXHead, YOLOXOptions
from headstart.priors import valid_flags
from headstart.structures import Features, Targets
from parity.official import close, meta, sizes, targets, tensor

STRIDES = [8, 16, 32]
RTMDET_TEST = Selection(nms_pre=30000, score_threshold=0.001, iou_threshold=0.65, max_detections=300)
YOLOX_TEST = Selection(nms_pre=10**6, score_threshold=0.01, iou_threshold=0.65, max_detections=10**6)
MEGVII = (
    (r"(cls|reg)_convs\.(.+)", r"bbox_head.multi_level_\1_convs.\2"),
    (r"(cls|reg|obj)_preds\.(.+)", r"bbox_head.multi_level_conv_\1.\2"),
)
HEADS = {
    "dense_rtmdet": (RTMDetHead, RTMDetOptions(width=24, exponential=False, selection=RTMDET_TEST)),
    "dense_rtmdet_exp": (RTMDetHead, RTMDetOptions(width=24, selection=RTMDET_TEST)),
    "dense_yolox": (YOLOXHead, YOLOXOptions(width=24, assigner="mmdetection", selection=YOLOX_TEST)),
    "dense_yolox_depthwise": (
        YOLOXHead,
        YOLOXOptions(width=24, depthwise=True, assigner="mmdetection", selection=YOLOX_TEST),
    ),
    "dense_yolox_megvii": (YOLOXHead, YOLOXOptions(width=24, selection=YOLOX_TEST)),
}
RTMDET = [name for name in HEADS if "rtmdet" in name]
YOLOX = [name for name in HEADS if "yolox" in name]
MMDETECTION = [name for name in HEADS if "megvii" not in name]


def ours(name, key):
    """Our name of an official parameter of a head; None for the stems that Megvii's head begins with."""
    if name == "dense_yolox_megvii" and key.startswith("stems."):
        return None
    if name == "dense_yolox_megvii":
        (key,) = rename_tensors({key: torch.zeros(())}, MEGVII).tensors
    else:
        key = f"bbox_head.{key}"
    (found,) = rename_tensors({key: torch.zeros(())}, names.RTMDET if name in RTMDET else names.YOLOX).tensors
    return found.removeprefix("head.")


class Case:
    """A head with the official weights, its pyramid, and the numbers; Megvii's pyramid is made by its stems."""

    def __init__(self, name, arrays):
        kind, options = HEADS[name]
        self.name, self.arrays, self.head = name, arrays, kind(7, 24, STRIDES, options)
        weights = {key.removeprefix("w/"): tensor(value) for key, value in arrays.items() if key.startswith("w/")}
        own = {found: value for key, value in weights.items() if (found := ours(name, key))}
        missing, unknown = self.head.load_state_dict(own, strict=False)
        assert not unknown and all(key.endswith("num_batches_tracked") for key in missing)
        self.inputs = [tensor(arrays[f"in/feat{level}"]).requires_grad_() for level in range(3)]
        self.stems = torch.nn.ModuleList()
        for level, maps in enumerate(self.inputs if name == "dense_yolox_megvii" else ()):
            self.stems.append(ConvModule(maps.shape[1], 24, 1, YOLOX_NORM))
            stem = {k.removeprefix(f"stems.{level}."): v for k, v in weights.items() if k.startswith(f"stems.{level}.")}
            self.stems[-1].load_state_dict(stem, strict=False)
        self.sizes, self.square = sizes(arrays), [tuple(meta(arrays)["batch_shape"])] * 2

    def run(self, *, training, square=False):
        for module in (self.head, self.stems):
            module.train(training)
        maps = [stem(x) for stem, x in zip(self.stems, self.inputs)] if len(self.stems) else self.inputs
        return self.head(Features([], [], maps, STRIDES), self.square if square else self.sizes)

    def loss(self, scenario):
        outputs = self.run(training=True, square="square" in scenario)
        if isinstance(self.head, YOLOXHead):
            self.head.extra_l1 = scenario.endswith("_l1")
        assigned = self.head.assign(outputs, self.targets(scenario))
        return outputs, assigned, self.head.loss(outputs, assigned)

    def targets(self, scenario):
        return targets(self.arrays, scenario.removesuffix("_l1").removesuffix("_square"))


@pytest.fixture(params=HEADS)
def case(request, reference):
    return Case(request.param, reference(request.param))


@pytest.mark.parametrize("training", [False, True])
def test_outputs(case, training):
    outputs = case.run(training=training)
    if case.name == "dense_yolox_megvii":
        if not training:
            chances = torch.cat([flatten(outputs.quality, 1), flatten(outputs.cls, 7)], dim=-1).sigmoid()
            raw = torch.cat([flatten(outputs.reg, 4), chances], dim=-1)
            close(raw, case.arrays["out/raw"], 1e-5)
            decoded = tensor(case.arrays["out/decoded"])
            boxes = torch.cat([decoded[..., :2] - decoded[..., 2:4] / 2, decoded[..., :2] + decoded[..., 2:4] / 2], -1)
            close(case.head.boxes(outputs), boxes, 1e-5)
            close(chances, decoded[..., 4:], 1e-5)
        return
    start = "out_train" if training else "out"
    for level in range(3):
        close(outputs.cls[level], case.arrays[f"{start}/cls{level}"], 1e-5)
        close(outputs.reg[level], case.arrays[f"{start}/reg{level}"], 1e-5)
        if outputs.quality is not None:
            close(outputs.quality[level], case.arrays[f"{start}/obj{level}"], 1e-5)
    if training:
        assert ("rtmdet" in case.name and "exp" not in case.name) == any(bool((m < 0).any()) for m in outputs.reg) or (
            case.name in YOLOX
        )
        state = case.head.state_dict()
        after = [key for key in case.arrays if key.startswith("bn_after/") and not key.endswith("num_batches_tracked")]
        assert len(after) >= 12
        for key in after:
            close(state[ours(case.name, key.removeprefix("bn_after/"))], case.arrays[key], 1e-5)


@pytest.mark.parametrize("name", MMDETECTION)
def test_points(name, reference):
    head = HEADS[name][0](7, 24, STRIDES, HEADS[name][1])
    arrays = reference(name)
    for level in range(3):
        shape = arrays[f"in/feat{level}"].shape[2:]
        close(head.level_points(level, shape, "cpu"), arrays[f"prior/level{level}"][:, :2], 1e-6)


@pytest.mark.parametrize("scenario", ["full", "img1_empty", "full_square", "full_l1"])
def test_costs(case, scenario):
    """What a first mistake in the assignment would be found by: every term of the matrices, point by point."""
    if f"tgt/{scenario}/cost0" not in case.arrays:
        assert scenario in ("full_square", "full_l1")
        return
    outputs, _, _ = case.loss(scenario)
    head, arrays = case.head, case.arrays
    points, strides = head.all_points(outputs, 0.5 if case.name in YOLOX else 0.0), head.row_strides(outputs)
    for image, target in enumerate(case.targets(scenario)):
        if not len(target):
            continue
        logits, boxes = head.logits(outputs)[image].detach(), head.boxes(outputs)[image].detach()
        if case.name in RTMDET:
            usable = valid_flags(head.cells(outputs), STRIDES, outputs.sizes[image])
            found = head.assigner.costs(points, strides, logits, boxes, target, usable)
            valid = torch.ones(len(points), dtype=torch.bool)
            valid[usable] = tensor(arrays[f"tgt/{scenario}/valid{image}"])
            valid &= usable
            cost = found.cost
        else:
            objectness = flatten(outputs.quality, 1)[image, :, 0].detach()
            found = head.assigner.costs(points, strides, logits, objectness, boxes, target)
            valid = tensor(arrays[f"tgt/{scenario}/valid{image}"])
            cost = found.cost + (~found.preferred) * (1e6 if "megvii" in case.name else 1e5)
        assert torch.equal(found.candidates, valid.nonzero().flatten())
        goal, ious = (tensor(arrays[f"tgt/{scenario}/{what}{image}"]) for what in ("cost", "ious"))
        if "megvii" in case.name:
            goal, ious = goal.t(), ious.t()
        close(found.ious, ious, 1e-5)
        near = goal < (torch.inf if case.name in RTMDET else 1e4)
        torch.testing.assert_close(cost[near], goal[near], rtol=1e-4, atol=1e-4)
        assert bool(((cost - goal).abs()[~near] < 0.1).all())


@pytest.mark.parametrize("name", RTMDET)
@pytest.mark.parametrize("scenario", ["full", "img1_empty", "all_empty", "full_square"])
def test_rtmdet_targets(name, scenario, reference):
    case = Case(name, reference(name))
    outputs, assigned, _ = case.loss(scenario)

    def every(what, *shape):
        return torch.cat(
            [tensor(case.arrays[f"tgt/{scenario}/{what}{level}"]).reshape(2, -1, *shape) for level in range(3)], 1
        )

    labels = every("labels")
    assert torch.equal(assigned.labels, labels) and torch.equal(assigned.weight, every("label_weights"))
    assert torch.equal(assigned.boxes[assigned.positive], every("bbox_targets", 4)[labels < 7])
    found = case.head.boxes(outputs)[assigned.positive]
    quality, _ = aligned_iou(found, assigned.boxes[assigned.positive])
    close(quality, every("assign_metrics")[labels < 7], 1e-5)


@pytest.mark.parametrize("name", YOLOX)
@pytest.mark.parametrize("scenario", ["full", "img1_empty", "full_l1"])
def test_yolox_targets(name, scenario, reference):
    case = Case(name, reference(name))
    _, assigned, _ = case.loss(scenario)
    for image, target in enumerate(case.targets(scenario)):
        if not len(target):
            assert not bool(assigned.positive[image].any())
            continue
        if "megvii" in name:
            taken = tensor(case.arrays[f"tgt/{scenario}/fg{image}"])
            matched = tensor(case.arrays[f"tgt/{scenario}/matched{image}"])
        else:
            number = tensor(case.arrays[f"tgt/{scenario}/gt_inds{image}"])
            taken, matched = number > 0, number[number > 0] - 1
        assert torch.equal(assigned.positive[image], taken) and bool(taken.any())
        assert torch.equal(assigned.boxes[image][taken], target.boxes[matched])
        assert torch.equal(assigned.labels[image][taken], target.labels[matched])


TERMS = {
    "rtmdet": {"cls": "loss_cls", "box": "loss_bbox"},
    "yolox": {"cls": "loss_cls", "box": "loss_bbox", "objectness": "loss_obj", "l1": "loss_l1"},
    "megvii": {"cls": "cls", "box": "iou_times_5", "objectness": "obj", "l1": "l1"},
}


@pytest.mark.parametrize("scenario", ["full", "img1_empty", "all_empty", "full_square", "full_l1", "all_empty_l1"])
def test_losses_and_gradients(case, scenario):
    total = "total" if "megvii" in case.name else "TOTAL"
    if f"loss/{scenario}/{total}" not in case.arrays:
        assert "_" in scenario
        return
    _, _, losses = case.loss(scenario)
    terms = TERMS[next(kind for kind in ("megvii", "yolox", "rtmdet") if kind in case.name)]
    for name, value in losses.items():
        goal = tensor(case.arrays[f"loss/{scenario}/{terms[name]}"]).double().sum()
        assert value.item() == pytest.approx(goal.item(), rel=2e-5, abs=1e-7), name
    together = torch.stack(list(losses.values())).sum()
    close(together.double(), tensor(case.arrays[f"loss/{scenario}/{total}"]), 2e-5)
    if f"grad/{scenario}/feat0" not in case.arrays:
        return
    together.backward()
    for level, maps in enumerate(case.inputs):
        close(maps.grad, case.arrays[f"grad/{scenario}/feat{level}"], 1e-4)
    own = dict(case.head.named_parameters())
    rows = zip(case.arrays[f"grad/{scenario}/params/names"], case.arrays[f"grad/{scenario}/params/l2_sum_abssum"])
    for name, row in rows:
        key = ours(case.name, str(name))
        if key is not None:
            flat = own[key].grad.double().flatten()
            found = torch.stack([flat.norm(), flat.sum(), flat.abs().sum()])
            assert (found - torch.tensor(row)).abs().max() <= 1e-4 * max(row[2], 1e-6), name


@pytest.mark.parametrize("prefix", ["pred/", "pred/square_", "pred/thr0.3_"])
def test_predictions(case, prefix):
    """YOLOX's are not clipped there: ours are, after NMS, and those without area are dropped."""
    if "square" in prefix and case.name in YOLOX:
        return
    if "thr" in prefix:
        case.head.selection = replace(case.head.selection, score_threshold=0.3)
    outputs = case.run(training=False, square="square" in prefix)
    for image, found in enumerate(case.head.decode(outputs, outputs.sizes)):
        if "megvii" in case.name:
            rows = tensor(case.arrays[f"{prefix}rows{image}"])
            boxes, scores, labels = rows[:, :4], rows[:, 4] * rows[:, 5], rows[:, 6].long()
        else:
            boxes, scores, labels = (tensor(case.arrays[f"{prefix}{k}{image}"]) for k in ("bboxes", "scores", "labels"))
        if case.name in YOLOX:
            boxes = clip_boxes_to_image(boxes, outputs.sizes[image])
            kept = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
            boxes, scores, labels = boxes[kept], scores[kept], labels[kept]
            order = scores.argsort(descending=True, stable=True)
            boxes, scores, labels = boxes[order], scores[order], labels[order]
        close(found.boxes, boxes, 1e-5)
        close(found.scores, scores, 1e-5)
        assert torch.equal(found.labels, labels) and len(labels) > 0


def test_ignored_boxes_are_neither_objects_nor_background(reference):
    """Which the official assigners do not know."""
    for name in ("dense_rtmdet", "dense_yolox_megvii"):
        case = Case(name, reference(name))
        outputs = case.run(training=True)
        given = case.targets("full")
        crowd = [Targets(t.boxes, t.labels, torch.arange(len(t)) == 0) for t in given]
        assigned = case.head.assign(outputs, crowd)
        for image, target in enumerate(given):
            boxes = assigned.boxes[image][assigned.positive[image]]
            assert not bool((boxes == target.boxes[0]).all(dim=1).any()) and len(boxes) > 0
            assert bool((assigned.weight[image] == 0).any())
