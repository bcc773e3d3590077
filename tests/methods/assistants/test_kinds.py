"""Which kinds of assistants there are, what they are made of, and whom they suit."""

import re
from dataclasses import fields

import pytest
import torch
from torch import nn

from headstart.detectors.zoo import FAMILIES
from headstart.errors import UserError
from headstart.heads.roi import BoxHead, BoxHeadOptions
from headstart.losses.box import giou
from headstart.methods import Frozen, build_method
from headstart.methods.adapters import ConvAdapter
from headstart.methods.assistants import KINDS, assistant_for, default_assistants, kind_of, standalone_assistant
from laws.tiny import DENSE, TWO_STAGE
from methods.pairs import assistant_losses, imitations, make, tiny

NAMES = {"fasterrcnn": "rcnn", "cascadercnn": "cascade"}


def losses_weight(method, name):
    """The factor of an assistant's own losses."""
    return assistant_losses(method)[name].weight.constant


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_its_kind(family):
    kind = kind_of(tiny(family).head)
    assert kind == NAMES.get(family, family) and kind in KINDS


@pytest.mark.parametrize("who", ["student", "teacher"])
def test_other_heads_are_refused(who):
    odd, usual = tiny("retinanet"), tiny("fcos")
    odd.head = nn.Linear(1, 1)
    student, teacher = (odd, usual) if who == "student" else (usual, odd)
    with pytest.raises(UserError, match=f"needs a {who} with a dense or a two-stage head; this one has a Linear"):
        build_method("head", student, Frozen(teacher))


def test_a_head_of_ones_own_is_called_by_its_class_and_has_an_assistant_of_it():
    class OddHead(BoxHead):
        pass

    odd = tiny("fasterrcnn")
    odd.head.roi = OddHead(3, 16, [4, 8, 16, 32], BoxHeadOptions(hidden=24))
    assert kind_of(odd.head) == "odd"
    assert type(assistant_for(Frozen(odd), tiny("retinanet")).head) is OddHead


@pytest.mark.parametrize("student", ["retinanet", "fasterrcnn"])
@pytest.mark.parametrize("family", FAMILIES)
def test_an_assistant_is_of_its_teachers_make(family, student):
    """Widths and depths of the teacher's head; pyramid and classes of the student; nothing shared."""
    options = {"hidden": 40, "box_head": "4conv1fc"} if family in TWO_STAGE else {"depth": 3}
    teacher, own = Frozen(tiny(family, 5, **options)), tiny(student, width=24, classes=("a", "b", "c", "d"))
    assistant, theirs = assistant_for(teacher, own), teacher.model.head.predictor
    assert assistant.kind == kind_of(teacher.model.head) and assistant.head.hparams == theirs.hparams
    assert assistant.head.num_classes == 4
    adapter = assistant.adapter()
    pointers = {t.data_ptr() for t in theirs.state_dict().values() if t.numel()}
    assert pointers.isdisjoint(t.data_ptr() for t in assistant.state_dict().values())
    if family in DENSE:
        assert assistant.layers == tuple(theirs.layer_names) and assistant.width == 16
        assert isinstance(adapter, ConvAdapter) and tuple(adapter.conv.weight.shape) == (16, 16, 1, 1)
        first = next(layer for layer in assistant.head.cls_tower.modules() if isinstance(layer, nn.Conv2d))
        assert first.in_channels == 24 and len(assistant.head.cls_tower) == 3
        assert assistant.head.strides == theirs.strides
    else:
        assert tuple(adapter.linear.weight.shape) == (40, 40)
        heads = [m for m in assistant.head.modules() if isinstance(m, BoxHead)]
        assert len(heads) == (3 if family == "cascadercnn" else 1)
        assert all(h.convs[0].in_channels == 24 and h.strides == own.neck.strides[:4] for h in heads)


def test_a_standalone_assistant_is_as_wide_and_deep_as_the_students_head():
    dense = standalone_assistant("fcos", tiny("retinanet", depth=3), {})
    assert (dense.width, len(dense.head.cls_tower), dense.head.strides) == (16, 3, [8, 16, 32, 64, 128])
    rcnn = standalone_assistant("rcnn", tiny("retinanet"), {})
    assert (rcnn.width, rcnn.head.strides, rcnn.head.num_classes) == (64, [8, 16, 32, 64], 3)
    other = standalone_assistant("retinanet", tiny("fasterrcnn"), {})
    assert (other.width, len(other.head.cls_tower), other.factors) == (16, 4, (2,) * 5)
    assert other.head.strides == [8, 16, 32, 64, 128]


def test_fcos_is_the_improved_one_unless_told_otherwise():
    head = standalone_assistant("fcos", tiny("retinanet"), {}).head
    assert head.normalised and head.centreness_on_box and head.hparams.improved
    assert head.box_loss is giou and head.assigner.radius == 1.5 and head.cls_tower.convs[0].bias is not None
    plain = standalone_assistant("fcos", tiny("retinanet"), {"normalised": False, "depth": 1, "width": 8}).head
    assert not plain.normalised and plain.centreness_on_box and (plain.width, len(plain.cls_tower)) == (8, 1)


def test_options_are_those_of_the_heads():
    assert standalone_assistant("cascade", tiny("retinanet"), {"hidden": 12, "regions": 9, "convs": 1}).width == 12
    assert standalone_assistant("retinanet", tiny("fcos"), {"anchor_scale": 2.0}).head.hparams.anchor_scale == 2.0


@pytest.mark.parametrize(
    ("kind", "option", "hint"),
    [
        ("rcnn", "hiden", "did you mean hidden?"),
        ("fcos", "centre_samplin", "did you mean centre_sampling?"),
        ("cascade", "region", "did you mean regions?"),
        ("cascade", "class_agnostic", ""),
        ("cascade", "stds", ""),
        ("cascade", "beta", ""),
        ("gfl", "zzz", "expected one of "),
    ],
)
def test_options_that_do_not_exist_are_refused(kind, option, hint):
    """A cascade decides itself what its box heads have for `class_agnostic`, `stds` and `beta`."""
    with pytest.raises(UserError, match=re.escape(f"assistant {kind} has no option '{option}'; ")) as refused:
        standalone_assistant(kind, tiny("retinanet"), {option: 1})
    assert hint in str(refused.value)


def test_former_names_of_options_still_work():
    assert standalone_assistant("gfl", tiny("retinanet"), {"reach": 4}).head.reg_max == 4
    head = standalone_assistant("rcnn", tiny("retinanet"), {"agnostic": True, "void": 2}).head
    assert head.class_agnostic and head.cls.out_features == 3 + 1 + 2


def test_every_option_of_a_kind_can_be_given():
    """None is offered that its head would not take."""
    for kind, made in KINDS.items():
        student = tiny("fcos" if kind == "retinanet" else "retinanet")
        first = standalone_assistant(kind, student, {}).head
        given = {field.name: getattr(first.hparams, field.name) for field in fields(made.Options)}
        assert given and standalone_assistant(kind, student, given).head.hparams == first.hparams


@pytest.mark.parametrize(
    ("kind", "hint"),
    [("retinet", "did you mean retinanet?"), ("quux", "expected one of rcnn, "), ("yolo", "did you mean yolox?")],
)
def test_kinds_that_do_not_exist_are_refused(kind, hint):
    for given in (kind, [kind], {kind: {}}, f"fcos, {kind}"):
        with pytest.raises(UserError, match=re.escape(f"no assistant is called '{kind}'; {hint}")):
            make(None, "gfl", assistants=given)


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
    assert default_assistants(tiny(student)) == kinds
    assert list(assistant_losses(make(None, student, assistants="auto"))) == kinds


@pytest.mark.parametrize("given", ["rcnn, fcos", ["rcnn", "fcos"], {"rcnn": {}, "fcos": None}])
def test_kinds_may_be_given_in_three_ways(given):
    assert list(assistant_losses(make(None, "retinanet", assistants=given))) == ["rcnn", "fcos"]


def test_a_mapping_has_options_and_weights():
    method = make(None, "retinanet", assistants={"rcnn": {"hidden": 12, "weight": 0.25}, "fcos": {"weight": 2}})
    assert (losses_weight(method, "rcnn"), losses_weight(method, "fcos")) == (0.25, 2.0)
    assert assistant_losses(method)["rcnn"].assistant.width == 12


def test_fcos_weighs_half_beside_others():
    """And its whole alone: the published weights of its losses."""
    assert losses_weight(make(None, "retinanet", assistants="auto"), "fcos") == 0.5
    assert losses_weight(make(None, "retinanet", assistants="auto"), "rcnn") == 1.0
    assert losses_weight(make(None, "retinanet", assistants="fcos"), "fcos") == 1.0
    assert losses_weight(make("fasterrcnn", "retinanet", assistants="fcos"), "fcos") == 0.5
    assert losses_weight(make("fcos", "retinanet"), "fcos") == 1.0


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"rcnn": 0.5}, "assistant rcnn: its options must be a mapping, not '0.5'"),
        ({"rcnn": {"weight": "much"}}, "assistant rcnn: weight must be a number, not 'much'"),
        (True, "assistants must be a word or a mapping or a list, not 'True'"),
        ("rcnn, fcos, rcnn", "assistant rcnn is named twice"),
    ],
)
def test_other_shapes_are_refused(given, sentence):
    with pytest.raises(UserError, match=re.escape(f"method head: {sentence}")):
        make(None, "retinanet", assistants=given)


def test_assistants_beside_a_teacher_may_be_of_its_kind():
    method = make("fasterrcnn", "retinanet", assistants="rcnn")
    assert list(assistant_losses(method)) == ["rcnn", "rcnn-2"]
    assert imitations(method, "akd/rcnn") and not imitations(method, "akd/rcnn-2")


def test_what_is_drawn_is_drawn_anew():
    first, second = (standalone_assistant("rcnn", tiny("retinanet"), {}).head.fcs[0].weight for _ in range(2))
    assert not torch.equal(first, second)
