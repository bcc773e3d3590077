"""The weights of groups: given, calibrated and frozen, controlled by shares of the gradient, learned."""

import copy

import pytest
import torch

from headstart.methods.allstage.macro import (
    EVERY,
    MacroWeights,
    calibration_steps,
    controller_factor,
    gradient_shares,
)
from headstart.structures import Progress

SHARES = {"neck": 0.2, "logit": 0.1}


def made(kind="calibrated", **options):
    return MacroWeights(kind, SHARES, **options).train()


def losses(neck, logit=1.0):
    return {"neck": torch.tensor(neck, requires_grad=True), "logit": torch.tensor(logit, requires_grad=True)}


def go(macro, step, neck, detection=2.0, total=100, logit=1.0, epoch=0):
    terms = macro(losses(neck, logit), torch.tensor(detection), Progress(step, total, epoch), [])
    return {group: value.item() for group, value in terms.items()}


def test_fixed_weights_are_the_constants():
    assert go(made("fixed"), 0, 3.0) == pytest.approx({"neck": 0.6, "logit": 0.1})


@pytest.mark.parametrize(("total", "given", "goal"), [(90_000, None, 400), (1000, None, 100), (5, None, 0), (50, 7, 7)])
def test_steps_of_calibration(total, given, goal):
    assert calibration_steps(total, given) == goal


def test_calibration_makes_each_group_its_share_of_the_detection_losses_once():
    macro = made(steps=10)
    values = [100.0] * 5 + [4.0, 5.0, 6.0, 7.0, 8.0]  # of the last half the median is 6
    for step, value in enumerate(values):
        go(macro, step, value)
    after = go(macro, 10, 6.0)
    assert after == pytest.approx({"neck": 0.2 * 2, "logit": 0.1 * 2})
    frozen = macro.weights.clone()
    assert go(macro, 11, 3.0)["neck"] == pytest.approx(0.2)  # half the loss is half the term
    go(macro, 50, 1000.0, detection=0.01)
    assert torch.equal(macro.weights, frozen)


def test_a_run_without_steps_of_calibration_decides_at_its_first():
    macro = made(steps=0)
    assert go(macro, 0, 4.0) == pytest.approx({"neck": 0.4, "logit": 0.2})
    assert go(macro, 1, 2.0)["neck"] == pytest.approx(0.2)


def test_a_run_that_was_broken_off_while_calibrating_goes_on_to_the_same_weights():
    whole, broken = made(steps=10), made(steps=10)
    values = torch.rand(12).add(1).tolist()
    for step, value in enumerate(values):
        go(whole, step, value)
        if step == 6:
            state = {key: tensor.clone() for key, tensor in broken.state_dict().items()}
            broken = made(steps=10)
            broken.load_state_dict(state)
        go(broken, step, value)
    assert torch.equal(whole.weights, broken.weights) and (whole.weights > 0).all()
    for key, tensor in whole.state_dict().items():
        assert torch.equal(tensor, broken.state_dict()[key])


def test_nothing_is_measured_in_evaluation_mode():
    macro = made(steps=4).eval()
    before = copy.deepcopy(macro.state_dict())
    go(macro, 0, 3.0)
    go(macro, 9, 3.0)
    assert all(torch.equal(before[key], value) for key, value in macro.state_dict().items())


def test_a_loss_of_zero_has_no_endless_weight():
    assert all(torch.isfinite(torch.tensor(v)) for v in go(made(steps=0), 0, 0.0).values())


@pytest.mark.parametrize("share", [0.05, 0.2, 0.3])
def test_the_controllers_factor_solves_its_equation(share):
    p, goal = torch.tensor(share), torch.tensor(0.2)
    k = controller_factor(p, goal)
    assert (k * p / (k * p + 1 - p)).item() == pytest.approx(0.2)


def test_the_controllers_factor_is_bounded():
    goal = torch.tensor(0.5)
    assert controller_factor(torch.tensor(0.999), goal).item() == pytest.approx(0.1)
    assert controller_factor(torch.tensor(0.0), goal).item() == pytest.approx(10)


def test_shares_of_the_gradient():
    maps = [torch.ones(1, 1, 2, 2, requires_grad=True)]
    other = torch.ones((), requires_grad=True)
    found = gradient_shares(torch.stack([maps[0].sum() * 3, other * 5]), maps[0].sum() * 1, maps)
    assert found.tolist() == pytest.approx([0.75, 0.0])


def test_the_controller_corrects_once_per_epoch_what_left_its_band():
    macro = MacroWeights("controlled", {"neck": 0.2}, steps=0).train()
    maps = [torch.ones(1, 1, 2, 2, requires_grad=True)]

    def step(number, epoch):
        found = macro({"neck": maps[0].sum()}, 3 * maps[0].sum(), Progress(number, 1000, epoch), maps)
        return (found["neck"] / maps[0].sum()).item()

    first = step(0, 0)  # the losses' ratio: 0.2 * 12 / 4 = 0.6, so 0.6 / 3.6 of the gradient
    assert first == pytest.approx(0.6) and macro.measured[0].item() == pytest.approx(0.6 / 3.6)
    for number in range(1, 3 * EVERY):
        assert step(number, 0) == pytest.approx(0.6)
    assert macro.measured[1].item() == 3
    assert step(3 * EVERY, 1) == pytest.approx(0.6)  # 0.167 lies in 0.2 +- 0.05
    macro.weights.fill_(3.0)
    step(4 * EVERY, 2), step(5 * EVERY, 3)
    assert macro.weights.item() == pytest.approx(0.75)  # k = 0.2 (1 - 0.5) / (0.5 (1 - 0.2)) = 0.25
    assert step(6 * EVERY, 3) == pytest.approx(0.75)  # 0.75 / 3.75 = 0.2 of the gradient


def test_uncertainty_weights_are_learned():
    macro = made("uncertainty")
    values = losses(4.0)
    terms = macro(values, torch.tensor(2.0), Progress(0, 100), [])
    assert terms["neck"].item() == pytest.approx(2.0) and macro.weights.tolist() == [0.5, 0.5]
    sum(terms.values()).backward()
    # The best s^2 of a loss of 4 is 4, that of a loss of 1 is 1.
    assert macro.log_s.grad.tolist() == pytest.approx([-3.0, 0.0])


def test_shares_are_shared_out():
    macro = made("fixed")
    macro.share(0.5)
    assert go(macro, 0, 3.0)["neck"] == pytest.approx(0.3)
