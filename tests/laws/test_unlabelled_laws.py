"""An image without labels is never background: it takes no part in any detection loss, whatever the detector."""

import copy

import pytest
import torch

from headstart.structures import ImageBatch, Targets
from laws.tiny import (
    DENSE,
    MIDWAY,
    SERVED,
    TWO_STAGE,
    VARIANTS,
    detector,
    label,
    losses,
    make_method,
    run,
    scene,
    total,
)

PAIRS = [("fasterrcnn", "retinanet"), ("cascadercnn", "fasterrcnn"), ("gfl", "cascadercnn"), ("rtmdet", "yolox")]
"""Teacher and student: every kind of assistant on either kind of student."""


OF_OBJECTS = ("fgfi", "foreground")
"""Terms that are read at objects alone."""


def with_a_stranger(size=96):
    """A scene of two labelled images, and the same with an image without labels before them."""
    batch, targets = scene(size=size)
    other, _ = scene(3, size=size)
    pixels = torch.cat([other.pixels[:1], batch.pixels])
    sizes = [other.sizes[0], *batch.sizes]
    return (batch, targets), (ImageBatch(pixels, sizes, [6, 7, 8], sizes), [Targets.empty(labelled=False), *targets])


def gradients(module, terms):
    module.zero_grad()
    total(terms).backward()
    return {name: p.grad for name, p in module.named_parameters()}


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        room = 1e-5 * float(value.detach().abs().max()) + 1e-7
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=room, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: "-".join(map(label, variant)))
def test_losses_and_gradients_are_those_without_the_image(variant):
    family, options = variant
    built = detector(family, **options).eval()  # a batch norm in training would mix the images
    plain, joined = with_a_stranger()
    expected = losses(built, *plain)
    before = gradients(built, expected)
    found = losses(built, *joined)
    assert_equal(found, expected)
    assert_equal(gradients(built, found), before)
    seen = losses(built, joined[0], [Targets.empty(), *joined[1][1:]])  # as a picture of background it would count
    assert any(abs(seen[name].item() - value.item()) > 1e-4 for name, value in expected.items())


@pytest.mark.parametrize("family", DENSE + TWO_STAGE)
def test_without_any_label_losses_are_zero_and_reach_every_parameter(family):
    built = detector(family)
    batch, _ = scene()
    found = losses(built, batch, [Targets.empty(labelled=False)] * 2)
    assert all(value.item() == 0 for value in found.values())
    for name, gradient in gradients(built, found).items():
        assert gradient is not None and not bool(gradient.count_nonzero()), name


@pytest.mark.parametrize(
    ("teacher", "student", "options"),
    [*((*pair, {}) for pair in PAIRS), *((*pair, {"regions": 8}) for pair in PAIRS[:2])],
    ids=label,
)
def test_assistants_learn_nothing_from_it_either(teacher, student, options):
    method = make_method("head", {**options, "akd": False, "ckd": False}, teacher, student).eval()
    plain, joined = with_a_stranger(64)
    expected, found = (run(method, *images).terms for images in (plain, joined))
    assert any(name.startswith("assistant/") for name in expected)
    assert_equal(found, expected)
    blind = run(method, joined[0], [Targets.empty(labelled=False)] * 3).terms
    assert all(value.item() == 0 for value in blind.values())
    total(blind).backward()
    assert all(p.grad is not None for p in method.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    "case", [case for case in SERVED if case[2] is not None][::3], ids=lambda c: "-".join(map(label, c))
)
def test_every_method_distils_from_it(case):
    """Beside a labelled image every term counts; without any there is no detection loss, and imitation goes on."""
    method = make_method(*case)
    batch, targets = scene(size=64)
    blank = Targets.empty(labelled=False)
    mixed = run(copy.deepcopy(method), batch, [targets[0], blank], MIDWAY).terms
    assert all(value.item() > 0 for value in mixed.values()), mixed
    if case[0] == "allstage":  # its weights are calibrated by the detection losses, so that without any there is none
        return
    objective = run(method, batch, [blank] * 2, MIDWAY)
    assert bool(objective.total.isfinite())
    if case[0] == "pseudo":  # what the teacher finds there has become labels
        assert all(value.item() > 0 for name, value in objective.terms.items() if name.endswith("cls"))
        return
    for name, value in objective.terms.items():
        if name.endswith("/quality") or any(word in name for word in OF_OBJECTS):
            continue  # a quality is one of the student's positives, where its priors are the teacher's
        assert (value.item() == 0) == name.startswith(("student/", "assistant/")), name
    objective.total.backward()
    assert all(p.grad is not None for p in method.parameters() if p.requires_grad)


def test_regions_of_such_an_image_are_the_best_proposals():
    built = detector("fasterrcnn").eval()
    batch, _ = scene()
    state = torch.get_rng_state()
    outputs = built(batch, [Targets.empty(labelled=False)] * 2)
    assert torch.equal(torch.get_rng_state(), state)
    for regions, proposals in zip(outputs.regions, outputs.proposals):
        assert torch.equal(regions.boxes, proposals.boxes[: len(regions)])
        assert bool((regions.labels == built.head.num_classes).all())
