"""Which links a pair has, and what they compare."""

import copy

import pytest
import torch

from detectors.test_custom import Toy
from headstart.detectors.custom import CustomDetector
from headstart.errors import UserError
from headstart.methods import Frozen, build_method
from headstart.methods.adapters import Identity
from laws.tiny import detector, run, scene, teach
from methods.pairs import LATE, frozen, tiny

ABLATION = {
    "neck": {"preset": "pkd"},
    "all stages": {"location": "uniform", "channel": False, "row": False, "macro": "fixed"},
    "micro": {"macro": "fixed"},
    "macro": {"location": "uniform", "channel": False, "row": False},
    "all": {},
    "K4 broken": {"boxes": "independent"},
}
"""The rows of the ablation in docs/methods/allstage.md."""


def made(student, teacher, **options):
    torch.manual_seed(7)
    return build_method("allstage", tiny(student), frozen(teacher), **options).train()


def links(method):
    (guidance,) = method
    return {group: guidance._of(group) for group in guidance.links}


def left(method):
    (guidance,) = method
    return dict(guidance.left)


@pytest.mark.parametrize(
    ("student", "teacher", "groups"),
    [
        ("retinanet", "gfl", ["neck", "dense_cls", "dense_reg", "region", "logit"]),
        ("gfl", "gfl", ["backbone", "neck", "dense_cls", "dense_reg", "region", "logit"]),
        ("retinanet", "fasterrcnn", ["neck", "dense_cls", "region", "logit"]),
        ("fasterrcnn", "fcos", ["neck", "dense_cls", "region", "logit"]),
        ("fasterrcnn", "cascadercnn", ["neck", "dense_cls", "region", "logit"]),
    ],
)
def test_groups_of_a_pair(student, teacher, groups):
    method = made(student, teacher)
    assert list(links(method)) == groups
    assert set(groups) | set(left(method)) == {"backbone", "neck", "dense_cls", "dense_reg", "region", "logit"}


def test_the_backbone_of_another_family_if_asked_for():
    found = links(made("retinanet", "fasterrcnn", stages="backbone, neck"))
    assert [str(link.source) for link in found["backbone"]] == [f"student backbone C{n}" for n in (3, 4, 5)]


def test_a_pair_that_has_none_of_the_groups_is_refused_with_the_reasons():
    with pytest.raises(UserError, match=r"^method allstage needs a group .*dense_reg: the teacher's RPN has one tower"):
        made("retinanet", "fasterrcnn", stages="dense_reg")
    with pytest.raises(UserError, match="an assistant of a dense teacher reads no regions"):
        made("retinanet", "gfl", stages="region", through="assistant", boxes="student")


def test_levels_are_the_finest_four_for_objects_of_one_size():
    (link,) = links(made("retinanet", "fasterrcnn"))["neck"]
    assert link.match.own_strides == (8, 16, 32, 64) and link.match.other_strides == (4, 8, 16, 32)
    (link,) = links(made("retinanet", "gfl", finest="all"))["neck"]
    assert link.match.strides == (8, 16, 32, 64, 128)


def test_adapters_begin_as_the_identity_where_widths_are_equal():
    found = links(made("gfl", "gfl", measure="mse"))
    (link,) = found["neck"]
    conv = link.adapter.conv
    x = torch.randn(1, conv.in_channels, 2, 2)
    assert torch.equal(conv(x), x) and conv.bias is not None
    (pearson,) = links(made("gfl", "gfl"))["neck"]
    assert pearson.adapter.conv.bias is None  # it would never be trained
    (none,) = links(made("gfl", "gfl", adapter="needed"))["neck"]
    assert isinstance(none.adapter, Identity)


def test_adapters_are_trained_and_not_shipped():
    method = made("retinanet", "fasterrcnn")
    (part,) = method.parts().values()
    assert any("adapter" in name for name, _ in part.named_parameters())
    assert list(method.student.state_dict()) == list(tiny("retinanet").state_dict())


@pytest.mark.parametrize("options", ABLATION.values(), ids=ABLATION)
@pytest.mark.parametrize(("student", "teacher"), [("retinanet", "fasterrcnn"), ("fasterrcnn", "cascadercnn")])
def test_every_row_of_the_ablation_can_be_had(student, teacher, options):
    method = made(student, teacher, **options)
    objective = run(method, *scene(size=64))
    objective.total.backward()
    found = {name: v for name, v in objective.terms.items() if name.startswith("allstage/")}
    assert found and all(value.isfinite() and value > 0 for value in found.values())
    assert all(p.grad is not None for p in method.parameters())


@pytest.mark.parametrize("teacher", ["fasterrcnn", "gfl"])
@pytest.mark.parametrize("options", [{}, {"boxes": "student"}, {"location": "objects"}])
def test_a_student_that_is_not_ours(teacher, options):
    toy = Toy()
    method = build_method("allstage", CustomDetector(toy, width=16), frozen(teacher), **options).train()
    terms = run(method, *scene(size=64)).terms
    assert {"allstage/neck", "allstage/region"} <= set(terms) and "allstage/logit" not in terms
    assert left(method)["dense_cls"] == "the student's head is not one of headstart's"
    sum(value for name, value in terms.items() if name.startswith("allstage/")).backward()
    assert toy.fine.weight.grad.count_nonzero()


@pytest.mark.parametrize(("family", "options"), [("gfl", {"depth": 1}), ("fasterrcnn", {})])
def test_oneself_as_the_teacher_gives_no_loss_and_no_gradient(family, options):
    """But for boxes: where two are equal, GIoU has a corner."""
    student = detector(family, **options).eval()
    method = build_method("allstage", student, Frozen(copy.deepcopy(student)), macro="fixed", warmup=0, fade=1).eval()
    terms = run(method, *scene(size=64), LATE).terms
    found = {name.removeprefix("allstage/"): v for name, v in terms.items() if name.startswith("allstage/")}
    assert max(value.item() for value in found.values()) < 1e-3
    for group, value in found.items():
        reached = torch.autograd.grad(value, list(student.parameters()), retain_graph=True, allow_unused=True)
        largest = max(g.abs().max() for g in reached if g is not None)
        assert largest < (torch.inf if group == "logit" else 1e-4), group


def test_unlike_classes_carry_no_logits():
    method = build_method("allstage", tiny("fasterrcnn"), teach("cascadercnn of other classes")).train()
    terms = run(method, *scene(size=64)).terms
    assert terms["allstage/logit"] > 0 and links(method)["logit"][0].criterion.regions.classes.known == (0, 2)
