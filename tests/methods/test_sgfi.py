import pytest
import torch

from headstart.errors import UserError
from headstart.methods import Frozen, build_method
from headstart.structures import Progress, Targets
from laws.tiny import detector, run, scene, total

LATE = Progress(500, 1000)


def method_of(student="retinanet", teacher="fasterrcnn", **options):
    taught = Frozen(detector(teacher, 1))
    torch.manual_seed(5)
    return build_method("sgfi", detector(student, 0), taught, **({"regions": 16} | options)).eval()


def terms(method, targets=None):
    images, own = scene(size=64)
    found = run(method, images, targets or own, LATE).terms
    return {name: term for name, term in found.items() if name.startswith("sgfi/")}


def constants(method):
    return {guidance.name: guidance.weight.constant for guidance in method}


@torch.no_grad()
def test_the_published_form_is_the_mean_squared_error_of_the_mixed_crops():
    method = method_of(weights="paper")
    (guidance,) = method
    torch.manual_seed(5)
    step = method.step(*scene(size=64), LATE)
    pair = guidance.match(guidance.source(step), guidance.target(step), step)
    gap = guidance.adapter(pair)[0] - pair.target[0]
    assert terms(method)["sgfi/feature"].item() == pytest.approx(gap.square().mean().item(), rel=1e-5)


def test_weights():
    assert constants(method_of()) == {"sgfi/feature": 0.5}
    assert constants(method_of(weights="paper", contrast=True)) == {"sgfi/feature": 1, "sgfi/contrast": 1}
    given = method_of(contrast=True, feature_weight=3, contrast_weight="4")
    assert constants(given) == {"sgfi/feature": 3, "sgfi/contrast": 4}
    for guidance in (shared := method_of(contrast=True)):
        guidance.share(0.5)
    assert constants(shared) == {"sgfi/feature": 0.25, "sgfi/contrast": 0.5}


@pytest.mark.parametrize(("student", "parts"), [("retinanet", 9), ("fasterrcnn", 11)])
def test_gradients_reach_the_student_and_everything_between(student, parts):
    method = method_of(student, "gfl", contrast=True)
    total(terms(method)).backward()
    between = dict(method.guidances.named_parameters())
    assert all(bool(p.grad.any()) for p in between.values()) and len(between) == parts
    assert all(p.grad is not None for p in method.student.neck.parameters())


def test_images_without_objects_are_finite():
    found = terms(method_of(contrast=True), [Targets.empty(), Targets.empty()])
    assert all(bool(value.isfinite()) for value in found.values())


def test_a_quarter_of_the_regions_are_objects():
    step = method_of("retinanet", regions=16).step(*scene(size=64), LATE)
    assert all(len(r) <= 16 and int((r.labels < 3).sum()) <= 4 for r in step.regions)


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match="method sgfi needs a teacher: give --teacher FILE"):
        build_method("sgfi", detector("gfl"))
    with pytest.raises(UserError, match="contrast_weight is the weight of a term that is off; set contrast=true"):
        method_of(contrast_weight=1)
