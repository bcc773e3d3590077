"""What every method keeps, with every student it serves."""

import copy
import math
from dataclasses import replace

import pytest
import torch

from headstart.detectors.weights import load_detector, save_detector
from headstart.detectors.zoo import FAMILIES
from headstart.errors import UserError
from headstart.methods import METHODS, Frozen, build_method, method_options
from headstart.structures import Progress, Targets
from laws.tiny import LESSONS, PAIRS, REFINING, detector, label, lesson, run, scene


@pytest.fixture(params=LESSONS, ids=lambda case: "-".join(map(label, case)), scope="module")
def case(request):
    return request.param


@pytest.fixture(scope="module")
def lived(case):
    """A method after one forward and backward pass, with its objective: for tests that only look."""
    method = lesson(*case)
    objective = run(method, *small())
    objective.total.backward()
    return method, objective


@pytest.fixture
def method(case):
    return lesson(*case)


def small(seed=0):
    return scene(seed, size=64)


def trainable(method):
    return {name: p for name, p in method.named_parameters() if p.requires_grad}


def teacher_state(method):
    return {} if method.teacher is None else method.teacher.model.state_dict(keep_vars=True)


def values(objective):
    return {name: term.item() for name, term in objective.terms.items()}


def test_every_method_is_listed():
    assert set(PAIRS) == set(METHODS) == {name for name, *_ in LESSONS}
    for name, _, teacher, student in LESSONS:
        assert student in PAIRS[name][teacher and teacher.split()[0]]


def test_every_trainable_parameter_gets_a_gradient(lived):
    """So that several processes need not look for unused ones."""
    for name, parameter in trainable(lived[0]).items():
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), name


def test_without_objects_too(method):
    objective = run(method, small()[0], [Targets.empty(), Targets.empty()])
    assert all(bool(torch.isfinite(term)) for term in objective.terms.values())
    objective.total.backward()
    for name, parameter in trainable(method).items():
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), name


def test_every_term_counts(lived):
    """No term is zero on a real batch, each says who learns it, and their sum is what is minimised."""
    _, objective = lived
    assert all(term.ndim == 0 and term.item() > 0 and "/" in name for name, term in objective.terms.items())
    own = [name for name in objective.terms if name.startswith("student/")]
    assert all(any(name.endswith(kind) for name in own) for kind in ("cls", "box"))
    torch.testing.assert_close(objective.total, sum(objective.terms.values()))


def test_the_pairing_table_has_a_row_for_every_distillation_term(lived):
    method, objective = lived
    terms = [name for name in objective.terms if not name.startswith(("student/", "assistant/"))]
    rows = method.describe()
    assert len(rows) >= len(terms) and all({"from", "to", "through", "weight"} <= set(row) for row in rows)


def test_everything_trained_is_student_or_part(lived):
    """A part that is forgotten in `parts` would be trained without being watched over."""
    method, _ = lived
    named = {"student": method.student, **method.parts()}
    owned = {id(p) for module in named.values() for p in module.parameters()}
    assert owned == {id(p) for p in method.parameters()}
    assert sum(len(list(module.parameters())) for module in named.values()) == len(owned)


def test_the_teacher_is_nowhere_in_the_method(lived):
    """Not in its parameters, modules, state or copies: it would be trained, averaged, shared and saved."""
    method, _ = lived
    assert (method.teacher is None) == (not teacher_state(method))
    pointers = {t.data_ptr() for t in teacher_state(method).values()}
    for given in (method, copy.deepcopy(method)):
        assert given.teacher is method.teacher and copy.copy(given.teacher) is given.teacher
        own = [*given.parameters(), *given.buffers(), *given.state_dict().values()]
        assert pointers.isdisjoint({t.data_ptr() for t in own if t.numel()})
        assert method.teacher is None or method.teacher.model not in list(given.modules())
        assert not [name for name in given.state_dict() if name.split(".")[0] == "teacher"]


def test_the_teacher_never_changes_and_the_student_does(method):
    before = {name: (tensor.detach().clone(), tensor._version) for name, tensor in teacher_state(method).items()}
    own = copy.deepcopy(method.state_dict())
    optimizer = torch.optim.SGD(list(trainable(method).values()), lr=0.01)
    for step in range(2):
        method.eval()
        method.train()
        run(method, *small(step), Progress(400 + step, 1000), seed=step).total.backward()
        optimizer.step()
        method.zero_grad()
    for name, tensor in teacher_state(method).items():
        kept, version = before[name]
        assert torch.equal(tensor, kept) and tensor._version == version, name
        assert tensor.grad is None and not tensor.requires_grad, name
    assert method.teacher is None or not any(module.training for module in method.teacher.model.modules())
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
    plain = values(lived[1])
    for name, value in values(objective).items():
        assert math.isfinite(value)
        # Other regions may be drawn from rounded proposals: what depends on them need only be finite.
        if name.startswith("student/") and case[3] not in REFINING:
            assert value == pytest.approx(plain[name], rel=0.3), name
    assert all(bool(p.grad.isfinite().all()) for p in trainable(method).values())


@torch.no_grad()
def test_parts_and_state_round_trip(case, method):
    """What a checkpoint keeps makes another method of the same kind give the same terms."""
    run(method, *small(1), Progress(3, 1000))
    other = lesson(*case, seed=50)
    other.guides = method.guides
    assert list(other.parts()) == list(method.parts())
    for name, part in method.parts().items():
        other.parts()[name].load_state_dict(part.state_dict(), strict=True)
        state = other.parts()[name].state_dict()
        assert all(torch.equal(state[key], value) for key, value in part.state_dict().items())
    assert values(run(method, *small())) != values(run(other, *small()))
    other.load_state_dict(method.state_dict(), strict=True)
    method.eval(), other.eval()
    assert values(run(method, *small())) == values(run(other, *small()))


def test_what_is_shipped_is_the_plain_detector(case, lived, tmp_path):
    """The baseline's parameter names, and the same boxes with and without what training added."""
    method = copy.deepcopy(lived[0]).eval()
    batch, _ = small()
    shipped = load_detector(save_detector(method.student, tmp_path / "student.safetensors"))
    fresh = detector(case[3])
    assert list(shipped.state_dict()) == list(fresh.state_dict())
    assert [n for n, _ in shipped.named_parameters()] == [n for n, _ in fresh.named_parameters()]
    for ours, theirs in zip(method.student.detect(batch), shipped.detect(batch)):
        assert len(ours) > 0
        assert torch.equal(ours.boxes, theirs.boxes) and torch.equal(ours.scores, theirs.scores)
        assert torch.equal(ours.labels, theirs.labels)


@torch.no_grad()
def test_what_stands_in_the_padding_changes_nothing(method):
    """And the same random numbers give the same terms: no method keeps a counter or generator of its own."""
    batch, targets = small()
    dirty = batch.pixels.clone()
    for image, (height, width) in enumerate(batch.sizes):
        dirty[image, :, height:] = 200
        dirty[image, :, :, width:] = 100
    other = replace(batch, pixels=dirty)
    assert values(run(method, batch, targets)) == values(run(method, other, targets))


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


@pytest.mark.parametrize("teacher", [None, *FAMILIES])
@pytest.mark.parametrize("student", FAMILIES)
@pytest.mark.parametrize("name", METHODS)
def test_a_pair_is_served_or_refused_with_an_alternative(name, student, teacher, one_of_each):
    guide = None if teacher is None else Frozen(copy.deepcopy(one_of_each[teacher]))
    if student in PAIRS[name].get(teacher, []):
        assert isinstance(build_method(name, one_of_each[student], guide), METHODS[name])
        return
    with pytest.raises(UserError) as error:
        build_method(name, one_of_each[student], guide)
    sentence = str(error.value)
    assert sentence.startswith(f"method {name} needs")
    usable = {family for t, students in PAIRS[name].items() for family in (*students, t) if family}
    assert any(family in sentence or TITLES.get(family, family) in sentence for family in usable)


@pytest.mark.parametrize("name", [name for name in METHODS if None not in PAIRS[name]])
def test_a_teacher_without_a_class_in_common_is_refused(name, one_of_each):
    teacher, students = next(iter(PAIRS[name].items()))
    other = Frozen(detector(teacher, classes=("cat", "dog")))
    with pytest.raises(UserError, match=r"no class in common: the teacher finds cat, dog; the student circle.*--class"):
        build_method(name, one_of_each[students[0]], other)
