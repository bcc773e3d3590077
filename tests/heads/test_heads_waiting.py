"""How often training asks the device for an answer: each time the host waits until all work before it is done."""

from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from headstart.structures import Targets
from laws.tiny import DENSE, detector, scene

ASKING = {"_local_scalar_dense": "number", "nonzero": "rows", "unique": "rows", "lift_fresh": "copy"}
"""Operators that need an answer: a number for Python, how many rows there are; and copies of Python's numbers."""


class Watch(TorchDispatchMode):
    """Counts the operators in `ASKING`, and indexing by a mask, which counts its rows first."""

    def __init__(self):
        super().__init__()
        self.asked = Counter()

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        name = operator.__name__.split(".")[0]
        if name in ASKING:
            self.asked[ASKING[name]] += 1
        if name in ("index", "index_put_", "index_put"):
            self.asked["rows"] += sum(part is not None and part.dtype == torch.bool for part in args[1])
        return operator(*args, **(kwargs or {}))


def asked(head, features, batch, targets):
    """What assigning to a batch of two images asks, and what the loss does."""
    outputs = head(features, batch.sizes)
    with Watch() as assigning:
        assignment = head.assign(outputs, targets)
    with Watch() as losing:
        sum(head.loss(outputs, assignment).values()).backward()
    return assigning.asked, losing.asked


@pytest.mark.parametrize("family", [*DENSE, "fasterrcnn"])
def test_assignment_and_loss_ask_a_few_times_whatever_there_is(family):
    """Once per image which objects count, and once per loss which rows have any; no number and no copy is awaited.

    The assignments that depend on predictions ask once more per image: which places are candidates.
    """
    built = detector(family).train()
    head = built.head.rpn if family == "fasterrcnn" else built.head
    counts = []
    for objects in (2, 2, 9):  # the first time fills the tables of fixed numbers
        batch, targets = scene(objects=objects)
        targets = [Targets(t.boxes, t.labels, t.ignored) for t in targets]
        counts.append(asked(head, built.extract(batch), batch, targets))
    (_, _), few, many = counts
    assert few == many
    for found in few:
        assert not found["number"] and not found["copy"]
    stages = 2 if family == "reppoints" else 1
    candidates = 1 if family in ("rtmdet", "yolox") else 0
    drawn = 2 if family == "fasterrcnn" else 0  # objects and background are drawn from
    assert few[0]["rows"] <= 2 * (stages + candidates + drawn) and few[1]["rows"] <= 2 * stages
