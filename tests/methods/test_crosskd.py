"""CrossKD beyond the official numbers: where gradients go, other kinds, widths, classes, and what is refused."""

import copy

import pytest

from headstart.errors import UserError
from headstart.methods import Frozen, build_method
from laws.tiny import CLASSES, DENSE, OTHER_CLASSES, OTHER_NAMES, TWO_STAGE, detector, run, scene, total

FAMILIES = [*DENSE, *TWO_STAGE]


def batch():
    return scene(size=64)


def distilled(method):
    return {name: term for name, term in run(method, *batch()).terms.items() if name.startswith("crosskd")}


def gradients(method, teacher):
    """The parameters of the student that the distillation terms alone reach."""
    total(distilled(method)).backward()
    assert all(p.grad is None for p in teacher.model.parameters())
    return {n for n, p in method.student.named_parameters() if p.grad is not None and p.grad.count_nonzero()}


@pytest.mark.parametrize("tap", [0, 1, 2])
@pytest.mark.parametrize("family", DENSE)
def test_gradient_reaches_the_blocks_below_the_tap_and_nothing_after(family, tap):
    teacher = Frozen(detector(family, 1))
    method = build_method("crosskd", detector(family, 0), teacher, tap=tap).train()
    reached = {name for name in gradients(method, teacher) if name.startswith("head.")}
    assert reached == {
        f"head.{side}_tower.{name}"
        for side in ("cls", "reg")
        for name, _ in getattr(method.student.head, f"{side}_tower").named_parameters()
        if block_of(name, family) < tap
    }


def block_of(name, family):
    """The block of a tower that a parameter belongs to; some have layers for each level, whose number comes first."""
    kind, first, second, *_ = name.split(".")
    by_level = family == "yolox" or (family == "rtmdet" and kind == "norms")
    return int(second if by_level else first)


@pytest.mark.parametrize("student", FAMILIES)
@pytest.mark.parametrize("teacher", FAMILIES)
def test_every_pair_teaches_backbone_and_pyramid_but_no_predictor(teacher, student):
    taught = Frozen(detector(teacher, 1))
    method = build_method("crosskd", detector(student, 0), taught).train()
    reached = gradients(method, taught)
    assert any(name.startswith("backbone.") for name in reached) and any(name.startswith("neck.") for name in reached)
    predictors = ("head.cls.", "head.reg.", "head.rpn", "head.roi.cls", "head.roi.reg")
    assert not [name for name in reached if name.startswith(predictors)]


@pytest.mark.parametrize("family", FAMILIES)
def test_whoever_is_their_own_teacher_has_nothing_to_learn(family):
    student = detector(family).eval()
    method = build_method("crosskd", student, Frozen(copy.deepcopy(student)))
    terms = distilled(method)
    quality = terms.pop("crosskd/quality", None)  # a cross-entropy, whose least value is the entropy of its goal
    assert all(term.abs() < 2e-4 for term in terms.values()) and (quality is None) == (family not in ("atss", "yolox"))


@pytest.mark.parametrize("student", ["gfl", "retinanet", "fasterrcnn"])
@pytest.mark.parametrize("teacher", FAMILIES)
def test_other_widths_and_depths(teacher, student):
    """A layer between where widths differ, and a tap in proportion where towers have another depth."""
    options = {"width": 32} | ({"depth": 4} if teacher in DENSE else {"hidden": 40})
    taught = Frozen(detector(teacher, 1, **options))
    method = build_method("crosskd", detector(student, 0), taught).train()
    assert all(term.isfinite() and term > 0 for term in distilled(method).values())
    parts = [p for part in method.parts().values() for p in part.parameters()]
    total(distilled(method)).backward()
    assert parts and all(p.grad is not None and p.grad.count_nonzero() for p in parts)


def test_two_layers_between_where_two_towers_are_read():
    taught = Frozen(detector("gfl", 1, width=32))
    (cross,) = list(build_method("crosskd", detector("gfl", 0), taught, tap=1))
    assert set(cross.source.adapters) == {"cls", "reg"}
    (cross,) = list(build_method("crosskd", detector("gfl", 0), taught, tap=0))
    assert set(cross.source.adapters) == {"cls"}


@pytest.mark.parametrize("teacher", DENSE)
@pytest.mark.parametrize("name", ["crosskd", "mimic"])
def test_only_classes_that_the_data_has_are_compared(name, teacher):
    """What the teacher says of a class that is left out changes nothing."""
    student = detector("retinanet", 0)
    found = []
    for shift in (0.0, 0.7):
        model = detector(teacher, 1, classes=OTHER_CLASSES)
        for layer in model.head.classifiers().values():
            bias = layer.bias.data.unflatten(0, (-1, len(OTHER_CLASSES)))
            bias[:, OTHER_CLASSES.index("bus")] += shift
        method = build_method(name, copy.deepcopy(student), Frozen(model, OTHER_NAMES)).eval()
        found.append({n: t.item() for n, t in run(method, *batch()).terms.items() if n.startswith(name)})
    assert found[0] == pytest.approx(found[1], rel=1e-5) and len(found[0]) > 1


def test_several_teachers_have_terms_of_their_own():
    teachers = [Frozen(detector("gfl", 1), name="gfl"), Frozen(detector("fasterrcnn", 2), name="fasterrcnn")]
    terms = distilled(build_method("crosskd", detector("retinanet", 0), teachers).train())
    assert set(terms) == {f"crosskd/{name}/{term}" for name in ("gfl", "fasterrcnn") for term in ("cls", "box")}


@pytest.mark.parametrize("teacher", TWO_STAGE)
@pytest.mark.parametrize("student", FAMILIES)
def test_through_an_assistant(student, teacher):
    """The assistant's second layer gets nothing from CrossKD, its first one does; it also learns to detect."""
    taught = Frozen(detector(teacher, 1))
    method = build_method("crosskd", detector(student, 0), taught, through="assistant").train()
    objective = run(method, *batch())
    assert any(name.startswith("assistant/crosskd/") for name in objective.terms)
    total({n: t for n, t in objective.terms.items() if n.startswith("crosskd/")}).backward()
    (losses,) = [g for g in method if g.name == "assistant/crosskd"]
    head = losses.assistant.head if teacher == "fasterrcnn" else losses.assistant.head.heads[0]
    assert head.fcs[0].weight.grad.count_nonzero() and head.fcs[1].weight.grad is None and head.cls.weight.grad is None


def test_a_two_stage_student_can_be_entered_at_every_layer():
    taught = Frozen(detector("fasterrcnn", 1))
    for tap in (0, 1, 2):
        method = build_method("crosskd", detector("fasterrcnn", 0), taught, tap=tap).train()
        reached = {n for n in gradients(method, taught) if n.startswith("head.roi.")}
        assert reached == {f"head.roi.fcs.{layer}.{kind}" for layer in range(tap) for kind in ("weight", "bias")}


@pytest.mark.parametrize(("teacher", "student"), [("swin_t", "mnv2_050"), ("r10", "mnv2_050"), ("mnv2_050", "swin_t")])
def test_across_backbones(teacher, student):
    """The paper's pairs of backbones, here with a pyramid of another width too."""
    taught = Frozen(detector("retinanet", 1, backbone=teacher, width=32))
    method = build_method("crosskd", detector("retinanet", 0, backbone=student), taught).train()
    assert all(term.isfinite() and term > 0 for term in distilled(method).values())
    assert any(name.startswith("backbone.") for name in gradients(method, taught))


def test_uniform_region_counts_every_place_alike():
    taught = Frozen(detector("gfl", 1))
    found = [
        {n: t.item() for n, t in distilled(build_method("crosskd", detector("gfl", 0), taught, region=r)).items()}
        for r in ("released", "uniform")
    ]
    assert all(found[0][name] != found[1][name] for name in found[0])


def test_given_weights_replace_the_published_ones():
    taught = Frozen(detector("gfl", 1))
    plain = distilled(build_method("crosskd", detector("gfl", 0), taught).eval())
    other = distilled(build_method("crosskd", detector("gfl", 0), taught, cls_weight=3, box_weight="2").eval())
    assert other["crosskd/cls"].item() == pytest.approx(3 * plain["crosskd/cls"].item(), rel=1e-5)
    assert other["crosskd/box"].item() == pytest.approx(plain["crosskd/box"].item() / 2, rel=1e-5)


@pytest.mark.parametrize("family", DENSE)
def test_a_batch_without_objects_does_not_explode(family):
    images, targets = scene(size=64, objects=0)
    method = build_method("crosskd", detector(family, 0), Frozen(detector(family, 1))).train()
    terms = run(method, images, targets).terms
    assert all(term.isfinite() and term < 1e5 for term in terms.values())


@pytest.mark.parametrize(
    ("teacher", "student", "options", "sentence"),
    [
        (
            "gfl",
            "gfl",
            {"tap": 3},
            "tap 3 is not to be had of this student: the teacher's head has 2 blocks",
        ),
        ("gfl", "fasterrcnn", {"tap": 1}, "its head is of another kind than the teacher's; use tap 0 or less"),
        ("fasterrcnn", "gfl", {"tap": 1}, "its head is of another kind than the teacher's; use tap 0 or less"),
        ("gfl", "gfl", {"activation": "around"}, "activation must be after or before, not 'around'"),
        ("gfl", "gfl", {"cls_weight": -1}, "cls_weight must be at least 0"),
        ("gfl", "gfl", {"regions": 8}, "regions is for a two-stage teacher, and there is none; leave it out"),
        ("gfl", "gfl", {"through": "assistant"}, "through is for a two-stage teacher, and there is none"),
        ("fasterrcnn", "gfl", {"statistics": False}, "statistics is for a dense teacher, and there is none"),
        ("fasterrcnn", "gfl", {"through": "assistant", "tap": 0}, "an assistant tap must be from 1 to 2, not 0"),
        (None, "gfl", {}, "method crosskd needs a teacher: give --teacher FILE"),
    ],
)
def test_what_cannot_be_is_refused(teacher, student, options, sentence):
    teachers = Frozen(detector(teacher, 1)) if teacher else None
    with pytest.raises(UserError) as error:
        build_method("crosskd", detector(student, 0), teachers, **options)
    assert sentence in str(error.value)


def test_classes_of_the_student_are_not_needed_in_order():
    taught = Frozen(detector("gfl", 1, classes=CLASSES[::-1]))
    assert all(term > 0 for term in distilled(build_method("crosskd", detector("gfl", 0), taught).train()).values())
