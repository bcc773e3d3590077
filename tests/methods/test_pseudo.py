from dataclasses import dataclass, replace

import pytest
import torch

from headstart.classmap import match_classes
from headstart.errors import UserError
from headstart.methods import Frozen, build_method
from headstart.methods.pseudo import PseudoLabels, PseudoOptions
from headstart.structures import CellIndex, Detections, Progress, Targets
from laws.tiny import CLASSES, OTHER_CLASSES, OTHER_NAMES, detector, losses, scene

A, NEAR_A, B, INSIDE_B = [0.0, 0, 40, 40], [2.0, 0, 40, 40], [50.0, 50, 90, 90], [60.0, 60, 70, 70]


@dataclass
class Finder:
    """A teacher that finds the same in every image: (box, score, label) each."""

    found: list
    classes: tuple = CLASSES
    name: str = "teacher"
    title: str = "teacher"

    def detections(self, batch):
        boxes, scores, labels = zip(*self.found)
        one = Detections(torch.tensor(boxes), torch.tensor(scores), torch.tensor(labels), CellIndex.none(len(scores)))
        return [one] * len(batch)

    def match(self, classes):
        return match_classes(self.classes, classes, OTHER_NAMES if self.classes == OTHER_CLASSES else None)


def truth(*rows, labelled=True):
    """Of (box, label, ignored)."""
    boxes, labels, ignored = zip(*rows) if rows else ((), (), ())
    return Targets(
        torch.tensor(boxes).reshape(-1, 4), torch.tensor(labels, dtype=torch.int64), torch.tensor(ignored) > 0, labelled
    )


def relabel(found, *targets, classes=CLASSES, **options):
    teacher = Finder(found, classes)
    guidance = PseudoLabels(teacher, teacher.match(CLASSES), PseudoOptions(**{"threshold": 0.5, **options}))
    batch, _ = scene()
    return guidance.relabel(replace(batch, sizes=batch.sizes[: len(targets)]), list(targets))


def rows(target):
    return list(zip(target.boxes.tolist(), target.labels.tolist(), target.ignored.tolist()))


FOUND = [(NEAR_A, 0.9, 0), (B, 0.6, 1), (A, 0.4, 2)]


def test_what_is_new_and_sure_enough_is_added():
    (one,) = relabel(FOUND, truth((A, 0, False)))
    assert rows(one) == [(A, 0, False), (B, 1, False)] and one.weights is None and one.labelled
    (other,) = relabel(FOUND, truth((A, 1, False)))  # of another class, so it is another object
    assert rows(other)[1:] == [(NEAR_A, 0, False), (B, 1, False)]
    (all_of_them,) = relabel(FOUND, truth((A, 0, False)), overlap=0.96, threshold=0.4)
    assert rows(all_of_them)[1:] == [(NEAR_A, 0, False), (B, 1, False), (A, 2, False)]


def test_in_the_place_of_the_truth_only_what_is_ignored_stays():
    given = truth((A, 0, False), (B, 1, True))
    (one,) = relabel([(NEAR_A, 0.9, 0), (INSIDE_B, 0.9, 1), (INSIDE_B, 0.9, 2)], given, targets="replace")
    assert rows(one) == [(B, 1, True), (NEAR_A, 0, False), (INSIDE_B, 2, False)]


def test_an_image_without_labels_becomes_a_labelled_one():
    blank = truth(labelled=False)
    labelled = truth((B, 2, False))
    for options in ({}, {"targets": "replace"}):
        one, _ = relabel(FOUND, blank, labelled, **options)
        assert rows(one) == [(NEAR_A, 0, False), (B, 1, False)] and one.labelled
    one, other = relabel(FOUND, blank, labelled, on="unlabelled")
    assert len(one) == 2 and other is labelled
    (nothing,) = relabel([(A, 0.3, 0)], blank)
    assert len(nothing) == 0 and nothing.labelled


def test_thresholds_belong_to_classes():
    teacher = Finder([(A, 0.5, 0), (B, 0.5, 1)])
    guidance = PseudoLabels(teacher, teacher.match(CLASSES), PseudoOptions())
    assert guidance.undecided
    guidance.decide([0.6, 0.5, 0.1])
    assert not guidance.undecided and rows(guidance.relabel(scene()[0], [truth()])[0]) == [(B, 1, False)]
    assert guidance.describe()[0].through == "score >= 0.10 to 0.60, by class"


def test_labels_are_the_students():
    """Star, disc, bus, circle against circle, square, star: merged classes are judged once, unknown ones left out."""
    found = [(A, 0.9, 0), (B, 0.8, 1), (INSIDE_B, 0.7, 2), (B, 0.6, 3)]
    (one,) = relabel(found, truth(), classes=OTHER_CLASSES)
    assert rows(one) == [(A, 2, False), (B, 0, False)]


@pytest.mark.parametrize("student", ["retinanet", "fcos", "gfl", "rtmdet", "yolox"])
def test_a_score_weighs_the_classes_of_its_object(student):
    """Half the score, half the loss of the object's priors: what is left is that of the background."""
    built = detector(student).eval()
    batch, targets = scene()
    term = "objectness" if student == "yolox" else "cls"
    full, half, none = (
        losses(built, batch, [replace(t, weights=torch.full((len(t),), weight)) for t in targets])
        for weight in (1.0, 0.5, 0.0)
    )
    plain = losses(built, batch, targets)
    assert all(torch.equal(plain[name], full[name]) for name in plain)
    torch.testing.assert_close(half[term], (full[term] + none[term]) / 2)
    assert full[term] > none[term] and torch.equal(full["box"], none["box"])


def test_scores_become_weights_where_asked_for():
    (one,) = relabel(FOUND, truth((A, 0, False)), soft=True)
    torch.testing.assert_close(one.weights, torch.tensor([1.0, 0.6]))


@pytest.mark.parametrize("student", ["retinanet", "fasterrcnn"])
def test_the_student_learns_from_the_labels_of_the_step(student):
    """Its losses are those of a plain student with these labels; regions are sampled by them, too."""
    taught = Frozen(detector("gfl", 1))
    method = build_method("pseudo", detector(student), taught, threshold=0.3).eval()
    batch, targets = scene()
    torch.manual_seed(5)
    found = method(batch, targets, Progress(1, 10))
    (guidance,) = method
    joined = guidance.relabel(batch, targets)
    assert sum(map(len, joined)) > sum(map(len, targets))
    expected = losses(method.student, batch, joined)
    assert {name.removeprefix("student/") for name in found.terms} == set(expected)
    assert all(torch.equal(found.terms[f"student/{name}"], value) for name, value in expected.items())
    assert found.monitors["pseudo/objects"] == sum(map(len, joined)) / 2


def test_everybody_beside_it_learns_from_the_same_labels():
    """HEAD's assistant and the regions in `head+pseudo` are those of HEAD alone, given these labels."""
    taught = Frozen(detector("fasterrcnn", 1))
    batch, targets = scene()
    made = []
    for name, options in (("head+pseudo", {"pseudo": {"threshold": 0.3}}), ("head", {})):
        torch.manual_seed(7)
        made.append(build_method(name, detector("retinanet"), taught, **options).eval())
    joined = made[0].guidances["pseudo"].relabel(batch, targets)
    found = []
    for method, labels in zip(made, (targets, joined)):
        torch.manual_seed(5)
        found.append(method(batch, labels, Progress(1, 10)).terms)
    for name, value in found[1].items():
        if name.startswith(("student/", "assistant/")):
            assert torch.equal(found[0][name], value), name


@pytest.mark.parametrize(
    ("student", "teachers", "options", "message"),
    [
        ("gfl", 0, {}, "needs a teacher"),
        ("gfl", 2, {}, "from one teacher, not 2"),
        ("fasterrcnn", 1, {"soft": True}, "leave it out"),
        ("gfl", 1, {"targets": "replace", "on": "unlabelled"}, "none to replace"),
        ("gfl", 1, {"threshold": 1.5}, "threshold"),
        ("gfl", 1, {"threshold": "best"}, "threshold"),
    ],
)
def test_what_cannot_be_is_refused(student, teachers, options, message):
    taught = [Frozen(detector("gfl", 1 + number), name=f"t{number}") for number in range(teachers)]
    with pytest.raises(UserError, match=message):
        build_method("pseudo", detector(student), taught, **options)
