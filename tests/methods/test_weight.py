"""Schedules of the step, the variance of a target as unit, and what a weight makes of a criterion's value."""

import pytest
import torch

from headstart.methods.weight import (
    Schedule,
    TargetVariance,
    Weight,
    active_until,
    has_spread,
    linear_warmup,
    mean_variance,
)
from headstart.structures import Progress


def at(step):
    return Progress(step, 90_000)


# -- schedules ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("step", "weight"), [(0, 0.0), (1, 0.0005), (1000, 0.5), (1999, 0.9995), (2000, 1), (9999, 1)])
def test_warm_up_is_linear_from_zero(step, weight):
    assert linear_warmup(at(step), 2000) == pytest.approx(weight)


def test_no_warm_up():
    assert linear_warmup(at(0), 0) == 1.0


@pytest.mark.parametrize(("step", "weight"), [(0, 1.0), (58640, 1.0), (58641, 0.0), (90_000, 0.0)])
def test_the_last_step_itself_takes_part(step, weight):
    assert active_until(at(step), 58640) == weight


def test_no_end():
    assert active_until(at(10**9), None) == 1.0


@pytest.mark.parametrize(
    ("total", "step", "factor"), [(1000, 50, 0.5), (1000, 100, 1), (90_000, 1000, 0.5), (90_000, 2000, 1), (5, 0, 1)]
)
def test_a_schedule_warms_up_over_2000_steps_but_at_most_a_tenth_of_the_run(total, step, factor):
    assert Schedule(None)(Progress(step, total)) == factor


def test_or_over_as_many_steps_as_a_paper_has():
    assert [Schedule(None, longest=400)(Progress(step, 90_000)) for step in (0, 200, 400)] == [0, 0.5, 1]
    assert Schedule(None, longest=400)(Progress(5, 100)) == 0.5


def test_a_schedule_may_end_at_a_step_or_where_the_rate_first_drops():
    assert [Schedule(0, 100)(Progress(step, 1000)) for step in (0, 100, 101)] == [1, 1, 0]
    drop = [Schedule(0, "first_drop")(Progress(step, 1000, first_drop=60)) for step in (0, 60, 61)]
    assert drop == [1, 1, 0]
    assert Schedule(0, "first_drop")(Progress(999, 1000, first_drop=None)) == 1  # a rate that never drops
    assert Schedule(0, 0)(at(0)) == 1 and Schedule(0, 0)(at(1)) == 0


def test_a_schedule_is_the_product_of_warm_up_and_end():
    assert [Schedule(10, 20)(at(step)) for step in (0, 5, 10, 20, 21)] == [0, 0.5, 1, 1, 0]
    assert Schedule()(at(0)) == Schedule()(at(90_000)) == 1


# -- the unit ----------------------------------------------------------------------------------------------------------


def measure(unit, target, step=0, own=None):
    """The unit of a target; what is compared with it is constant unless given."""
    return unit(target, [torch.zeros_like(x) for x in target] if own is None else own, at(step))


def test_the_unit_is_the_mean_variance_of_the_first_steps():
    unit = TargetVariance(steps=3)
    generator = torch.Generator().manual_seed(0)
    targets = [torch.randn(40, 8, generator=generator) * factor + 5 for factor in (1, 2, 3)]
    expected = [t.var(correction=0) for t in targets]
    for step, target in enumerate(targets):
        found = measure(unit, [target], step)
        torch.testing.assert_close(found, torch.stack(expected[: step + 1]).mean())
    assert not found.requires_grad and unit.seen == 3


def test_later_targets_do_not_move_it():
    unit = TargetVariance(steps=2)
    measure(unit, [torch.randn(9, 4)], 0)
    fixed = measure(unit, [torch.randn(9, 4)], 1).clone()
    for step in (2, 3, 500):
        assert torch.equal(measure(unit, [torch.randn(9, 4) * 100], step), fixed)
    assert unit.seen == 2


def test_it_does_not_move_in_evaluation_mode():
    """Neither from nothing nor from what it was; a checkpoint's unit is used as it is."""
    for moving in (False, True):
        unit = TargetVariance(steps=5, moving=moving).eval()
        target = [torch.tensor([[0.0], [4.0]])]
        assert measure(unit, target) == 1 and unit.seen == 0 and unit.mean == 0
        assert measure(unit.train(), target) == 4
        assert measure(unit.eval(), [target[0] * 10], 1) == 4 and unit.seen == 1
        assert measure(unit.train(), [target[0] * 10], 1) > 4 and unit.seen == 2


def test_a_moving_unit_follows_a_target_that_learns():
    """The mean of all steps at first, then an average over about the last ones."""
    unit = TargetVariance(steps=4, moving=True)
    wide = torch.tensor([[-1.0], [1.0]])  # variance 1
    expected, found = 0.0, []
    for step, factor in enumerate((1, 3, 2, 1, 5, 5)):
        found.append(measure(unit, [wide * factor], step * 10_000).item())
        expected += (factor**2 - expected) / min(step + 1, 4)
        assert found[-1] == pytest.approx(expected)
    assert found[:3] == pytest.approx([1, 5, 14 / 3]) and unit.seen == 6
    for step in range(60):
        last = measure(unit, [wide * 10], step)
    assert last.item() == pytest.approx(100, rel=1e-3)


def test_a_moving_unit_passes_over_what_has_no_variance():
    unit = TargetVariance(steps=4, moving=True)
    assert measure(unit, [torch.tensor([[0.0], [4.0]])], 0) == 4
    assert measure(unit, [torch.ones(1, 3)], 1) == 4 and unit.seen == 1


def test_a_moving_unit_is_of_the_side_that_varies_more():
    """A head that has learned nothing yet gives almost a constant; its variance would be no unit."""
    wide, faint = torch.tensor([[0.0], [4.0]]), torch.tensor([[0.0], [0.004]])
    assert measure(TargetVariance(moving=True), [faint], own=[wide]) == 4
    assert measure(TargetVariance(moving=True), [wide], own=[faint]) == 4


def test_a_teachers_unit_is_at_least_a_tenth_of_the_adapted_sides_variance():
    wide, faint = torch.tensor([[0.0], [4.0]]), torch.tensor([[0.0], [0.004]])
    assert measure(TargetVariance(), [wide * 2], own=[wide * 2]) == 16  # the target's alone
    assert measure(TargetVariance(), [wide * 2], own=[wide * 6]) == 16  # a tenth of 144 is less
    assert measure(TargetVariance(), [faint], own=[wide]).item() == pytest.approx(0.4)
    assert measure(TargetVariance(floor=0.5), [faint], own=[wide]).item() == pytest.approx(2)
    assert measure(TargetVariance(floor=0.0), [faint], own=[wide]).item() == pytest.approx(4e-6)
    assert (TargetVariance().floor, TargetVariance(moving=True).floor) == (0.1, 1.0)


def test_of_several_levels_it_is_the_mean():
    maps = [torch.randn(2, 3, 4, 4) * 3, torch.randn(2, 3, 2, 2)]
    expected = (maps[0].var(correction=0) + maps[1].var(correction=0)) / 2
    torch.testing.assert_close(measure(TargetVariance(), maps), expected)
    torch.testing.assert_close(mean_variance(maps), expected)


def test_it_is_kept_in_the_checkpoint():
    unit = TargetVariance(steps=2)
    measure(unit, [torch.randn(9, 4) * 3], 0)
    again = TargetVariance(steps=2)
    again.load_state_dict(unit.state_dict())
    target = torch.randn(5, 4)
    assert torch.equal(measure(again, [target], 1), measure(unit, [target], 1))
    assert torch.equal(measure(again, [target], 7), measure(unit, [target], 7))
    assert set(unit.state_dict()) == {"mean", "seen"}


@pytest.mark.parametrize(
    "target", [torch.zeros(0, 4), torch.ones(1, 4), torch.ones(6, 4)], ids=["none", "one", "equal"]
)
def test_without_variance_nothing_is_divided(target):
    unit = TargetVariance()
    assert measure(unit, [target], 0) == 1
    wide = torch.tensor([[0.0], [4.0]])
    if len(target) < 2:  # no measurement at all: the next one stands alone
        assert measure(unit, [wide], 1) == 4


def test_a_single_vector_has_no_variance_but_a_single_map_has():
    assert not has_spread([torch.rand(1, 4)]) and not has_spread([torch.rand(0, 4)])
    assert has_spread([torch.rand(2, 4)]) and has_spread([torch.rand(1, 4, 2, 2)])
    assert mean_variance([torch.rand(1, 4)]) == 0


def test_it_is_float32_whatever_the_targets_are():
    target = (torch.randn(64, 8) * 30).bfloat16()
    found = measure(TargetVariance(), [target])
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, target.float().var(correction=0))


# -- the weight --------------------------------------------------------------------------------------------------------

TARGET = [torch.tensor([[0.0], [4.0]]), torch.tensor([[0.0], [2.0]])]
OWN = [torch.zeros(2, 1), torch.zeros(2, 1)]


def test_without_a_unit_it_is_constant_times_schedule():
    weight = Weight(3.0, Schedule(10))
    assert weight(torch.tensor(5.0), TARGET, OWN, at(4)) == pytest.approx(5 * 3 * 0.4)
    assert weight(torch.tensor(5.0), TARGET, OWN, at(4), 0.5) == pytest.approx(5 * 3 * 0.4 * 0.5)
    assert weight.factor(at(4)) == pytest.approx(1.2) and Weight(3.0).factor(at(0)) == 3


def test_in_units_of_variance_levels_are_averaged():
    """The value is a sum over two levels; the variances are 4 and 1, their mean 2.5."""
    weight = Weight(3.0, unit=TargetVariance())
    assert weight(torch.tensor(10.0), TARGET, OWN, at(0)) == pytest.approx(3 * 10 / 2 / 2.5)


def test_only_an_automatic_constant_is_shared_out():
    automatic, given = Weight(3.0, auto=True), Weight(3.0)
    for weight in (automatic, given):
        weight.share(0.5)
    assert (automatic.constant, given.constant) == (1.5, 3.0)


def test_what_the_pairing_table_says():
    assert Weight(2.0).text() == "2" and Weight(2.0).text(0.25) == "0.5"
    assert Weight(1 / 3, unit=TargetVariance()).text() == "0.333 / variance"
