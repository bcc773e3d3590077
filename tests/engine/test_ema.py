import math

import pytest
import torch
import toys

from headstart.engine.ema import ModelEMA


def test_follows_the_module_and_is_taken_back_to_the_bit():
    torch.manual_seed(0)
    student = toys.Student()
    average = ModelEMA(student, decay=0.5)
    start = {name: value.clone() for name, value in student.state_dict().items()}
    with torch.no_grad():
        for parameter in student.parameters():
            parameter += 1
    student.norm.num_batches_tracked += 3
    average.update(step=1000)  # past its own warm-up: d = 0.5
    own = {name: value.clone() for name, value in student.state_dict().items()}
    with average.applied():
        for name, value in student.state_dict().items():
            middle = own[name] if not value.is_floating_point() else (start[name] + own[name]) / 2
            torch.testing.assert_close(value, middle)
    for name, value in student.state_dict().items():
        assert torch.equal(value, own[name])


def test_first_steps_are_forgotten_soon():
    student = toys.Student()
    average = ModelEMA(student, decay=0.9999)
    with torch.no_grad():
        student.head.bias.fill_(1)
    average.shadow["head.bias"].zero_()
    average.update(step=0)
    torch.testing.assert_close(average.shadow["head.bias"], torch.full((4,), 0.9))


@pytest.mark.parametrize("step", [0, 1, 1999, 20_000, 300_000])
def test_the_exponential_average_is_that_of_both_official_codes(step):
    """YOLOX counts updates from 1: 0.9998 (1 - e^(-n / 2000)); mmengine gives what is taken of the new weights."""
    decay = ModelEMA(toys.Student(), 0.9998, exponential=True).decay_at(step)
    assert decay == pytest.approx(0.9998 * (1 - math.exp(-(step + 1) / 2000)), rel=1e-9)
    assert 1 - decay == pytest.approx((1 - 0.0002) * math.exp(-(1 + step) / 2000) + 0.0002, rel=1e-9)


def test_the_exponential_average_follows_buffers_too():
    student = toys.Student()
    average = ModelEMA(student, 0.5, exponential=True)
    with torch.no_grad():
        student.head.bias.fill_(1)
        student.norm.running_mean.fill_(1)
    average.shadow["head.bias"].zero_()
    average.update(step=100_000)
    torch.testing.assert_close(average.shadow["head.bias"], torch.full((4,), 0.5))
    torch.testing.assert_close(average.shadow["norm.running_mean"], torch.full((4,), 0.5))


def test_round_trip():
    student = toys.Student()
    average, other = ModelEMA(student), ModelEMA(toys.Student())
    other.load_state_dict(average.state_dict())
    assert all(torch.equal(value, other.shadow[name]) for name, value in average.shadow.items())
