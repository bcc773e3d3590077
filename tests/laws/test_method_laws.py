"""What every method keeps, with every student it serves."""

import copy
import itertools
import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from headstart.detectors.weights import load_detector, save_detector
from headstart.detectors.zoo import FAMILIES
from headstart.errors import UserError
from headstart.methods import METHODS, Frozen, Method, build_method, method_options
from headstart.methods.imitation import Imitation
from headstart.structures import Objective, Targets
from laws.tiny import (
    ALONE,
    CASES,
    DENSE,
    MIDWAY,
    PAIRS,
    REFINING,
    RELABELLING,
    detector,
    label,
    make_method,
    run,
    scene,
)


@dataclass(frozen=True)
class Life:
    """One training step of a method, and what there was before it.

    states  of the method and of each teacher before the step; versions: how often each teacher's tensors were written
    """

    method: Method
    objective: Objective
    states: list[dict[str, Tensor]]
    versions: list[dict[str, int]]


@pytest.fixture(params=CASES, ids=lambda case: "-".join(map(label, case)), scope="module")
def case(request):
    return request.param


@pytest.fixture(scope="module")
def newborn(case):
    """A method that nobody has run: to be copied."""
    return make_method(*case)


@pytest.fixture(scope="module")
def lived(newborn):
    """The same method after a step, its gradients kept: for laws that only look."""
    method = copy.deepcopy(newborn)
    states = [copy.deepcopy(module.state_dict()) for module in (method, *models(method))]
    versions = [{name: t._version for name, t in model.state_dict(keep_vars=True).items()} for model in models(method)]
    method.eval()
    method.train()
    objective = run(method, *small())
    objective.total.backward()
    torch.optim.SGD(trainable(method).values(), lr=1e-4).step()
    return Life(method, objective, states, versions)


@pytest.fixture
def method(newborn):
    return copy.deepcopy(newborn)


def small(seed=0):
    return scene(seed, size=64)


def models(method):
    """The teachers' detectors."""
    return [teacher.model for teacher in method.teachers]


def trainable(method):
    return {name: p for name, p in method.named_parameters() if p.requires_grad}


def values(objective):
    return {name: term.item() for name, term in objective.terms.items()}


def distilled(objective):
    """The terms by which somebody is imitated."""
    return {name: v for name, v in values(objective).items() if not name.startswith(("student/", "assistant/"))}


def test_every_method_is_listed():
    assert set(PAIRS) == set(METHODS) == {part for name, *_ in CASES for part in name.split("+")}
    for name, options, teachers, student in CASES:
        for part, teacher in itertools.product(name.split("+"), (teachers or "").split(" + ")):
            family = teacher.split()[0] if teacher else None
            assert student in PAIRS[part].get(family, FAMILIES if "assistants" in options else [])


def test_every_trainable_parameter_gets_a_gradient(lived):
    """So that several processes need not look for unused ones."""
    for name, parameter in trainable(lived.method).items():
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), name


def test_without_objects_too(method):
    objective = run(method, small()[0], [Targets.empty(), Targets.empty()])
    assert all(bool(torch.isfinite(term)) for term in objective.terms.values())
    objective.total.backward()
    for name, parameter in trainable(method).items():
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), name


def test_one_pass_of_the_student_and_of_each_teacher_in_a_step(method):
    """Whoever asks for what: lanes and guidances that ran the student again would double the price of a step."""
    watched = [method.student.backbone, method.student.neck, method.student.head]
    watched += [part for model in models(method) for part in (model.backbone, model.neck)]
    calls = [0] * len(watched)

    def count(index):
        def add(*_):
            calls[index] += 1

        return add

    handles = [module.register_forward_hook(count(index)) for index, module in enumerate(watched)]
    batch, targets = small()
    run(method, batch, targets)
    assert calls[:3] == [1, 1, 1] and max(calls) == 1
    run(copy.deepcopy(method), batch, targets)  # another lane on the same batch; a copy counts with its original
    for handle in handles:
        handle.remove()
    assert calls[:3] == [2, 2, 2] and max(calls[3:], default=0) <= 1


def test_nothing_that_is_imitated_is_dead(method):
    assert method.problems(*small(), MIDWAY) == []


def test_every_term_counts(lived):
    """No term is zero on a real batch, each says who learns it, and their sum is what is minimised."""
    terms = lived.objective.terms
    assert all(term.ndim == 0 and term.item() > 0 and "/" in name for name, term in terms.items())
    own = [name for name in terms if name.startswith("student/")]
    assert all(any(name.endswith(kind) for name in own) for kind in ("cls", "box"))
    torch.testing.assert_close(lived.objective.total, sum(terms.values()))


def test_the_pairing_table_has_a_row_for_every_distillation_term(lived):
    rows = lived.method.describe()
    assert len(rows) >= len(distilled(lived.objective))
    assert all({"from", "to", "through", "weight"} <= set(row) for row in rows)


def test_everything_trained_is_student_or_part(lived):
    """A part that is forgotten in `parts` would be trained without being watched over."""
    named = {"student": lived.method.student, **lived.method.parts()}
    owned = {id(p) for module in named.values() for p in module.parameters()}
    assert owned == {id(p) for p in lived.method.parameters()}
    assert sum(len(list(module.parameters())) for module in named.values()) == len(owned)


def test_the_teachers_are_nowhere_in_the_method(case, newborn, lived):
    """Not in its parameters, modules, state or copies: they would be trained, averaged, shared and saved."""
    assert len(lived.method.teachers) == (len(case[2].split(" + ")) if case[2] else 0)
    pointers = {t.data_ptr() for model in models(newborn) for t in model.state_dict().values()}
    for given in (newborn, lived.method):  # the one is a copy of the other
        assert all(a is b and copy.copy(a) is a for a, b in zip(given.teachers, newborn.teachers, strict=True))
        own = [*given.parameters(), *given.buffers(), *given.state_dict().values()]
        assert pointers.isdisjoint({t.data_ptr() for t in own if t.numel()})
        assert not {id(model) for model in models(newborn)} & {id(module) for module in given.modules()}
        assert not [name for name in given.state_dict() if "teacher" in name.split(".")]


def test_the_teachers_never_change_and_the_student_does(lived):
    method, (own, *kept) = lived.method, lived.states
    for model, before, versions in zip(models(method), kept, lived.versions, strict=True):
        for name, tensor in model.state_dict(keep_vars=True).items():
            assert torch.equal(tensor, before[name]) and tensor._version == versions[name], name
            assert tensor.grad is None and not tensor.requires_grad, name
        assert not any(module.training for module in model.modules())
    changed = {name for name, tensor in method.state_dict().items() if not torch.equal(tensor, own[name])}
    parts = [name for name, part in method.parts().items() if list(part.parameters())]
    for part in ("student.backbone", "student.neck", "student.head", *parts):
        assert any(name.startswith(f"{part}.") for name in changed), part
    assert any(name.endswith("running_mean") for name in changed)


def test_finite_under_autocast(case, method, lived):
    with torch.autocast("cpu", torch.bfloat16):
        objective = run(method, *small())
    objective.total.backward()
    assert objective.total.dtype == torch.float32
    plain = values(lived.objective)
    for name, value in values(objective).items():
        assert math.isfinite(value)
        # Other regions may be drawn from rounded proposals: what depends on them need only be finite.
        if name.startswith("student/") and case[3] not in REFINING:
            assert value == pytest.approx(plain[name], rel=0.3), name
    assert all(bool(p.grad.isfinite().all()) for p in trainable(method).values())


@torch.no_grad()
def test_parts_and_state_round_trip(case, lived):
    """What a checkpoint keeps makes another method of the same kind give the same terms."""
    method = copy.deepcopy(lived.method)
    other = build_method(case[0], detector(case[3], seed=50), method.teachers, **case[1])
    assert list(other.parts()) == list(method.parts())
    for name, part in method.parts().items():
        other.parts()[name].load_state_dict(part.state_dict(), strict=True)
        state = other.parts()[name].state_dict()
        assert all(torch.equal(state[key], value) for key, value in part.state_dict().items())
    other.load_state_dict(method.state_dict(), strict=True)
    method.eval(), other.eval()
    assert values(run(method, *small())) == values(run(other, *small())) != values(lived.objective)


def test_what_is_shipped_is_the_plain_detector(case, lived, tmp_path):
    """The baseline's parameter names, and the same boxes with and without what training added."""
    method = copy.deepcopy(lived.method).eval()
    batch, _ = small()
    shipped = load_detector(save_detector(method.student, tmp_path / "student.safetensors"))
    fresh = detector(case[3])
    assert list(shipped.state_dict()) == list(fresh.state_dict())
    assert [n for n, _ in shipped.named_parameters()] == [n for n, _ in fresh.named_parameters()]
    for ours, theirs in zip(method.student.detect(batch), shipped.detect(batch)):
        assert len(ours) > 0
        assert torch.equal(ours.boxes, theirs.boxes) and torch.equal(ours.scores, theirs.scores)
        assert torch.equal(ours.labels, theirs.labels)


def test_what_stands_in_the_padding_changes_nothing(method, lived):
    """And the same random numbers give the same terms: no method keeps a counter or generator of its own."""
    batch, targets = small()
    dirty = batch.pixels.clone()
    for image, (height, width) in enumerate(batch.sizes):
        dirty[image, :, height:] = 200
        dirty[image, :, :, width:] = 100
    assert values(run(method, replace(batch, pixels=dirty), targets)) == values(lived.objective)


GENERATING = ["mgd"]
"""Methods that compare what they make of a part of the student's map: something is always missing."""
MIXING = ["sgfi"]
"""Methods that compare a mixture of the student's levels with one of the teacher's: not 0 for equal detectors."""


GIVEN = {"allstage": {"macro": "fixed"}}
"""Weights that are measured would be as large as what they measure is small."""


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", [name for name in METHODS if None not in PAIRS[name] and name not in RELABELLING])
def test_whoever_is_their_own_teacher_has_nothing_to_learn_from_them(name, family):
    """With adapters that change nothing, and a tower of one block, so that each of its layers is also the last.

    Some heads have batch norms: they know the statistics of the batch, and those of an assistant are as the teacher's.
    """
    if family not in PAIRS[name] or name in GENERATING + MIXING:
        return
    options = {"depth": 1} if family in DENSE else {}
    student = detector(family, **options)
    if any(isinstance(module, nn.BatchNorm2d) for module in student.head.modules()):
        for module in student.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        student(small()[0])
    method = build_method(name, student.eval(), Frozen(copy.deepcopy(student)), **GIVEN.get(name, {})).eval()
    adapters = [guidance.adapter for guidance in method if isinstance(guidance, Imitation)]
    layers = [layer for one in adapters for layer in one.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    for layer in layers:
        (nn.init.dirac_ if isinstance(layer, nn.Conv2d) else nn.init.eye_)(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    found = distilled(run(method, *small()))
    if not layers:  # predictions through the same layers; a cross-entropy of qualities ends at their entropy
        assert found and max(value for term, value in found.items() if not term.endswith("/quality")) < 1e-3
        return
    assert len(found) >= sum(any(True for _ in one.parameters()) for one in adapters)
    assert max(found.values()) < 1e-6
    layers[0].weight.data = layers[0].weight.data.roll(1, 0)
    assert max(distilled(run(method, *small())).values()) > 1e-5


@pytest.mark.parametrize("name", METHODS)
def test_unknown_options_are_refused_with_the_nearest(name):
    options = method_options(name)
    wrong = f"{options[0]}x" if options else "weigths"
    with pytest.raises(UserError) as error:
        build_method(name, None, None, **{wrong: 1})
    assert f"method {name} has no option '{wrong}'" in str(error.value)
    assert not options or f"did you mean {options[0]}?" in str(error.value)


@pytest.mark.parametrize("name", METHODS)
def test_unknown_methods_are_refused_with_the_nearest(name):
    with pytest.raises(UserError, match=f"did you mean {name}"):
        build_method(f"{name}s", None, None)


TITLES = {"fasterrcnn": "Faster R-CNN"}


@pytest.fixture(scope="module")
def one_of_each():
    return {family: detector(family) for family in FAMILIES}


@pytest.fixture(scope="module")
def teachers():
    return {None: None, **{family: Frozen(detector(family)) for family in FAMILIES}}


@pytest.mark.parametrize("teacher", [None, *FAMILIES])
@pytest.mark.parametrize("student", FAMILIES)
@pytest.mark.parametrize("name", METHODS)
def test_a_pair_is_served_or_refused_with_an_alternative(name, student, teacher, one_of_each, teachers):
    if student in PAIRS[name].get(teacher, []):
        assert isinstance(build_method(name, one_of_each[student], teachers[teacher]), Method)
        return
    with pytest.raises(UserError) as error:
        build_method(name, one_of_each[student], teachers[teacher])
    sentence = str(error.value)
    assert sentence.startswith(f"method {name} needs")
    if teacher is None:
        assert "--teacher FILE" in sentence
        assert all(f"--{option} {value}" in sentence for option, value in ALONE.get(name, {}).items())
        return
    usable = {family for t, students in PAIRS[name].items() for family in (*students, t) if family}
    assert any(family in sentence or TITLES.get(family, family) in sentence for family in usable)


BLIND = ["pkd", "cwd", "fitnet", "fgd", "mgd", "defeat", "fgfi", "sgfi"]
"""Methods to which classes do not matter."""


@pytest.mark.parametrize("name", [name for name in METHODS if None not in PAIRS[name] and name not in BLIND])
def test_a_teacher_without_a_class_in_common_is_refused(name, one_of_each):
    teacher, students = next(iter(PAIRS[name].items()))
    other = Frozen(detector(teacher, classes=("cat", "dog")))
    with pytest.raises(UserError, match=r"no class in common: the teacher finds cat, dog; the student circle.*--class"):
        build_method(name, one_of_each[students[0]], other)
