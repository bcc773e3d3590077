import pytest
import torch
import toys

from headstart.detectors.zoo import build_detector
from headstart.engine.optim import build_optimizer, clip_gradients, trainable
from headstart.errors import UserError
from headstart.methods import build_method


def copying():
    return toys.Copying(toys.Student(), toys.teacher())


def test_every_trainable_parameter_once_and_no_frozen_one():
    method = copying()
    method.parts()
    optimizer = build_optimizer(method, lr=0.5)
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert len(held) == len({id(p) for p in held}) == len(trainable(method))
    assert {n.split(".")[0] for n in trainable(method)} == {"student", "adapter"}
    assert not any(p is q for p in held for q in method.student.stem.parameters())
    assert len(optimizer.param_groups) == 1
    assert (optimizer.defaults["momentum"], optimizer.defaults["weight_decay"]) == (0.9, 1e-4)


@pytest.mark.parametrize("name, kind", [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_norms_and_biases_may_go_undecayed(name, kind):
    method = copying()
    method.parts()
    optimizer = build_optimizer(method, name, decay_norm_and_bias=False)
    assert isinstance(optimizer, kind)
    decayed, plain = optimizer.param_groups
    assert all(p.ndim > 1 for p in decayed["params"]) and decayed["weight_decay"] == 1e-4
    assert all(p.ndim == 1 for p in plain["params"]) and plain["weight_decay"] == 0


@pytest.mark.parametrize(
    ("name", "backbone", "undecayed"),
    [("fcos", "mnv2_050", ["head.scales.0"]), ("gfl", "convnext_atto", ["head.scales.4", "gamma"])],
)
def test_learned_factors_go_undecayed_too(name, backbone, undecayed):
    """`scales` of the heads, LayerScale of the backbone; every weight of a convolution or linear layer is decayed."""
    student = build_detector(name, ["a"], backbone=backbone, width=16, pretrained=False)
    method = build_method("baseline", student, [])
    decayed, plain = build_optimizer(method, "adamw", decay_norm_and_bias=False).param_groups
    names = {id(p): key for key, p in student.named_parameters()}
    found = [names[id(p)] for p in plain["params"]]
    assert all(any(key.endswith(end) for key in found) for end in undecayed)
    assert {id(m.weight) for m in student.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)} >= {
        id(p) for p in decayed["params"]
    }


def test_nesterov():
    method = copying()
    method.parts()
    assert build_optimizer(method, nesterov=True).defaults["nesterov"]
    assert not build_optimizer(method).defaults["nesterov"]


def test_unknown_optimizer():
    with pytest.raises(UserError, match="sgd, adamw"):
        build_optimizer(toys.Plain(toys.Student()), "adam")


def test_clipping_gives_the_norm_before():
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, 4.0])
    assert clip_gradients([parameter], 1.0).item() == pytest.approx(5)
    assert parameter.grad.norm().item() == pytest.approx(1)
    assert clip_gradients([parameter], None).item() == pytest.approx(1)
