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


def test_round_trip():
    student = toys.Student()
    average, other = ModelEMA(student), ModelEMA(toys.Student())
    other.load_state_dict(average.state_dict())
    assert all(torch.equal(value, other.shadow[name]) for name, value in average.shadow.items())
