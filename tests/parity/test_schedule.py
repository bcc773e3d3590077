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
