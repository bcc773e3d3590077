import pytest
import torch

from headstart.engine.recorder import PATIENCE, Recorder
from headstart.errors import UserError
from headstart.structures import Objective


def objective(box=1.0, copy=2.0):
    return Objective({"student/box": torch.tensor(box), "copy/vector": torch.tensor(copy)}, {"seen": torch.tensor(3.0)})


def test_means_and_the_two_kinds_of_loss():
    recorder = Recorder("lane")
    recorder.add(objective(1, 2), torch.tensor(4.0))
    recorder.add(objective(3, 4), torch.tensor(6.0))
    summary = recorder.read(2)
    assert (summary.detection, summary.distillation, summary.norm) == (2, 3, 5)
    assert summary.monitors == {"seen": 3}
    assert recorder.read(2) is None


@pytest.mark.parametrize(
    "terms, norm, name", [((1, float("nan")), 1.0, "copy/vector"), ((1, 1), float("inf"), "its gradient")]
)
def test_divergence_names_lane_term_and_step(terms, norm, name):
    recorder = Recorder("head")
    recorder.add(objective(), torch.tensor(1.0))
    recorder.add(objective(*terms), torch.tensor(norm))
    with pytest.raises(UserError, match=f"Lane head diverged: (its term )?{name} is (nan|inf) at step 8.*smaller lr"):
        recorder.read(9)


def test_a_term_that_stays_zero_is_reported_once():
    recorder = Recorder("head")
    for step in range(1, 2 * PATIENCE + 1):
        recorder.add(objective(0.0, 0.0), torch.tensor(1.0))
        if step % 50 == 0:
            recorder.read(step)
    warnings = recorder.take_warnings()
    assert len(warnings) == 1 and "copy/vector has been exactly zero for 500 steps" in warnings[0]


def test_names_must_not_change_within_a_reading():
    recorder = Recorder("head")
    recorder.add(objective(), torch.tensor(1.0))
    with pytest.raises(ValueError, match="terms changed"):
        recorder.add(Objective({"student/box": torch.tensor(1.0)}), torch.tensor(1.0))
