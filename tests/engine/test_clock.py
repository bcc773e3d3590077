"""Every lane pays for what it is given, whoever had it computed."""

import time

import pytest
import torch

from headstart.engine.clock import SharedCosts, Stopwatch

CPU = torch.device("cpu")


@pytest.fixture
def ticking(monkeypatch):
    """Time goes on by what is told."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def tick(seconds):
        now[0] += seconds

    return tick


def turn(costs, work):
    """The seconds of a lane that does `work` in its turn."""
    clock = Stopwatch()
    with clock.running(CPU):
        work()
    costs.settle(clock)
    return clock.seconds


def test_the_second_lane_pays_as_much_as_the_first(ticking):
    costs = SharedCosts(CPU)

    def first():
        with costs.making("features"):
            ticking(5)
        costs.ask("features")
        ticking(1)

    def second():
        costs.ask("features")
        ticking(2)

    assert [turn(costs, first), turn(costs, second), turn(costs, lambda: ticking(3))] == [6, 7, 3]
    costs.clear()
    assert turn(costs, first) == 6


def test_what_was_computed_inside_is_paid_for_once(ticking):
    """Detections need outputs, which need features; some were there already, some are computed on the way."""
    costs = SharedCosts(CPU)

    def features():
        if "features" not in made:
            made.add("features")
            with costs.making("features"):
                ticking(5)
        costs.ask("features")

    def outputs():
        features()
        if "outputs" not in made:
            made.add("outputs")
            with costs.making("outputs"):
                ticking(3)
        costs.ask("outputs")

    def detections():
        if "detections" not in made:
            made.add("detections")
            with costs.making("detections"):
                outputs()
                ticking(1)
        costs.ask("detections")

    for before in ([], [features], [outputs], [features, outputs]):
        made = set()
        costs.clear()
        for work in before:
            turn(costs, work)
        assert turn(costs, detections) == 9
        assert turn(costs, detections) == 9
        assert turn(costs, outputs) == 8
        assert turn(costs, features) == 5
        assert turn(costs, lambda: (features(), detections(), outputs())) == 9
