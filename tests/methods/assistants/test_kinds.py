"""Which kinds of assistants there are, what they are made of, and whom they suit."""

import inspect
import re

import pytest
import torch
from torch import nn

from headstart.detectors.detector import Detector
from headstart.detectors.zoo import FAMILIES
from headstart.errors import UserError
from headstart.heads.roi import BoxHead
from headstart.methods import build_method
from headstart.methods.assistants import KINDS, follow, raise_free, suited
from headstart.methods.assistants.kinds import kind_of
from laws.tiny import CLASSES, DENSE, TWO_STAGE
from methods.pairs import make, teacher, tiny

NAMES = {"fasterrcnn": "rcnn", "cascadercnn": "cascade"}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_its_kind(family):
    kind = kind_of(tiny(family).head)
    assert kind == NAMES.get(family, family) and kind in KINDS


def test_a_head_of_ones_own_is_called_by_its_class_and_has_an_assistant_of_it():
    class OddHead(BoxHead):
        pass

    odd = tiny("fasterrcnn")
    odd.head.roi = OddHead(3, 16, [4, 8, 16, 32], hidden=24)
    assert kind_of(odd.head) == "odd"
    assert type(follow(odd, tiny("retinanet")).head) is OddHead


def test_other_heads_are_refused():
    student = tiny("retinanet")
    with pytest.raises(UserError, match=r"needs a student with a dense or a two-stage head; this one has a Linear"):
        build_method("head", Detector(student.backbone, student.neck, nn.Linear(1, 1), CLASSES), teacher("fcos"))


@pytest.mark.parametrize("student", ["retinanet", "fasterrcnn"])
@pytest.mark.parametrize("family", FAMILIES)
def test_following_is_of_the_teachers_make(family, student):
    """Widths and depths of the teacher's head; pyramid and classes of the student; nothing shared."""
    options = {"box_head": "4conv1fc"} if family in TWO_STAGE else {"depth": 3}
    guide, own = tiny(family, 5, hidden=40, **options) if family in TWO_STAGE else tiny(family, 5, **options), None
    own = tiny(student, width=24, classes=("a", "b", "c", "d"))
    assistant = follow(guide, own)
    theirs = getattr(guide.head, "roi", guide.head)
    assert assistant.kind == kind_of(guide.head) and assistant.head.hparams == theirs.hparams
    assert assistant.head.num_classes == 4
    assert assistant.layers == (tuple(theirs.layer_names) if family in DENSE else assistant.layers)
    assert {tuple(a.weight.shape) for a in [assistant.adapter()]} <= {(16, 16, 1, 1), (40, 40)}
    first = assistant.head.cls_tower.convs[0] if family in DENSE else next(assistant.head.modules())
    if family in DENSE:
        assert first.in_channels == 24 and assistant.head.strides == [8, 16, 32, 64, 128]
        assert len(assistant.head.cls_tower) == 3
    else:
        heads = [m for m in assistant.head.modules() if isinstance(m, BoxHead)]
        assert all(h.convs[0].in_channels == 24 and h.strides == own.neck.strides[:4] for h in heads)


def test_a_free_assistant_is_as_wide_and_deep_as_the_students_head():
    dense = raise_free("fcos", tiny("retinanet", depth=3), {})
    assert (dense.width, len(dense.head.cls_tower), dense.head.strides) == (16, 3, [8, 16, 32, 64, 128])
    rcnn = raise_free("rcnn", tiny("retinanet"), {})
    assert (rcnn.width, rcnn.head.strides, rcnn.head.num_classes) == (64, [8, 16, 32, 64], 3)
    other = raise_free("retinanet", tiny("fasterrcnn"), {})
    assert (other.width, len(other.head.cls_tower), other.factors) == (16, 4, [2] * 5)
    assert other.head.strides == [8, 16, 32, 64, 128]


def test_fcos_is_the_improved_one_unless_told_otherwise():
    head = raise_free("fcos", tiny("retinanet"), {}).head
    assert head.normalised and head.centreness_on_box and head.hparams["box_loss"] == "giou"
    assert head.hparams["centre_sampling"] and head.hparams["conv_bias"]
    plain = raise_free("fcos", tiny("retinanet"), {"normalised": False, "depth": 1, "width": 8}).head
    assert not plain.normalised and plain.centreness_on_box and (plain.width, len(plain.cls_tower)) == (8, 1)


def test_options_are_those_of_the_heads():
    assert raise_free("cascade", tiny("retinanet"), {"hidden": 12, "regions": 9, "convs": 1}).width == 12
    assert raise_free("retinanet", tiny("fcos"), {"anchor_scale": 2.0}).head.hparams["anchor_scale"] == 2.0


@pytest.mark.parametrize(
    ("kind", "option", "hint"),
    [
        ("rcnn", "hiden", "did you mean hidden?"),
        ("fcos", "centre_samplin", "did you mean centre_sampling?"),
        ("cascade", "region", "did you mean regions?"),
        ("cascade", "class_agnostic", "did you mean "),
        ("cascade", "stds", "did you mean "),
        ("gfl", "zzz", "expected one of width, depth, anchor_scale, reg_max, selection."),
    ],
)
def test_options_that_do_not_exist_are_refused(kind, option, hint):
    with pytest.raises(UserError, match=re.escape(f"assistant {kind} has no option '{option}'; ")) as refused:
        raise_free(kind, tiny("retinanet"), {option: 1})
    assert hint in str(refused.value) or "expected one of" in str(refused.value)


def test_former_names_of_options_still_work():
    assert raise_free("gfl", tiny("retinanet"), {"reach": 4}).head.reg_max == 4
    assert raise_free("rcnn", tiny("retinanet"), {"agnostic": True, "void": 2}).head.hparams["class_agnostic"]


def test_every_option_of_a_kind_can_be_given():
    """None is offered that its constructor would not take."""
    for kind, made in KINDS.items():
        offered = [p.name for p in inspect.signature(made).parameters.values() if p.kind is p.KEYWORD_ONLY]
        student = tiny("fcos" if kind == "retinanet" else "retinanet")
        first = raise_free(kind, student, {}).head
        given = {name: value for name, value in first.hparams.items() if name in offered}
        assert given and raise_free(kind, student, given).head.hparams == first.hparams


@pytest.mark.parametrize(("kind", "hint"), [("retinet", "did you mean retinanet?"), ("yolo", "expected one of rcnn, ")])
def test_kinds_that_do_not_exist_are_refused(kind, hint):
    for ask in (kind, [kind], {kind: {}}, f"fcos, {kind}"):
        with pytest.raises(UserError, match=re.escape(f"no assistant is called '{kind}'; {hint}")):
            make(None, "gfl", assistants=ask)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_students_own_kind_is_refused(family):
    kind = NAMES.get(family, family)
    with pytest.raises(UserError, match=f"an assistant of kind {kind} is what the student has itself; choose other"):
        make(None, family, assistants=kind)


@pytest.mark.parametrize(
    ("student", "kinds"),
    [
        ("retinanet", ["fcos", "rcnn"]),
        ("fcos", ["retinanet", "rcnn"]),
        ("gfl", ["fcos", "rcnn"]),
        ("fasterrcnn", ["retinanet", "fcos"]),
        ("cascadercnn", ["retinanet", "fcos"]),
    ],
)
def test_auto_is_the_papers_choice(student, kinds):
    assert suited(tiny(student)) == kinds
    assert list(make(None, student, assistants="auto").lessons) == kinds


@pytest.mark.parametrize("given", ["rcnn, fcos", ["rcnn", "fcos"], {"rcnn": {}, "fcos": None}])
def test_kinds_may_be_given_in_three_ways(given):
    assert list(make(None, "retinanet", assistants=given).lessons) == ["rcnn", "fcos"]


def test_a_mapping_has_options_and_weights():
    method = make(None, "retinanet", assistants={"rcnn": {"hidden": 12, "weight": 0.25}, "fcos": {"weight": 2}})
    rcnn, fcos = method.lessons["rcnn"], method.lessons["fcos"]
    assert (rcnn.own, rcnn.assistant.width, fcos.own) == (0.25, 12, 2.0)


def test_fcos_weighs_half_beside_others():
    """And its whole alone: the published weights of its losses."""
    assert make(None, "retinanet", assistants="auto").lessons["fcos"].own == 0.5
    assert make(None, "retinanet", assistants="auto").lessons["rcnn"].own == 1.0
    assert make(None, "retinanet", assistants="fcos").lessons["fcos"].own == 1.0
    assert make("fasterrcnn", "retinanet", assistants="fcos").lessons["fcos"].own == 0.5
    assert make("fcos", "retinanet").lessons["fcos"].own == 1.0


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"rcnn": 0.5}, "assistant rcnn: its options must be a mapping, not '0.5'"),
        ({"rcnn": {"weight": "much"}}, "assistant rcnn: weight must be a number, not 'much'"),
        (True, "assistants must be kinds, auto or a mapping, not 'True'"),
        ("rcnn, fcos, rcnn", "assistant rcnn is named twice"),
    ],
)
def test_other_shapes_are_refused(given, sentence):
    with pytest.raises(UserError, match=re.escape(sentence)):
        make(None, "retinanet", assistants=given)


def test_assistants_beside_a_teacher_may_be_of_its_kind():
    method = make("fasterrcnn", "retinanet", assistants="rcnn")
    assert list(method.lessons) == ["rcnn", "rcnn-2"] and method.lessons["rcnn-2"].teacher is None


def test_what_is_drawn_is_drawn_anew():
    first, second = (raise_free("rcnn", tiny("retinanet"), {}).head.fcs[0].weight for _ in range(2))
    assert not torch.equal(first, second)
