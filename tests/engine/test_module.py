"""The step of all lanes."""

from __future__ import annotations

import time

import toys

from headstart.config import Train
from headstart.data.batch import MultiScale
from headstart.detectors.detector import Detector
from headstart.engine.build import make_lane
from headstart.engine.fit import fit
from headstart.engine.module import Lanes
from headstart.recipe import check_run, plain_run


class Seeing(toys.Plain):
    """Notes the batches that it is given."""

    def forward(self, batch, targets, progress):
        self.seen.append((batch, targets))
        return super().forward(batch, targets, progress)


def test_all_lanes_get_the_same_batch_of_another_side():
    lanes = []
    for name in ("one", "other"):
        method = Seeing(toys.Student(), (), [])
        method.seen = []
        lanes.append(make_lane(name, method, Train(lr=0.1, warmup=0), 6))
    images, targets = toys.batch_of()
    side = images.pixels.shape[-1]
    scale = MultiScale(side, 32, 128, seed=5)
    module = Lanes(lanes, [], total=6, per_epoch=6, multi_scale=scale, step=2)
    module.manual_backward = lambda loss: loss.backward()
    for step in range(2, 6):
        module.training_step((images, targets), 0)
        (one, boxes), (other, _) = (lane.method.seen[-1] for lane in lanes)
        assert one is other and one.pixels.shape[-1] == scale.side(step)
        factor = scale.side(step) / side
        assert all((after.boxes / factor - before.boxes).abs().max() < 1 for after, before in zip(boxes, targets))
    assert len({batch.pixels.shape for batch, _ in lanes[0].method.seen}) > 1


def test_every_lane_pays_for_the_teachers_one_pass(tiny_run, monkeypatch):
    extract, slept = Detector.extract, []

    def slowly(detector, batch):
        if not detector.training and not any(p.requires_grad for p in detector.parameters()):
            slept.append(detector)
            time.sleep(0.2)
        return extract(detector, batch)

    tree = plain_run(tiny_run(steps=2))
    lanes = {"alone": "baseline", "first": "pkd", "second": "cwd"}
    run = check_run({**tree, "method": None, "baseline": False, "lanes": lanes})
    monkeypatch.setattr(Detector, "extract", slowly)
    found = fit(run, quiet=True).results["lanes"]
    assert found["alone"]["seconds"] + 0.3 < min(found["first"]["seconds"], found["second"]["seconds"])
