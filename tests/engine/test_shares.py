"""The trace of every term's share of the gradient."""

import csv

import pytest
import torch
from safetensors.torch import load_file

from headstart.engine.fit import fit
from headstart.engine.shares import due, gradient_shares, shared_parameters
from headstart.methods import build_method
from headstart.structures import Progress
from laws.tiny import run
from methods.pairs import batch, frozen, tiny


def make(**options):
    method = build_method("head+pkd", tiny("retinanet"), frozen("fasterrcnn"), **options)
    return method.train()


def test_shares_are_those_of_each_terms_own_gradient():
    method = make(head={"warmup": 0})
    objective = run(method, *batch(), Progress(8, 12))
    parameters = shared_parameters(method.student)
    found = gradient_shares(objective.terms, parameters)
    assert list(found) == list(objective.terms)
    assert {name.partition("/")[0] for name in found} == {"student", "assistant", "akd", "ckd", "pkd"}
    assert all(p.grad is None for p in method.parameters())
    assert sum(found.values()).item() == pytest.approx(1)
    objective.terms["pkd/neck"].backward(retain_graph=True)
    own = torch.stack([p.grad.norm() for p in parameters if p.grad is not None]).norm()
    method.zero_grad(set_to_none=True)
    objective.terms["student/cls"].backward(retain_graph=True)
    other = torch.stack([p.grad.norm() for p in parameters if p.grad is not None]).norm()
    torch.testing.assert_close(found["pkd/neck"] / found["student/cls"], own / other)


def test_a_term_that_does_not_reach_the_student_has_no_share():
    method = make()
    terms = run(method, *batch(), Progress(8, 12)).terms
    loose = {
        "student/cls": terms["student/cls"],
        "fixed": torch.tensor(3.0),
        "own": torch.ones(2).requires_grad_().sum(),
    }
    found = gradient_shares(loose, shared_parameters(method.student))
    assert [value.item() for value in found.values()] == [1, 0, 0]
    nothing = gradient_shares({"fixed": torch.tensor(3.0)}, shared_parameters(method.student))
    assert nothing["fixed"].item() == 0


def test_when_they_are_measured():
    method = make(head={"every": 3}, pkd={"every": 2, "until": 0.5})
    assert [step for step in range(60) if due(method, step, 60, 10)] == [0, 12, 24, 36, 48]
    assert [step for step in range(60) if due(make(until=0.5), step, 60, 10)] == [0, 10, 20]
    assert not due(method, 0, 60, 0) and not due(build_method("baseline", tiny("fcos")), 0, 60, 10)


def test_metrics_csv_lists_them_and_the_weights_are_the_same(tiny_run):
    runs = [fit(tiny_run(steps=6, log_every=2, shares_every=every), quiet=True) for every in (0, 4)]
    one, other = (load_file(done.weights["head"]) for done in runs)
    assert all(torch.equal(one[name], other[name]) for name in one)
    without, rows = (list(csv.DictReader((done.folder / "metrics.csv").open())) for done in runs)
    assert not [name for name in without[0] if name.startswith("share/")]
    terms = list(runs[1].results["lanes"]["head"]["terms"])
    assert [name for name in rows[0] if name.startswith("share/")] == [f"share/{name}" for name in terms]
    measured = [row for row in rows if row["share/student/cls"]]
    after = [(row["lane"], row["step"]) for row in measured]  # the readings that follow steps 0 and 4
    assert after == [("head", "1"), ("head", "5")]
    for row in measured:
        shares = [float(row[f"share/{name}"]) for name in terms]
        assert sum(shares) == pytest.approx(1) and min(shares) > 0
