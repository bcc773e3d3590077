import pytest
import torch

from headstart.classmap import match_classes
from headstart.methods.criteria.region_classes import RegionClasses
from headstart.structures import CellIndex, RegionOutputs, Regions

CONSTANTS = {"foreground": 2.0, "background": 2.0}


def outputs(logits):
    return RegionOutputs([], logits, torch.zeros(len(logits), 4))


def regions(labels):
    boxes = torch.zeros(len(labels), 4)
    return [Regions(boxes, torch.tensor(labels), boxes, CellIndex.none(len(labels)))]


def terms(teacher, student, labels, own, goal):
    made = RegionClasses(match_classes(teacher, student), lambda _: regions(labels), CONSTANTS)
    return made(outputs(own), outputs(goal), None)


def test_objects_and_background_are_averaged_apart():
    torch.manual_seed(0)
    own, goal = torch.randn(5, 4), torch.randn(5, 4)
    found = terms("abc", "abc", [0, 3, 2, 3, 3], own, goal)
    logs, theirs = own.log_softmax(1), goal.log_softmax(1)
    rows = (theirs.exp() * (theirs - logs)).sum(1)
    assert found["foreground"].item() == pytest.approx(rows[[0, 2]].mean().item(), rel=1e-4)
    assert found["background"].item() == pytest.approx(rows[[1, 3, 4]].mean().item(), rel=1e-4)


def test_classes_that_one_of_them_lacks_count_as_the_rest():
    """Teacher b, x, a; student a, b, c: compared are a, b and the rest (x and background, c and background)."""
    torch.manual_seed(0)
    own, goal = torch.randn(2, 4), torch.randn(2, 4)
    found = terms(["b", "x", "a"], ["a", "b", "c"], [0, 3], own, goal)
    mine, theirs = own.softmax(1), goal.softmax(1)
    p = torch.stack([theirs[:, 2], theirs[:, 0], theirs[:, 1] + theirs[:, 3]], 1)
    q = torch.stack([mine[:, 0], mine[:, 1], mine[:, 2] + mine[:, 3]], 1)
    rows = (p * (p / q).log()).sum(1)
    assert [found[n].item() for n in CONSTANTS] == pytest.approx(rows.tolist(), rel=1e-4)


def test_equal_ones_are_zero_apart_and_gradients_reach_the_student_alone():
    own, goal = torch.randn(3, 3, requires_grad=True), torch.randn(3, 3, requires_grad=True)
    assert terms("ab", "ab", [0, 1, 2], goal, goal)["foreground"].item() == pytest.approx(0, abs=1e-6)
    found = terms("ab", "ab", [2, 2, 2], own, goal)
    sum(found.values()).backward()
    assert found["foreground"].item() == 0 and own.grad.any() and goal.grad is None
