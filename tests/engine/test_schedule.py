import pytest

from headstart.config import Train
from headstart.engine.build import count_steps, learning_rate
from headstart.engine.schedule import SCHEDULES, LearningRate, drops


def test_warm_up_reaches_the_full_rate_at_its_end():
    rate = LearningRate(0.01, 1000, warmup=100)
    assert rate(0) == pytest.approx(0.01 * 0.001)
    assert rate(99) < 0.01
    assert rate(100) == 0.01


@pytest.mark.parametrize("name, epochs", [("1x", (8, 11)), ("2x", (16, 22))])
def test_named_schedules_drop_where_people_expect(name, epochs):
    per_epoch = 7330
    total = SCHEDULES[name] * per_epoch
    assert drops(total) == tuple(e * per_epoch for e in epochs)
    rate = LearningRate(1.0, total, milestones=drops(total))
    assert rate(drops(total)[0] - 1) == 1.0
    assert rate(drops(total)[0]) == pytest.approx(0.1)
    assert rate(total - 1) == pytest.approx(0.01)


def test_cosine_starts_full_and_ends_at_the_floor():
    rate = LearningRate(0.03, 200, warmup=0, shape="cosine", floor=0.01)
    assert rate(0) == pytest.approx(0.03)
    assert rate(100) == pytest.approx(0.03 * 0.505)
    assert rate(200) == pytest.approx(3e-4)
    rates = [rate(step) for step in range(200)]
    assert rates == sorted(rates, reverse=True)


def test_flat_cosine_is_flat_for_half_of_the_run():
    """RTMDet's: constant, then a cosine over the second half, down to 5 %."""
    rate = LearningRate(0.004, 300, warmup=0, shape="flat-cosine")
    assert {rate(step) for step in range(151)} == {0.004}
    assert rate(225) == pytest.approx(0.004 * 0.525)
    assert rate(200) == pytest.approx(0.004 * (0.05 + 0.95 * 0.75))
    assert rate(300) == pytest.approx(0.0002)
    assert next(step for step in range(300) if rate(step) < 0.004) == rate.first_drop
    odd = LearningRate(1.0, 7, warmup=0, shape="flat-cosine")
    assert next(step for step in range(7) if odd(step) < 1) == odd.first_drop


def test_a_quadratic_warm_up_begins_at_zero():
    """YOLOX's: rate * (step / warm-up)^2."""
    rate = LearningRate(0.01, 1000, warmup=100, ramp="quadratic", shape="constant")
    assert [rate(step) for step in (0, 50, 100, 101)] == [0, pytest.approx(0.0025), 0.01, 0.01]


def test_settings_of_the_shape():
    settings = Train(lr=0.1, warmup=4, warmup_shape="quadratic", decay="flat-cosine", steps=20)
    rate = learning_rate(settings, 20)
    assert rate(2) == pytest.approx(0.025) and rate(10) == 0.1 and rate(20) == pytest.approx(0.005)


def test_constant_stays():
    rate = LearningRate(0.1, 10, warmup=0, shape="constant")
    assert {rate(step) for step in range(10)} == {0.1}


@pytest.mark.parametrize(
    ("train", "per_epoch", "expected"),
    [
        ({"epochs": 12, "milestones": [8, 11]}, 7330, 58640),  # HEAD's published setting
        ({"schedule": "1x"}, 7330, 58640),
        ({"epochs": 24, "decay": "cosine"}, 100, 1600),
        ({"steps": 50, "milestones": [40, 10]}, 100, 10),
        ({"steps": 50, "milestones": []}, 100, None),
        ({"steps": 50, "decay": "flat-cosine"}, 100, 26),
        ({"steps": 50, "decay": "constant"}, 100, None),
    ],
)
def test_the_first_drop(train, per_epoch, expected):
    settings = Train(lr=0.01, warmup=500, **train)
    assert learning_rate(settings, count_steps(settings, per_epoch)).first_drop == expected


def test_the_first_drop_is_where_the_rate_first_falls():
    rate = LearningRate(0.1, 90, warmup=0, milestones=(60, 80))
    assert next(step for step in range(90) if rate(step) < 0.1) == rate.first_drop
