"""A student that is not ours, here two convolutions, and what can and cannot train it."""

import pytest
import torch
from torch import nn

from headstart.detectors.custom import CustomDetector
from headstart.errors import UserError
from headstart.methods import Frozen, build_method
from headstart.structures import CellIndex, Detections, Targets
from laws.tiny import CLASSES, detector, run, scene, total


class Toy(nn.Module):
    """Maps of 8 and 12 channels at strides 8 and 16; its loss is of its own maps; it finds one box in each image."""

    classes, strides, channels = CLASSES, (8, 16), (8, 12)

    def __init__(self):
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(3, 8, 8, stride=8), nn.Conv2d(8, 12, 2, stride=2)
        self.norm = nn.BatchNorm2d(8)
        self.calls = []

    def maps(self, batch):
        self.calls.append("maps")
        fine = self.norm(self.fine(batch.pixels / 255))
        self.last = [fine, self.coarse(fine)]
        return self.last

    def loss(self, batch, targets):
        self.calls.append("loss")
        return {"size": self.last[0].square().mean() + self.last[1].square().mean()}

    def detect(self, batch):
        self.calls.append("detect")
        assert not self.training and not torch.is_grad_enabled()
        box = torch.tensor([[4.0, 4.0, 30.0, 30.0]])
        return [Detections(box, torch.ones(1), torch.zeros(1, dtype=torch.int64), CellIndex.none(1)) for _ in batch.ids]


def batch():
    return scene(size=64)


def test_it_runs_once_in_a_step_and_keeps_its_own_losses():
    toy = Toy()
    method = build_method("pkd", CustomDetector(toy, width=16), Frozen(detector("gfl", 1))).train()
    terms = run(method, *batch()).terms
    assert toy.calls == ["maps", "loss"] and set(terms) == {"student/size", "pkd/neck"}
    terms["pkd/neck"].backward()
    assert all(p.grad is not None and p.grad.count_nonzero() for n, p in toy.named_parameters() if n.endswith("weight"))


@pytest.mark.parametrize("teacher", ["fasterrcnn", "cascadercnn", "gfl", "retinanet"])
@pytest.mark.parametrize(
    "name",
    ["head", "pkd", "cwd", "fitnet", "frs", "fgd", "mgd", "defeat", "fgfi", "gid", "sgfi", "allstage"],
)
def test_assistants_and_feature_methods_train_it(name, teacher):
    toy = Toy()
    options = {"ckd": False} if name == "head" else {}
    method = build_method(name, CustomDetector(toy, width=16), Frozen(detector(teacher, 1)), **options).train()
    terms = run(method, *batch()).terms
    total({n: t for n, t in terms.items() if not n.startswith("student/")}).backward()
    assert all(term.isfinite() for term in terms.values()) and toy.fine.weight.grad.count_nonzero()
    assert toy.training


def test_images_without_labels_are_for_students_that_leave_them_out():
    toy = Toy()
    method = build_method("pkd", CustomDetector(toy, width=16), Frozen(detector("gfl", 1))).train()
    images, targets = batch()
    with pytest.raises(UserError, match=r"Toy computes its losses itself.*leaves_out_unlabelled = True"):
        run(method, images, [Targets.empty(labelled=False), targets[1]])
    toy.leaves_out_unlabelled = True
    assert run(method, images, [Targets.empty(labelled=False), targets[1]]).total.isfinite()


def test_pseudo_labels_are_what_it_learns_from():
    toy, given = Toy(), []
    toy.loss = lambda images, targets: given.append(targets) or {"size": toy.last[0].square().mean()}
    method = build_method("pseudo", CustomDetector(toy), Frozen(detector("gfl", 1)), threshold=0.3).train()
    images, targets = batch()
    run(method, images, targets)
    assert sum(map(len, given[0])) > sum(map(len, targets))
    with pytest.raises(UserError, match="leave it out"):
        build_method("pseudo", CustomDetector(toy), Frozen(detector("gfl", 1)), soft=True)


def test_regions_are_what_it_detects_in_evaluation_mode():
    toy = Toy()
    method = build_method("head", CustomDetector(toy), Frozen(detector("fasterrcnn", 1)), ckd=False).train()
    step = method.step(*batch(), None)
    assert toy.calls == ["maps", "detect"] and toy.norm.training
    assert all((r.boxes == torch.tensor([4.0, 4.0, 30.0, 30.0])).all(1).any() for r in step.regions)


def test_what_is_kept_is_the_model_alone():
    toy = Toy()
    wrapped = CustomDetector(toy, width=20)
    assert wrapped.model is toy and wrapped.neck.width == 20 and wrapped.detect
    assert [tuple(c.weight.shape[:2]) for c in wrapped.neck.convs] == [(20, 8), (20, 12)]
    assert CustomDetector(toy).neck.width == 12
    assert not [name for name in toy.state_dict() if "conv" in name]


@pytest.mark.parametrize(
    ("name", "options", "remedy"),
    [
        ("head", {}, "leave CKD out with ckd=False"),
        ("crosskd", {}, "use method head with ckd=False, pkd or cwd"),
        ("mimic", {}, "use method head with ckd=False, pkd or cwd"),
        ("bckd", {}, "use method head with ckd=False, pkd or cwd"),
        ("ld", {}, "use method head with ckd=False, pkd or cwd"),
        ("sgfi", {"contrast": True}, "leave the contrastive term out with contrast=False"),
    ],
)
def test_methods_that_read_inside_the_head_are_refused(name, options, remedy):
    with pytest.raises(UserError, match=f"method {name} needs a student whose head headstart knows.*Toy.*{remedy}"):
        build_method(name, CustomDetector(Toy()), Frozen(detector("gfl")), **options)


def test_what_lacks_something_is_refused():
    with pytest.raises(UserError, match="Linear cannot be a student: it has no classes and no strides"):
        CustomDetector(nn.Linear(2, 2))
    toy = Toy()
    toy.strides = (8, 24)
    with pytest.raises(UserError, match=r"powers of two, each twice the one before.*\[8, 24\]"):
        CustomDetector(toy)
