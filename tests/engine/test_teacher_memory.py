"""A teacher in a run: in bf16 only what autocast would cast anyway, and nothing of a batch outlives its step."""

import copy
import gc
import weakref

import pytest
import torch
import toys
from torch import nn

from headstart.config import Train
from headstart.detectors.zoo import build_detector
from headstart.engine.build import make_lane
from headstart.engine.evaluator import Evaluator
from headstart.engine.fit import fit
from headstart.engine.guards import check_lane
from headstart.engine.module import Lanes
from headstart.engine.precision import Precision
from headstart.engine.teacher import prepare_frozen
from headstart.teachers import Frozen

BF16 = Precision(torch.bfloat16)

DETECTORS = {
    "swin, norms in the backbone": ("retinanet_swin_t", {"body_options": {"normed_stages": [1, 2, 3]}}),
    "group norms in the towers": ("fcos_mnv2_050", {}),
    "box head": ("fasterrcnn_r10", {"hidden": 16}),
    "group norms in the neck, deformable convolutions": ("reppoints_mnv2_050", {}),
}


@pytest.fixture(params=DETECTORS)
def detector(request):
    name, options = DETECTORS[request.param]
    torch.manual_seed(0)
    made = build_detector(name, toys.CLASSES, width=16, pretrained=False, **options).eval()
    for parameter in made.parameters():  # values that bf16 has not, those of norms too
        parameter.data.add_(torch.rand_like(parameter) * 0.01)
    return made


def outputs(model, batch):
    """Every tensor that the detector gives under autocast."""
    found = []

    def collect(value):
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            for each in value:
                collect(each)
        elif hasattr(value, "__dataclass_fields__"):
            for name in value.__dataclass_fields__:
                collect(getattr(value, name))

    with torch.no_grad(), BF16.autocast(torch.device("cpu")):
        features = model.extract(batch)
        collect(features)
        collect(model.head(features, batch.sizes))
    return found


def test_only_convolutions_and_linear_layers_are_stored_in_bf16(detector):
    prepare_frozen(detector, BF16)
    for name, layer in detector.named_modules():
        wanted = torch.bfloat16 if isinstance(layer, nn.Conv2d | nn.Linear) else torch.float32
        own = [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
        assert {value.dtype for value in own if value.is_floating_point()} <= {wanted}, name


def test_the_stored_teacher_says_what_autocast_would(detector):
    batch, _ = toys.batch_of(1)
    plain = copy.deepcopy(detector)
    prepare_frozen(plain, Precision())  # folded, too
    prepare_frozen(detector, BF16)
    one, other = outputs(plain, batch), outputs(detector, batch)
    assert len(one) == len(other) > 4
    assert all(torch.equal(a, b) for a, b in zip(one, other))


def lanes_of(teacher):
    method = toys.Copying(toys.Student(), teacher)
    method.parts()
    module = Lanes([make_lane("copy", method, Train(lr=0.1, warmup=0), 4)], [teacher], total=4, per_epoch=4)
    module.manual_backward = lambda loss: loss.backward()
    return module


def test_nothing_of_a_batch_is_kept_after_its_step():
    teacher = toys.teacher()
    module, batch = lanes_of(teacher), toys.batch_of()
    pixels = weakref.ref(batch[0].pixels)
    module.training_step(batch, 0)
    del batch
    gc.collect()
    assert pixels() is None


def test_nothing_of_a_batch_is_kept_after_the_check_of_a_lane():
    teacher = toys.teacher()
    method, batch = toys.Copying(toys.Student(), teacher), toys.batch_of()
    pixels = weakref.ref(batch[0].pixels)
    check_lane("copy", method, [teacher], [batch], 4, device=torch.device("cpu"), precision=Precision())
    del batch
    gc.collect()
    assert pixels() is None


def test_nothing_of_a_batch_is_kept_after_an_evaluation(tiny_run, monkeypatch):
    inner, kept, teachers = Evaluator.score_lane, [], []
    features = Frozen.features

    def remember(self, batch):
        teachers.append(self)
        return features(self, batch)

    def score(self, lane, progress=None):
        images = next(iter(self.loader))[0]
        with self.precision.autocast(self.device):
            teachers[0].features(images)
        kept.append(weakref.ref(images.pixels))
        return inner(self, lane, progress)

    monkeypatch.setattr(Frozen, "features", remember)
    monkeypatch.setattr(Evaluator, "score_lane", score)
    fit(tiny_run(steps=1, eval_every=1), quiet=True)
    gc.collect()
    assert kept and all(pixels() is None for pixels in kept)
