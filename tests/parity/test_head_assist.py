"""HEAD against the official code: a whole small model, from the image to four training steps."""

import re

import pytest
import torch
from torch.nn import functional

from headstart.backbones import build_backbone
from headstart.detectors.detector import Detector
from headstart.heads.retina import RetinaHead
from headstart.heads.roi import BoxHead
from headstart.heads.rpn import RPNHead
from headstart.heads.selection import Selection
from headstart.heads.two_stage import TwoStageHead
from headstart.methods import Frozen, build_method
from headstart.methods.assistants.guidance import run_once
from headstart.methods.pairing import Pair, read_cells
from headstart.necks.fpn import FPN
from headstart.structures import ImageBatch, Progress
from parity.official import SCENARIOS, close, ordered, rename, sizes, targets, tensor
from parity.recipe import untrained
from parity.small_resnet import SmallResNet

CLASSES = [f"class {i}" for i in range(7)]
TERMS = {
    "student/cls": "loss_cls_rpn",
    "student/box": "loss_bbox_rpn",
    "assistant/rcnn/cls": "loss_cls",
    "assistant/rcnn/box": "loss_bbox",
    "akd/rcnn/fc0": "loss_mimic_rcnn_aux",
    "akd/rcnn/fc1": "loss_mimic_rcnn",
    "ckd/rcnn": "loss_cross",
}
ADAPTERS = {
    "_adapts.0": "akd/rcnn/fc0",
    "_adapts.1": "akd/rcnn/fc1",
    "_adapts.5": "ckd/rcnn",
}


def detector_name(name):
    """The official name of a detector's parameter in our Detector."""
    name = re.sub(r"^backbone\.", "backbone.body.", name)
    name = re.sub(r"^neck\.lateral_convs\.(\d+)\.conv", r"neck.lateral.\1", name)
    found = re.match(r"^neck\.fpn_convs\.(\d+)\.conv(.*)", name)
    return f"neck.output.{found[1]}{found[2]}" if found else name


def neck_name(name, outputs):
    """Official FPNs number the extra levels' convolutions on from the outputs'; ours keep them apart."""
    found = re.match(r"^neck\.output\.(\d+)(.*)", name)
    if found and int(found[1]) >= outputs:
        return f"neck.extra.{int(found[1]) - outputs}{found[2]}"
    return name


def plain(detector):
    detector.mean.zero_()
    detector.std.fill_(1.0)
    return detector


def build_student():
    body = build_backbone(SmallResNet(18, 8), frozen_stages=1, norm_eval=True)
    neck = FPN(body.channels, body.strides, width=32, start=1, levels=5, extra="on_input")
    head = RetinaHead(7, 32, neck.strides, RetinaHead.Options(width=32))
    head.proposing = Selection(nms_pre=2000, score_threshold=None, iou_threshold=0.7, max_detections=250)
    return plain(Detector(body, neck, head, CLASSES))


def build_teacher():
    body = build_backbone(SmallResNet(50, 8))
    neck = FPN(body.channels, body.strides, width=32, start=0, levels=5, extra="maxpool")
    rpn = RPNHead(32, neck.strides, RPNHead.Options(width=32))
    head = TwoStageHead(rpn, BoxHead(7, 32, neck.strides, BoxHead.Options(hidden=48)))
    return plain(Detector(body, neck, head, CLASSES))


def ours(name, kind):
    """Official parameter name -> the name in our method (`kind` student) or teacher."""
    if kind == "teacher":
        name = neck_name(detector_name(name), 4)
        for part in ("rpn", "roi"):
            if name.startswith(f"{part}_head."):
                return f"head.{part}.{rename(name.removeprefix(f'{part}_head.'))}"
        return name
    if "_adapts." in name:
        key, field = re.match(r"(?:_distiller\.)?(_adapts\.\d+)\.(.*)", name).groups()
        return f"guidances.{ADAPTERS[key]}.adapter.linear.{field}"
    if name.startswith("rpn_head."):
        return f"student.head.{rename(name.removeprefix('rpn_head.'))}"
    if name.startswith("roi_head."):
        return f"guidances.assistant/rcnn.assistant.head.{rename(name.removeprefix('roi_head.'))}"
    return f"student.{neck_name(detector_name(name), 3)}"


def load(module, arrays, kind):
    prefix = f"w/{kind}/"
    names = [key for key in arrays if key.startswith(prefix)]
    weights = {ours(key.removeprefix(prefix), kind): ordered(key, tensor(arrays[key])) for key in names}
    module.load_state_dict(weights, strict=True)


@pytest.fixture
def arrays(reference):
    return untrained(reference("head_assist"))


@pytest.fixture
def batch(arrays):
    image_sizes = sizes(arrays)
    return ImageBatch(tensor(arrays["in/img"]), image_sizes, [0, 1], image_sizes)


@pytest.fixture
def method(arrays):
    teacher = build_teacher()
    load(teacher, arrays, "teacher")
    method = build_method("head", build_student(), Frozen(teacher), weights="paper", warmup=2000)
    load(method, arrays, "student")
    return method.train()


def test_the_assistant_starts_as_the_teachers_head(arrays):
    assert arrays["check/roi_head_equal_after_weight_transfer"]
    teacher = build_teacher()
    method = build_method("head", build_student(), Frozen(teacher))
    for name, value in teacher.head.roi.state_dict().items():
        assert torch.equal(method.guidances["assistant/rcnn"].assistant.head.state_dict()[name], value)


def test_features(arrays, method, batch):
    for level in range(5):
        close(method.student.extract(batch).pyramid[level], arrays[f"feat/student{level}"], 6e-5)
        close(method.teachers[0].features(batch).pyramid[level], arrays[f"feat/teacher{level}"], 6e-5)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_proposals_and_places(arrays, method, batch, scenario):
    """Boxes, scores and cells of the proposals; regions and their ids, row by row."""
    student = method.student
    features = student.extract(batch)
    outputs = student.head(features, batch.sizes, trace=True)
    for image, found in enumerate(student.head.proposals(outputs, batch.sizes)):
        official = tensor(arrays[f"proposals/{scenario}/{image}"])
        close(found.boxes, official[:, :4], 1e-5)
        close(found.scores, official[:, 4], 1e-5)
        cell = torch.stack([found.cells.level, found.cells.y, found.cells.x, found.cells.anchor], dim=1)
        assert torch.equal(cell, official[:, 5:].long())
    regions = method.step(batch, targets(arrays, scenario), Progress(0, 1)).regions
    rois, ids = tensor(arrays[f"rois/{scenario}"]), tensor(arrays[f"bbox_ids/{scenario}"]).long()
    close(torch.cat([p.boxes for p in regions]), rois[:, 1:], 1e-5)
    level, y, x, anchor = (torch.cat([getattr(p.cells, key) for p in regions]) for key in ("level", "y", "x", "anchor"))
    assert torch.equal(torch.stack([level, y, x], dim=1), ids[:, 1:4])
    assert torch.equal(anchor[level >= 0], ids[level >= 0, 4])


def test_traced_tensors(arrays, method, batch):
    step = method.step(batch, targets(arrays, "full"), Progress(0, 1))
    assistant, outputs = method.guidances["assistant/rcnn"].assistant, step.outputs
    adapters = {name.rpartition("/")[2]: g.adapter for name, g in method.guidances.items() if hasattr(g, "adapter")}
    for level in range(5):
        close(outputs.cls[level], arrays[f"out/rpn_cls{level}"], 6e-5)
        close(outputs.reg[level], arrays[f"out/rpn_reg{level}"], 6e-5)
        close(functional.relu(outputs.cls_trace[-1][level]), arrays[f"traced/retina_cls{level}"], 6e-5)
    mine = run_once(assistant, step)
    (teacher,) = method.teachers
    theirs = {name: vectors for name, (vectors,) in assistant.teacher_layers(teacher, batch, mine).items()}
    own = {name: vectors for name, (vectors,) in mine.layers.items()}
    vectors, traced, anchor = read_cells(outputs.cls_trace[-1], step.regions)
    vectors = functional.relu(vectors)
    close(own["fc0"], arrays["traced/rcnn_bbox_aux"], 6e-5)
    close(own["fc1"], arrays["traced/rcnn_bbox"], 6e-5)
    close(theirs["fc0"], arrays["traced/teacher_rcnn_bbox_aux"], 6e-5)
    close(theirs["fc1"], arrays["traced/teacher_rcnn_bbox"], 6e-5)
    close(adapters["fc0"].linear(own["fc0"]), arrays["traced/rcnn_bbox_aux_adapted"], 6e-5)
    close(adapters["fc1"].linear(own["fc1"]), arrays["traced/rcnn_bbox_adapted"], 6e-5)
    close(theirs["fc1"][traced], arrays["traced/teacher_rcnn_bbox_filtered"], 6e-5)
    close(vectors, arrays["traced/retina_cls_indexed"], 6e-5)
    close(adapters["rcnn"](Pair([vectors], [vectors], anchor))[0], arrays["traced/retina_cls_decoupled"], 6e-5)
    assert torch.equal(anchor, tensor(arrays["traced/anchor_ids"]).long())
    places = tensor(arrays["traced/bbox_poses"]).long()
    cells = [r.cells for r in step.regions]
    level, y, x = (torch.cat([getattr(p, key) for p in cells])[traced] for key in ("level", "y", "x"))
    assert torch.equal(torch.stack([level, y, x], dim=1), places[:, [0, 2, 3]])


@pytest.mark.parametrize(
    ("scenario", "step"), [("full", 0), ("full", 1000), ("full", 3000), ("img1_empty", 3000), ("all_empty", 3000)]
)
def test_losses(arrays, method, batch, scenario, step):
    objective = method(batch, targets(arrays, scenario), Progress(step, 90_000))
    key = f"loss/{scenario}_iter{step}"
    assert set(objective.terms) == set(TERMS)
    for term, official in TERMS.items():
        close(objective.terms[term].double(), tensor(arrays[f"{key}/{official}"]).double().sum(), 1e-5)
    close(objective.total.double(), tensor(arrays[f"{key}/TOTAL"]), 1e-5)


def test_gradients(arrays, method, batch):
    kept = {}
    extract = method.student.extract

    def remember(given):
        kept["features"] = extract(given)
        for maps in kept["features"].pyramid:
            maps.retain_grad()
        return kept["features"]

    method.student.extract = remember
    method(batch, targets(arrays, "full"), Progress(3000, 90_000)).total.backward()
    for level, maps in enumerate(kept["features"].pyramid):
        close(maps.grad, arrays[f"grad/student_feat{level}"], 1e-4)
    own = dict(method.named_parameters())
    names = [ours(str(name), "student") for name in arrays["grad/student_params/names"]]
    assert set(names) == {name for name, p in own.items() if p.requires_grad}
    for name, row in zip(names, arrays["grad/student_params/l2_sum_abssum"], strict=True):
        flat = own[name].grad.double().flatten()
        found = torch.stack([flat.norm(), flat.sum(), flat.abs().sum()])
        assert (found - torch.tensor(row)).abs().max() <= 1e-4 * max(row[2], 1e-12), name


def test_predictions(arrays, method, batch):
    """The official order is by class, then by score; boxes clipped to nothing are kept there and dropped here."""
    for image, found in enumerate(method.eval().student.detect(batch)):
        official, labels = tensor(arrays[f"pred/bboxes_scores{image}"]), tensor(arrays[f"pred/labels{image}"])
        solid = (official[:, 2] > official[:, 0]) & (official[:, 3] > official[:, 1])
        official, labels = official[solid], labels[solid]
        assert len(labels) > 40
        order = torch.argsort(official[:, 4], descending=True, stable=True)
        close(found.boxes[: len(order)], official[order, :4], 1e-5)
        close(found.scores[: len(order)], official[order, 4], 1e-5)
        assert torch.equal(found.labels[: len(order)], labels[order])


class OfficialTraining:
    """SGD as the fixture's four steps had it.

    The optimiser there was given the student's parameters (adapters among them) and the adapters once more: their
    gradient counts twice in the norm, is clipped twice and applied twice.
    """

    def __init__(self, method):
        own = [p for p in method.parameters() if p.requires_grad]
        self.parameters = own + [p for name in ADAPTERS.values() for p in method.guidances[name].adapter.parameters()]
        self.momentum = {}

    def clip(self):
        norm = torch.stack([p.grad.norm() for p in self.parameters]).norm()
        for parameter in self.parameters:
            parameter.grad.mul_(min(20 / (norm.item() + 1e-6), 1.0))
        return norm

    @torch.no_grad()
    def step(self):
        first = not self.momentum
        for p in self.parameters:
            change = p.grad + 1e-4 * p
            self.momentum[p] = change if first else self.momentum[p].mul_(0.9).add_(change)
            p.sub_(0.01 * self.momentum[p])


def test_four_training_steps(arrays, reference, method, batch, monkeypatch):
    """Losses and gradient norms of four steps, and the weights they end at.

    The first step there followed an evaluation whose recorded tower maps were still in the hook's list: its CKD read
    those (equal, but without gradient). Here the first step's cells are detached to the same effect.
    """
    training = OfficialTraining(method)
    names = [str(name) for name in arrays["train/loss_names"]]

    def read_stale(maps, regions, *rest):
        return read_cells([m.detach() for m in maps], regions, *rest)

    for index, row in enumerate(arrays["train/loss_values"]):
        monkeypatch.setattr("headstart.methods.pairing.read_cells", read_cells if index else read_stale)
        objective = method(batch, targets(arrays, "full"), Progress(3000, 90_000))
        method.zero_grad()
        objective.total.backward()
        norm = training.clip()
        training.step()
        official = dict(zip(names, row, strict=True))
        for term, name in TERMS.items():
            assert objective.terms[term].item() == pytest.approx(official[name], rel=1e-5)
        assert norm.item() == pytest.approx(official["grad_norm"], rel=1e-5)
    own, ended = method.state_dict(), reference("head_assist")
    for key in (key for key in ended if key.startswith("w/student/")):
        close(own[ours(key.removeprefix("w/student/"), "student")], ordered(key, tensor(ended[key])), 1e-5)
