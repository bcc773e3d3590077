"""The presets are the methods that they are named after: the same terms and the same gradients."""

import pytest
import torch

from headstart.errors import UserError
from headstart.methods import Frozen, build_method
from headstart.methods.allstage import allstage
from headstart.methods.criteria.pearson import pearson
from headstart.structures import Progress
from laws.tiny import detector, run, scene

PRESETS = {
    "fitnet": ("fitnet", {"weights": "paper"}, ["fitnet/neck"], {}),
    "pkd": ("pkd", {"resize": "teacher"}, ["pkd/neck"], {"finest": "all"}),
    "score_l2": ("frs", {"feature_weight": 1 / 256, "warmup": 0}, ["frs/neck"], {}),
    "cwd": ("cwd", {"normalise": False}, ["cwd/neck"], {}),
    "defeat_neck": ("defeat", {}, ["defeat/neck/foreground", "defeat/neck/background"], {}),
    "head_row": (
        "head",
        {"weights": "paper", "ckd": False, "warmup": 0, "regions": 16},
        ["akd/rcnn/fc0", "akd/rcnn/fc1"],
        {"regions": 16},
    ),
}
"""Preset -> the method, its options, its terms that are added, and what the preset is told besides."""

CASES = [
    (preset, student, teacher, wide)
    for preset in PRESETS
    for student, teacher, wide in (("retinanet", "fasterrcnn", False), ("retinanet", "fasterrcnn", True))
] + [(preset, "gfl", "gfl", False) for preset in PRESETS if preset != "head_row"]


def pair(student, teacher, wide):
    return detector(student, 0), Frozen(detector(teacher, 1, **({"width": 32} if wide else {})))


def layers(method):
    """The trained parts besides the student, in order."""
    return [p for part in method.parts().values() for p in part.parameters()]


@pytest.mark.parametrize(("preset", "student", "teacher", "wide"), CASES)
def test_a_preset_is_its_method(preset, student, teacher, wide):
    name, options, terms, more = PRESETS[preset]
    ours = build_method("allstage", *pair(student, teacher, wide), preset=preset, **more).eval()
    theirs = build_method(name, *pair(student, teacher, wide), **options).eval()
    copy_parts(theirs, ours)
    found = run(ours, *scene(size=64)).terms
    goals = run(theirs, *scene(size=64)).terms
    (own,) = [value for term, value in found.items() if term.startswith("allstage/")]
    goal = sum(goals[term] for term in terms)
    torch.testing.assert_close(own, goal, rtol=1e-5, atol=1e-6)
    one, other = gradients(own, ours), gradients(goal, theirs)
    assert (one - other).norm() < 1e-3 * other.norm()


def copy_parts(source, goal):
    """Gives adapters and assistants of one method the weights of the other's; both have them in one order."""
    given = layers(source)
    with torch.no_grad():
        if len(given) > len(layers(goal)):  # the bias of PKD's layer, which correlations take out again
            given[1].zero_()
            given = given[:1]
        for own, other in zip(layers(goal), given, strict=True):
            own.copy_(other)


def gradients(value, method):
    wanted = [*method.student.backbone.parameters(), *method.student.neck.parameters()]
    found = torch.autograd.grad(value, wanted, allow_unused=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(wanted, found)])


def test_pkd_compares_four_levels_by_their_number_interpolated_to_the_teachers_size():
    student, teacher = pair("retinanet", "fasterrcnn", False)
    method = build_method("allstage", student, teacher, preset="pkd").eval()
    images, targets = scene(size=64)
    found = run(method, images, targets).terms["allstage/neck"]
    with torch.no_grad():
        own, theirs = student.extract(images).pyramid, teacher.model.extract(images).pyramid
        resized = [
            torch.nn.functional.interpolate(s, size=t.shape[-2:], mode="bilinear") for s, t in zip(own[:4], theirs)
        ]
        goal = 6 * sum(pearson(s, t) for s, t in zip(resized, theirs))
    assert found.item() == pytest.approx(goal.item(), rel=1e-5) and not method.parts()


def test_presets_need_no_history_and_no_warmup():
    for preset in PRESETS:
        method = build_method("allstage", *pair("retinanet", "fasterrcnn", False), preset=preset).train()
        first = run(method, *scene(size=64), Progress(0, 1000)).terms
        assert min(value.item() for term, value in first.items() if term.startswith("allstage/")) > 0, preset


def test_an_option_changes_a_preset():
    plain, more = (
        run(build_method("allstage", *pair("gfl", "gfl", False), preset="cwd", **options).eval(), *scene(size=64)).terms
        for options in ({}, {"shares": 10})
    )
    assert more["allstage/neck"].item() == pytest.approx(2 * plain["allstage/neck"].item(), rel=1e-5)


def test_without_a_teacher_it_is_refused():
    with pytest.raises(UserError, match="method allstage needs a teacher: give --teacher FILE"):
        build_method("allstage", detector("gfl"))


def test_it_says_that_it_is_no_reproduction():
    said = " ".join((allstage.__doc__ or "").split())
    assert "only the abstract is public" in said and "this is not HGD" in said
