"""Schedules of the step, and scales that are measured once."""

import pytest
import torch
from headstart.methods.weighting import Scale, until, warm

from headstart.structures import Progress


def at(step):
    return Progress(step, 90_000)


@pytest.mark.parametrize(("step", "weight"), [(0, 0.0), (1, 0.0005), (1000, 0.5), (1999, 0.9995), (2000, 1), (9999, 1)])
def test_warm_up_is_linear_from_zero(step, weight):
    assert warm(at(step), 2000) == pytest.approx(weight)


def test_no_warm_up():
    assert warm(at(0), 0) == 1.0


@pytest.mark.parametrize(("step", "weight"), [(0, 1.0), (58640, 1.0), (58641, 0.0), (90_000, 0.0)])
def test_an_end_takes_part_itself(step, weight):
    assert until(at(step), 58640) == weight


def test_no_end():
    assert until(at(10**9), None) == 1.0


def test_the_scale_is_the_mean_variance_of_the_first_steps():
    scale = Scale(steps=3)
    generator = torch.Generator().manual_seed(0)
    targets = [torch.randn(40, 8, generator=generator) * factor + 5 for factor in (1, 2, 3)]
    expected = [t.var(correction=0) for t in targets]
    for step, target in enumerate(targets):
        found = scale([target], at(step))
        torch.testing.assert_close(found, torch.stack(expected[: step + 1]).mean())
    assert not found.requires_grad and scale.seen == 3


def test_later_targets_do_not_move_it():
    scale = Scale(steps=2)
    scale([torch.randn(9, 4)], at(0))
    fixed = scale([torch.randn(9, 4)], at(1)).clone()
    for step in (2, 3, 500):
        assert torch.equal(scale([torch.randn(9, 4) * 100], at(step)), fixed)
    assert scale.seen == 2


def test_a_moving_scale_follows_a_target_that_learns():
    """The mean of all steps at first, then an average over about the last ones."""
    scale = Scale(steps=4, moving=True)
    wide = torch.tensor([[-1.0], [1.0]])  # variance 1
    expected, found = 0.0, []
    for step, factor in enumerate((1, 3, 2, 1, 5, 5)):
        found.append(scale([wide * factor], at(step * 10_000)).item())
        expected += (factor**2 - expected) / min(step + 1, 4)
        assert found[-1] == pytest.approx(expected)
    assert found[:3] == pytest.approx([1, 5, 14 / 3]) and scale.seen == 6
    for step in range(60):
        last = scale([wide * 10], at(step))
    assert last.item() == pytest.approx(100, rel=1e-3)


def test_a_moving_scale_passes_over_what_has_no_variance():
    scale = Scale(steps=4, moving=True)
    assert scale([torch.tensor([[0.0], [4.0]])], at(0)) == 4
    assert scale([torch.ones(1, 3)], at(1)) == 4 and scale.seen == 1


def test_a_moving_scale_is_of_the_side_that_says_more():
    """A head that has learned nothing yet says almost nothing; its variance would be no unit."""
    wide, faint = torch.tensor([[0.0], [4.0]]), torch.tensor([[0.0], [0.004]])
    assert Scale(moving=True)([faint], at(0), [wide]) == Scale(moving=True)([wide], at(0), [faint]) == 4
    assert Scale()([wide * 2], at(0), [wide * 10]) == 16  # a teacher's alone


def test_of_several_levels_it_is_the_mean():
    maps = [torch.randn(2, 3, 4, 4) * 3, torch.randn(2, 3, 2, 2)]
    torch.testing.assert_close(Scale()(maps, at(0)), (maps[0].var(correction=0) + maps[1].var(correction=0)) / 2)


def test_it_is_kept_in_the_checkpoint():
    scale = Scale(steps=2)
    scale([torch.randn(9, 4) * 3], at(0))
    again = Scale(steps=2)
    again.load_state_dict(scale.state_dict())
    target = torch.randn(5, 4)
    assert torch.equal(again([target], at(1)), scale([target], at(1)))
    assert torch.equal(again([target], at(7)), scale([target], at(7)))
    assert set(scale.state_dict()) == {"mean", "seen"}


@pytest.mark.parametrize(
    "target", [torch.zeros(0, 4), torch.ones(1, 4), torch.ones(6, 4)], ids=["none", "one", "equal"]
)
def test_without_variance_nothing_is_divided(target):
    scale = Scale()
    assert scale([target], at(0)) == 1
    wide = torch.tensor([[0.0], [4.0]])
    if len(target) < 2:  # no measurement at all: the next one stands alone
        assert scale([wide], at(1)) == 4


def test_it_is_float32_whatever_the_targets_are():
    target = (torch.randn(64, 8) * 30).bfloat16()
    found = Scale()([target], at(0))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, target.float().var(correction=0))
