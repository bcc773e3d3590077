"""CrossKD and PKD against the official numbers: reused outputs, every loss, gradients, for every place of the cut."""

import pytest
import torch
from torch import nn

from headstart.classmap import match_classes
from headstart.detectors.detector import Detector
from headstart.heads.atss import ATSSHead
from headstart.heads.fcos import FCOSHead
from headstart.heads.gfl import GFLHead
from headstart.heads.retina import RetinaHead
from headstart.methods import Frozen, build_method
from headstart.methods.criteria.predictions import DensePredictions
from headstart.structures import Features, ImageBatch, Progress
from parity.official import check_parameter_gradients, close, load_head, meta, sizes, targets, tensor

STRIDES = [8, 16, 32, 64, 128]
HEADS = {"gfl": GFLHead, "retina": RetinaHead, "fcos": FCOSHead, "atss": ATSSHead}
NAMES = {
    "loss_cls": "student/cls",
    "loss_bbox": "student/box",
    "loss_dfl": "student/distribution",
    "loss_centerness": "student/quality",
    "loss_cls_kd": "crosskd/cls",
    "loss_reg_kd": "crosskd/box",
    "losses_center_kd": "crosskd/quality",
    "loss_feat_kd": "pkd/neck",
}
CUTS = [0, 1, 2, 3, 4]
PARAMETERS = 1e-4
FCOS_PARAMETERS = 1.4e-2
"""A ReLU or a kink of the IoU is crossed by the smallest change (the fixtures' README)."""


class Given(Detector):
    """A detector whose pyramid is given instead of computed."""

    def __init__(self, head: nn.Module, maps: list[torch.Tensor]) -> None:
        neck = nn.Identity()
        neck.width, neck.strides = maps[0].shape[1], STRIDES
        backbone = nn.Identity()
        backbone.strides, backbone.channels = [], []
        super().__init__(backbone, neck, head, [str(i) for i in range(7)])
        self.maps = maps

    def extract(self, batch: ImageBatch) -> Features:
        return Features([], [], self.maps, STRIDES)


@pytest.fixture(params=list(HEADS))
def case(request, reference):
    return request.param, reference(f"crosskd_{request.param}")


def detector(kind, arrays, who):
    maps = [tensor(arrays[f"in/{who}_feat{level}"]) for level in range(5)]
    width = maps[0].shape[1]
    made = HEADS[kind]
    head = made(7, width, STRIDES, made.Options(width=width))
    load_head(head, arrays, f"w/{who}/")
    if who == "student":
        maps = [m.requires_grad_() for m in maps]
    return Given(head, maps)


def pair(kind, arrays, cut, **options):
    student = detector(kind, arrays, "student")
    teacher = Frozen(detector(kind, arrays, "teacher"))
    chosen = {"weights": "paper", "tap": cut, **options}
    return build_method("crosskd+pkd", student, teacher, crosskd=chosen, pkd={"weights": "paper"})


def batch_of(arrays):
    shape = meta(arrays)["batch_shape"]
    return ImageBatch(torch.zeros(2, 3, *shape), sizes(arrays), [0, 1], sizes(arrays))


def official(arrays, prefix):
    """Our name -> the official sum over levels."""
    found = {}
    for key in arrays:
        if key.startswith(f"{prefix}/") and not key.endswith("TOTAL"):
            name = key.removeprefix(f"{prefix}/")
            name = "loss_feat_kd" if name.startswith("loss_feat_kd") else name
            found[NAMES[name]] = found.get(NAMES[name], 0) + tensor(arrays[key]).double().sum()
    return found


def run(method, arrays, scenario):
    return method(batch_of(arrays), targets(arrays, scenario), Progress(0, 1)).terms


def compare(terms, goals, accuracy=1e-5):
    assert terms.keys() == goals.keys()
    for name, goal in goals.items():
        close(terms[name].double(), goal, accuracy)


@pytest.mark.parametrize("cut", CUTS)
def test_outputs_through_the_teachers_head(case, cut):
    kind, arrays = case
    method = pair(kind, arrays, cut)
    step = method.step(batch_of(arrays), targets(arrays, "full"), Progress(0, 1))
    (imitation,) = [g for g in method if g.name == "crosskd"]
    found, goal = imitation.source(step), imitation.target(step)
    first = 0 if cut == meta(arrays)["default_reused_teacher_head_idx"] else 1
    for level in range(first, 5):
        close(found.cls[level], arrays[f"out/full_idx{cut}/reused_cls{level}"], 6e-5)
        close(found.reg[level], arrays[f"out/full_idx{cut}/reused_reg{level}"], 6e-5)
    for level in range(5):
        close(goal.cls[level], arrays[f"out/teacher_cls{level}"], 6e-5)
        close(goal.reg[level], arrays[f"out/teacher_reg{level}"], 6e-5)


@pytest.mark.parametrize("cut", CUTS)
def test_losses_and_gradients(case, cut):
    kind, arrays = case
    method = pair(kind, arrays, cut)
    terms = run(method, arrays, "full")
    compare(terms, official(arrays, f"loss/full_idx{cut}"))
    total = torch.stack(list(terms.values())).sum()
    close(total.double(), tensor(arrays[f"loss/full_idx{cut}/TOTAL"]).double(), 1e-5)
    total.backward()
    accuracy = FCOS_PARAMETERS if kind == "fcos" else PARAMETERS
    key = f"grad/full_idx{cut}"
    for level, maps in enumerate(method.student.maps):
        if f"{key}/student_feat{level}" in arrays:
            close(maps.grad, arrays[f"{key}/student_feat{level}"], accuracy)
    names, numbers = arrays[f"{key}/params/names"], arrays[f"{key}/params/l2_sum_abssum"]
    check_parameter_gradients(method.student.head, names, numbers, accuracy)


@pytest.mark.parametrize("scenario", ["img1_empty", "all_empty"])
def test_images_without_objects(case, scenario, monkeypatch):
    """The official FCOS divides by almost nothing where there is no object; so do we when told to."""
    kind, arrays = case
    cut = meta(arrays)["default_reused_teacher_head_idx"]
    method = pair(kind, arrays, cut)
    safe = run(method, arrays, scenario)
    assert all(term.isfinite() and term < 1e5 for term in safe.values())
    for guidance in method:
        if isinstance(guidance.criterion, DensePredictions):
            guidance.criterion.floor = 1e-6 + 2**-23  # mmdetection adds its epsilon to every divisor
    compare(run(method, arrays, scenario), official(arrays, f"loss/{scenario}_idx{cut}"))


def test_read_before_the_activation(case):
    kind, arrays = case
    cut = meta(arrays)["default_reused_teacher_head_idx"]
    method = pair(kind, arrays, cut, activation="before")
    compare(run(method, arrays, "full"), official(arrays, f"loss_not_inplace/full_idx{cut}"))


def test_the_criterion_needs_no_student_head():
    """Of another kind: then its assignment says nothing of the teacher's priors."""
    head = GFLHead(3, 8, STRIDES, GFLHead.Options(width=8, depth=1))
    classes = match_classes(["a", "b", "c"], ["a", "b", "c"])
    criterion = DensePredictions(head, None, classes, {"cls": 1.0, "box": 1.0}, "distribution", confidence=True)
    assert not criterion.same_priors
