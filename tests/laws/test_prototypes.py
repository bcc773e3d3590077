"""The prototypes keep the laws of methods, and do what their papers say."""

import copy

import pytest
import torch

from headstart.errors import UserError
from headstart.methods import METHODS, build_method
from headstart.teachers import Frozen
from laws.test_method_laws import (  # noqa: F401
    lived,
    method,
    newborn,
    test_every_term_counts,
    test_every_trainable_parameter_gets_a_gradient,
    test_everything_trained_is_student_or_part,
    test_finite_under_autocast,
    test_nothing_that_is_imitated_is_dead,
    test_one_pass_of_the_student_and_of_each_teacher_in_a_step,
    test_parts_and_state_round_trip,
    test_the_pairing_table_has_a_row_for_every_distillation_term,
    test_the_teachers_are_nowhere_in_the_method,
    test_the_teachers_never_change_and_the_student_does,
    test_what_is_shipped_is_the_plain_detector,
    test_what_stands_in_the_padding_changes_nothing,
    test_without_objects_too,
)
from laws.tiny import detector, label, make_method, run, scene
from methods.prototypes import crosskd, hint, match_statistics

CASES = [
    ("hint", {}, "gfl", "retinanet"),
    ("hint", {"weight": 2.0}, "cascadercnn", "fasterrcnn"),
    ("crosskd", {}, "gfl", "gfl"),
    ("head+hint", {"head": {"warmup": 0}}, "fasterrcnn", "gfl"),
    ("crosskd+hint", {}, "gfl", "gfl"),
]


@pytest.fixture(scope="module", autouse=True)
def registered():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, "hint", hint)
        patch.setitem(METHODS, "crosskd", crosskd)
        yield


@pytest.fixture(params=CASES, ids=lambda case: "-".join(map(label, case)), scope="module")
def case(request, registered):
    return request.param


def trained_by(terms, made):
    """The student's parameters that the sum of terms moves."""
    parameters = {name: p for name, p in made.student.named_parameters() if p.requires_grad}
    grads = torch.autograd.grad(sum(terms), list(parameters.values()), allow_unused=True)
    return {name for name, grad in zip(parameters, grads) if grad is not None and bool(grad.any())}


@pytest.mark.parametrize("start", [1, 2, 3])
def test_crosskd_trains_the_students_blocks_before_the_teachers_and_none_after(start):
    student, guide = detector("gfl", depth=3), Frozen(detector("gfl", 100, depth=3))
    made = build_method("crosskd", student, guide, start=start).train()
    terms = run(made, *scene(size=64)).terms
    assert set(terms) == {f"student/{name}" for name in ("cls", "box", "distribution")} | {"crosskd/cls", "crosskd/reg"}
    for term in ("cls", "reg"):
        found = trained_by([run(made, *scene(size=64)).terms[f"crosskd/{term}"]], made)
        blocks = {name.split(".")[3] for name in found if name.startswith(f"head.{term}_tower.")}
        assert blocks == {str(block) for block in range(start)}
        inside = {name.split(".")[1] for name in found if name.startswith("head.")}
        assert inside == {f"{term}_tower"} and any(name.startswith("backbone.") for name in found)
    assert all(p.grad is None for p in guide.model.parameters())


def test_crosskd_is_zero_for_a_student_that_is_its_teacher():
    student = detector("gfl").eval()
    made = build_method("crosskd", student, Frozen(copy.deepcopy(student))).eval()
    terms = run(made, *scene(size=64)).terms
    assert terms["crosskd/cls"].item() < 1e-3 and terms["crosskd/reg"].item() < 1e-6
    with torch.no_grad():
        student.head.cls_tower.convs[0].weight.mul_(torch.linspace(0.5, 1.5, 16)[:, None, None, None].flip(0))
        student.head.reg_tower.convs[0].weight.add_(0.1)
    changed = run(made, *scene(size=64)).terms
    assert all(changed[f"crosskd/{name}"] > 10 * terms[f"crosskd/{name}"] for name in ("cls", "reg"))


def test_statistics_are_those_of_the_teacher():
    """Channel by channel, over images and cells; the official numbers with the unbiased deviation."""
    torch.manual_seed(0)
    own, goal = torch.randn(2, 3, 5, 4) * 7 + 3, torch.randn(2, 3, 5, 4) * torch.tensor([1.0, 2, 0.5])[:, None, None]
    found = match_statistics(own, goal)
    torch.testing.assert_close(found.mean((0, 2, 3)), goal.mean((0, 2, 3)), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.std((0, 2, 3)), goal.std((0, 2, 3)), atol=1e-5, rtol=1e-4)
    first = torch.arange(24.0).reshape(2, 2, 2, 3)
    published = torch.tensor([[-3.604591, -1.872679, -0.140766], [1.591146, 3.323059, 5.054971]])
    torch.testing.assert_close(match_statistics(first, first**2 / 10)[0, 0], published, rtol=1e-5, atol=1e-5)
    assert bool(match_statistics(torch.ones(1, 2, 1, 1), torch.ones(1, 2, 1, 1)).isfinite().all())


def test_hint_trains_the_neck_and_the_backbone_alone():
    made = make_method("hint", {}, "gfl", "retinanet")
    terms = run(made, *scene(size=64)).terms
    found = trained_by([term for name, term in terms.items() if name.startswith("hint/")], made)
    assert {name.split(".")[0] for name in found} == {"backbone", "neck"}
    assert [row["through"] for row in made.describe()] == ["1x1 16 -> 16"] * 5
    assert made.describe()[0]["from"] == "teacher neck P3" and made.describe()[0]["weight"] == "0.1 / variance"


def test_two_prototypes_share_their_automatic_weights():
    both = make_method("head+hint", {}, "gfl", "gfl")
    constants = {g.name: g.weight.constant for g in both}
    assert constants["hint/P3"] == pytest.approx(0.5 / 5 / 2) and constants["ckd/gfl/cls"] == pytest.approx(0.125)
    given = make_method("head+hint", {"hint": {"weight": 1.0}}, "gfl", "gfl")
    assert given.guidances["hint/P3"].weight.constant == pytest.approx(0.2)


def test_pairs_that_cannot_be_are_refused():
    with pytest.raises(UserError, match="needs a gfl teacher and a gfl student"):
        make_method("crosskd", {}, "fcos", "gfl")
    with pytest.raises(UserError, match="method hint needs a teacher"):
        make_method("hint", {}, None, "gfl")
