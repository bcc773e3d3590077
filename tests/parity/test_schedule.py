import json

import numpy as np

from headstart.engine.schedule import LearningRate, drops


def test_1x_equals_the_official_rates(reference):
    arrays = reference("schedule_head")
    per_epoch = json.loads(str(arrays["META"]))["per_epoch"]
    rates = arrays["lr/head_1x"]
    ours = LearningRate(float(arrays["base_lr/head_1x"]), len(rates), milestones=(8 * per_epoch, 11 * per_epoch))
    np.testing.assert_allclose([ours(step) for step in range(len(rates))], rates, rtol=1e-12)
    assert drops(len(rates)) == ours.milestones


def test_crosskds_schedules(reference):
    """mmengine reaches the full rate one step earlier; the first 500 steps of FCOS, at a third of it, are not ours."""
    arrays = reference("schedule_crosskd")
    per_epoch = json.loads(str(arrays["META"]))["per_epoch"]
    for name, epochs, first in (("gfl_1x", (8, 11), 0), ("fcos_2x", (16, 22), 500)):
        rates = arrays[f"lr/{name}"]
        milestones = tuple(epoch * per_epoch for epoch in epochs)
        ours = LearningRate(float(arrays[f"base_lr/{name}"]), len(rates), warmup=499, milestones=milestones)
        np.testing.assert_allclose([ours(step) for step in range(first, len(rates))], rates[first:], rtol=1e-12)
        assert drops(len(rates)) == milestones
