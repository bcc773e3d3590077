"""A student that starts from its teacher's neck or head."""

import pytest
import torch

from headstart.errors import UserError
from headstart.methods import Frozen, build_method
from laws.tiny import detector, run, scene


def make(student, teacher, **options):
    return build_method("fitnet", detector(student), Frozen(detector(teacher, 1)), **options).eval()


def same(one, other):
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)


@pytest.mark.parametrize(
    ("inherit", "parts"), [("none", ""), ("neck", "neck"), ("head", "head"), ("both", "neck head")]
)
@pytest.mark.parametrize("family", ["gfl", "rtmdet", "cascadercnn"])
def test_the_student_starts_from_what_it_inherits(inherit, parts, family):
    method = make(family, family, inherit=inherit)
    own, theirs = method.student, method.teachers[0].model
    assert same(own.neck, theirs.neck) is ("neck" in parts)
    assert same(own.head, theirs.head) is ("head" in parts)
    assert not same(own.backbone, theirs.backbone)
    rows = [(row["from"], row["to"], row["through"]) for row in method.describe()[:-1]]
    assert rows == [(f"teacher {p}", f"student {p}, its start", "copied whole") for p in parts.split()]
    assert "fitnet/neck" in run(method, *scene(size=64)).terms
    assert "guidances.fitnet/start head" not in method.parts()


def test_what_does_not_fit_is_named():
    teacher = Frozen(detector("gfl", 1, classes=("star", "circle", "dog"), depth=1))
    method = build_method("fitnet", detector("gfl"), teacher, inherit="head")
    (told, _) = (row["through"] for row in method.describe())
    assert told.startswith("copied but for ") and told.endswith(" more")
    own, theirs = method.student.head.cls.weight, teacher.model.head.cls.weight
    assert torch.equal(own[2], theirs[0]) and torch.equal(own[0], theirs[1]) and not torch.equal(own[1], theirs[2])


def test_of_several_teachers_the_first_gives():
    one, other = Frozen(detector("gfl", 1), name="one"), Frozen(detector("gfl", 2), name="other")
    method = build_method("fitnet", detector("gfl"), [one, other], inherit="both")
    assert same(method.student.head, one.model.head) and method.describe()[0]["from"] == "teacher one neck"


@pytest.mark.parametrize(
    ("student", "teacher", "inherit", "said"),
    [
        ("gfl", "fasterrcnn", "head", "needs a head like the teacher's.*GFLHead, the teacher a TwoStageHead"),
        ("fcos", "gfl", "both", "needs a head like the teacher's.*FCOSHead, the teacher a GFLHead"),
        ("gfl", "fasterrcnn", "neck", r"needs a neck like the teacher's.*strides \[8, 16, 32, 64, 128\], the teacher"),
        ("fasterrcnn", "cascadercnn", "head", "needs a head like the teacher's"),
    ],
)
def test_what_is_made_in_another_way_cannot_be_inherited(student, teacher, inherit, said):
    with pytest.raises(UserError, match=f"^method fitnet {said}.*use inherit=none"):
        make(student, teacher, inherit=inherit)


def test_another_number_of_anchors_or_width_is_another_way():
    for options in ({"width": 32}, {"classes": ("circle", "dog"), "width": 32}):
        with pytest.raises(UserError, match="needs a head like"):
            build_method("fitnet", detector("gfl"), Frozen(detector("gfl", 1, **options)), inherit="head")
