"""What of an assistant starts from the teacher's head, and what does not."""

import copy

import pytest
import torch
from torch import nn

from headstart.classmap import match_classes
from headstart.heads.fcos import FCOSHead
from headstart.heads.gfl import GFLHead
from headstart.heads.init import PRIOR_BIAS
from headstart.heads.reppoints import RepPointsHead
from headstart.heads.retina import RetinaHead
from headstart.heads.roi import BoxHead, BoxHeadOptions
from headstart.methods.assistants import KINDS
from headstart.methods.assistants.init_from_teacher import (
    init_box_head,
    init_dense_head,
    pull_class_layers,
    pull_class_maps,
)
from headstart.methods.assistants.regions import CascadeAssistant
from headstart.teachers import Frozen
from laws.tiny import detector
from methods.pairs import assistant_losses, make, only_assistant, only_name, only_teacher

SAME = match_classes("abc", "abc")
STRIDES = [8, 16, 32, 64, 128]
MERGED = {"car": "vehicle", "truck": "vehicle"}
DENSE = [kind for kind in KINDS if kind not in ("rcnn", "cascade")]


def classes_of(teacher, student):
    return match_classes(teacher, student, {name: goal for name, goal in MERGED.items() if name in teacher})


def test_what_fits_is_copied_and_the_rest_is_named():
    teacher = BoxHead(3, 16, [4, 8, 16, 32], BoxHeadOptions(hidden=24))
    same = teacher.rebuild(16, STRIDES)
    assert init_box_head(same, teacher, SAME) == []
    assert all(torch.equal(v, same.state_dict()[k]) for k, v in teacher.state_dict().items())
    assert same.strides == [8, 16, 32, 64] and same.fcs[0].weight.data_ptr() != teacher.fcs[0].weight.data_ptr()
    wider = teacher.rebuild(20, [8, 16, 32, 64])
    before = wider.fcs[0].weight.clone()
    assert init_box_head(wider, teacher, SAME) == ["fcs.0.weight"]
    assert torch.equal(wider.fcs[1].weight, teacher.fcs[1].weight) and torch.equal(wider.fcs[0].weight, before)
    wider([torch.zeros(1, 20, 8, 8)] * 4, [torch.zeros(2, 4)])  # still a head of its own width


def heads(teacher, student, **options):
    """A head for other classes that started from a teacher's; the teacher's; what is fresh; its state before."""
    torch.manual_seed(0)
    other = BoxHead(len(teacher), 16, [4, 8, 16, 32], BoxHeadOptions(hidden=24, **options))
    for layer in (other.cls, other.reg):
        nn.init.normal_(layer.bias)
    own = other.rebuild(16, [8, 16, 32, 64], len(student))
    before = {name: value.clone() for name, value in own.state_dict().items()}
    return own, other, init_box_head(own, other, classes_of(teacher, student)), before


def test_an_assistant_has_the_students_classes_and_the_teachers_rows():
    own, other, fresh, before = heads(["cat", "zebra", "dog"], ["dog", "fox", "cat"])
    assert fresh == ["1 of 3 classes"] and torch.equal(own.fcs[0].weight, other.fcs[0].weight)
    for mine, theirs in ((0, 2), (2, 0), (3, 3)):  # dog, cat, background
        assert torch.equal(own.cls.weight[mine], other.cls.weight[theirs])
        assert torch.equal(own.cls.bias[mine], other.cls.bias[theirs])
    for mine, theirs in ((0, 2), (2, 0)):
        rows = slice(4 * mine, 4 * mine + 4), slice(4 * theirs, 4 * theirs + 4)
        assert torch.equal(own.reg.weight[rows[0]], other.reg.weight[rows[1]])
        assert torch.equal(own.reg.bias[rows[0]], other.reg.bias[rows[1]])
    assert torch.equal(own.cls.weight[1], before["cls.weight"][1]) and torch.equal(own.reg.bias[4:8], torch.zeros(4))


def test_merged_classes_start_from_the_mean_of_their_rows():
    """Their logit is that of either class raised by log 2: as likely as both together, where they agree."""
    own, other, fresh, _ = heads(["car", "cat", "truck"], ["vehicle", "cat"])
    assert fresh == []
    torch.testing.assert_close(own.cls.weight[0], (other.cls.weight[0] + other.cls.weight[2]) / 2)
    torch.testing.assert_close(own.reg.bias[:4], (other.reg.bias[:4] + other.reg.bias[8:]) / 2)
    other.cls.weight.data[2], other.cls.bias.data[2] = other.cls.weight.data[0], other.cls.bias.data[0]
    classes = classes_of(["car", "cat", "truck"], ["vehicle", "cat"])
    own.load_state_dict(own.state_dict() | pull_class_layers(other, own, classes))
    vectors = torch.randn(5, 24)
    chances = other.cls(vectors).softmax(dim=1)
    goal = torch.stack([chances[:, 0] + chances[:, 2], chances[:, 1], chances[:, 3]], dim=1)
    torch.testing.assert_close(own.cls(vectors).softmax(dim=1), goal)


def test_a_box_for_all_classes_is_copied():
    own, other, fresh, _ = heads(["cat", "dog"], ["dog"], class_agnostic=True)
    assert fresh == [] and torch.equal(own.reg.weight, other.reg.weight) and len(own.cls.bias) == 2


def test_extra_logits_are_not_taken_over():
    own, other, fresh, _ = heads(["cat", "dog"], ["dog", "cat"], extra_logits=3)
    assert fresh == [] and len(own.cls.bias) == 3
    assert torch.equal(own.cls.bias, other.cls.bias[[1, 0, 2]])


def test_a_cascade_starts_stage_by_stage():
    torch.manual_seed(0)
    teacher = Frozen(detector("cascadercnn", classes=tuple("abc")))
    assistant = CascadeAssistant(teacher.model.head.predictor.rebuild(20, STRIDES, 4))
    found = assistant.init_from_teacher(teacher, match_classes("abc", "cabd"))
    assert found == [f"stage{s}.{name}" for s in range(3) for name in ("fcs.0.weight", "1 of 4 classes")]
    heads = teacher.model.head.box_heads
    for own, other in zip(assistant.head.heads, heads, strict=True):
        assert torch.equal(own.fcs[1].weight, other.fcs[1].weight)
        assert torch.equal(own.cls.weight[[0, 1, 2, 4]], other.cls.weight[[2, 0, 1, 3]])
        assert torch.equal(own.reg.weight, other.reg.weight)
    assert not torch.equal(heads[0].fcs[1].weight, heads[1].fcs[1].weight)


# -- dense -------------------------------------------------------------------------------------------------------------


def dense(kind, teacher, student, channels=16):
    torch.manual_seed(0)
    other = kind(len(teacher), 16, STRIDES, kind.Options(width=16, depth=1))
    for parameter in other.parameters():
        nn.init.normal_(parameter)
    own = other.rebuild(channels, STRIDES, len(student))
    before = copy.deepcopy(own.state_dict())
    return own, other, init_dense_head(own, other, classes_of(teacher, student)), before


@pytest.mark.parametrize("kind", DENSE)
def test_a_dense_head_of_the_same_classes_is_copied_whole(kind):
    own, other, fresh, _ = dense(KINDS[kind], "abc", "abc")
    theirs = other.state_dict()
    assert fresh == [] and all(torch.equal(value, theirs[name]) for name, value in own.state_dict().items())


@pytest.mark.parametrize(("kind", "anchors"), [(RetinaHead, 9), (FCOSHead, 1), (GFLHead, 1), (RepPointsHead, 1)])
def test_a_dense_heads_classes_are_found_anchor_by_anchor(kind, anchors):
    """Order, a class that the teacher lacks, and one that the student lacks; boxes belong to no class."""
    own, other, fresh, before = dense(kind, ["cat", "zebra", "dog"], ["dog", "fox", "cat", "owl"])
    assert own.num_anchors == anchors and fresh == ["2 of 4 classes"]
    for anchor in range(anchors):
        mine, theirs = 4 * anchor, 3 * anchor
        for row, goal in ((0, 2), (2, 0)):
            assert torch.equal(own.cls.weight[mine + row], other.cls.weight[theirs + goal])
            assert torch.equal(own.cls.bias[mine + row], other.cls.bias[theirs + goal])
        for row in (1, 3):
            assert torch.equal(own.cls.weight[mine + row], before["cls.weight"][mine + row])
            assert own.cls.bias[mine + row].item() == pytest.approx(PRIOR_BIAS)
    assert torch.equal(own.reg.weight, other.reg.weight) and torch.equal(own.reg.bias, other.reg.bias)
    assert torch.equal(own.cls_tower.convs[0].weight, other.cls_tower.convs[0].weight)


def test_merged_classes_of_a_dense_head():
    """Mean of the rows and log 2, anchor by anchor: the odds of both together, where they agree and are small."""
    own, other, fresh, _ = dense(RetinaHead, ["car", "cat", "truck"], ["vehicle", "cat"])
    assert fresh == []
    rows = other.cls.weight.unflatten(0, (9, 3))
    torch.testing.assert_close(own.cls.weight.unflatten(0, (9, 2))[:, 0], (rows[:, 0] + rows[:, 2]) / 2)
    other.cls.weight.data.unflatten(0, (9, 3))[:, 2] = rows.data[:, 0]
    other.cls.bias.data = torch.linspace(-12, -9, 9).repeat_interleave(3)
    nn.init.normal_(other.cls.weight, std=0.01)
    other.cls.weight.data.unflatten(0, (9, 3))[:, 2] = other.cls.weight.data.unflatten(0, (9, 3))[:, 0]
    classes = classes_of(["car", "cat", "truck"], ["vehicle", "cat"])
    own.load_state_dict(own.state_dict() | pull_class_maps(other, own, classes))
    maps = torch.randn(1, 16, 4, 5)
    chances = other.cls(maps).unflatten(1, (9, 3)).sigmoid()
    goal = torch.stack([chances[:, :, 0] + chances[:, :, 2], chances[:, :, 1]], dim=2)
    torch.testing.assert_close(own.cls(maps).unflatten(1, (9, 2)).sigmoid(), goal, rtol=1e-3, atol=0)


def test_another_width_of_the_pyramid_says_what_is_fresh():
    _, _, fresh, _ = dense(FCOSHead, "abc", "abc", channels=24)
    assert fresh == ["cls_tower.convs.0.weight", "reg_tower.convs.0.weight"]


# -- in the method -----------------------------------------------------------------------------------------------------

PAIRS = [("fasterrcnn", "fcos"), ("cascadercnn", "fasterrcnn"), *((kind, "retinanet") for kind in DENSE[1:])]


@pytest.mark.parametrize(("teacher", "student"), [*PAIRS, ("retinanet", "cascadercnn")])
def test_the_transfer_is_effective_and_the_assistant_trainable(teacher, student):
    """Nothing draws the assistant's weights anew once they were taken over (the RepPoints pair's research code did)."""
    method = make(teacher, student)
    theirs = only_teacher(method).model.head.predictor.state_dict()
    own = only_assistant(method).head.state_dict()
    assert assistant_losses(method)[only_name(method)].fresh == [] and own.keys() == theirs.keys()
    assert all(torch.equal(own[name], theirs[name]) for name in own)
    assert {t.data_ptr() for t in own.values()}.isdisjoint(t.data_ptr() for t in theirs.values())
    assert all(p.requires_grad for p in only_assistant(method).parameters())


@pytest.mark.parametrize(("teacher", "student"), PAIRS[:3])
def test_without_transfer_everything_is_fresh(teacher, student):
    method = make(teacher, student, transfer=False)
    theirs = only_teacher(method).model.head.predictor.state_dict()
    own = only_assistant(method).head.state_dict()
    drawn = [name for name, value in own.items() if value.ndim > 1]
    assert assistant_losses(method)[only_name(method)].fresh == ["everything"]
    assert not any(torch.equal(own[name], theirs[name]) for name in drawn)
