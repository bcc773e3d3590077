"""The student alone."""

import pytest
import torch

from headstart.detectors.zoo import FAMILIES
from headstart.methods import build_method
from headstart.methods.baseline import BaselineOptions, baseline
from laws.tiny import losses, run
from methods.pairs import batch, frozen, tiny


@pytest.mark.parametrize("family", FAMILIES)
def test_its_terms_are_the_students_own_losses(family):
    images, targets = batch()
    terms = run(build_method("baseline", tiny(family)).train(), images, targets).terms
    expected = losses(tiny(family).train(), images, targets)
    assert terms.keys() == {f"student/{name}" for name in expected}
    assert all(torch.equal(terms[f"student/{name}"], value) for name, value in expected.items())


def test_a_teacher_teaches_nothing():
    teacher = frozen("fasterrcnn")
    teacher.model.extract = None  # it is not run
    assert baseline(tiny("retinanet"), [teacher], BaselineOptions()) == []
    method = build_method("baseline", tiny("retinanet"), teacher).train()
    assert list(method) == [] and method.describe() == [] and method.parts() == {}
    assert all(name.startswith("student/") for name in run(method, *batch()).terms)
