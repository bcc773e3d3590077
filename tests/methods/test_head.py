"""HEAD: what its terms are, whom they teach, and how much they count."""

import copy

import pytest
import torch
from torch import nn

from headstart.detectors.detector import Detector
from headstart.detectors.zoo import build_detector
from headstart.errors import UserError
from headstart.methods import Frozen, build_method
from headstart.methods.adapters import LinearAdapter, PerAnchorAdapter
from headstart.methods.assistants import AssistantTap, TeacherLayer
from headstart.methods.head import ckd_places, head
from headstart.methods.head_options import HeadOptions
from headstart.methods.pairing import CellToCell, CellToRegion, RegionToCell, RegionToRegion
from headstart.methods.step import Step
from headstart.methods.weight import Schedule, TargetVariance
from headstart.necks.fpn import FPN
from headstart.structures import CellIndex, Progress, Regions, Targets
from laws.tiny import CLASSES, DENSE, TWO_STAGE, run, stir
from methods.pairs import (
    CASES,
    LATE,
    STANDALONE,
    WITH_TEACHER,
    assistant_losses,
    at_steps,
    batch,
    cells_of,
    fix_norms,
    frozen,
    imitations,
    make,
    make_case,
    make_identity,
    only_assistant,
    only_name,
    only_teacher,
    tiny,
    watch,
)

START = Progress(0, 90_000)
END = Progress(90_000, 90_000, first_drop=58_640)


def rebuild_for(built, strides, channels=16):
    """A detector's head again for a pyramid of other strides, with new weights."""
    made = built.head
    if made.predicts_at == "cells":
        return made.rebuild(channels, strides)
    made.rpn, made.roi = made.rpn.rebuild(channels, strides), made.roi.rebuild(channels, strides)
    made.strides = made.rpn.strides
    return made


# -- a student on the very pyramid of its teacher ----------------------------------------------------------------------


def on_the_teachers_pyramid(teacher, student):
    """A method whose student reads what its teacher reads, with adapters of AKD that change nothing."""
    model = tiny(teacher, 3)
    made = rebuild_for(tiny(student), model.neck.strides)
    built = Detector(copy.deepcopy(model.backbone), copy.deepcopy(model.neck), made, CLASSES, pad=model.pad)
    method = build_method("head", stir(built).eval(), Frozen(model), weights="paper", warmup=0)
    for imitation in imitations(method, "akd").values():
        make_identity(imitation.adapter)
    return method.eval()


TEACHERS = {**dict.fromkeys(DENSE, "fasterrcnn"), "fasterrcnn": "retinanet", "cascadercnn": "fcos"}
IDENTITY = [*TEACHERS.items(), *((teacher, "retinanet") for teacher in ("gfl", "atss", "fasterrcnn", "cascadercnn"))]


@pytest.mark.parametrize(("teacher", "student"), IDENTITY)
def test_an_assistant_on_the_teachers_pyramid_has_nothing_to_learn(teacher, student):
    """Whatever its kind: its layers and its predictions are the teacher's, AKD is 0, CKD is not."""
    method = on_the_teachers_pyramid(teacher, student)
    assistant, model = only_assistant(method), only_teacher(method).model
    terms, step, outputs = watch(method)
    theirs = assistant.teacher_layers(only_teacher(method), step.batch, outputs)
    assert theirs.keys() == outputs.layers.keys() == set(assistant.layers)
    for name, maps in theirs.items():
        for mine, other in zip(outputs.layers[name], maps, strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-3 * other.abs().max().item())
    akd = [term.item() for name, term in terms.items() if name.startswith("akd/")]
    ckd = [term.item() for name, term in terms.items() if name.startswith("ckd/")]
    assert len(akd) == len(assistant.layers) and max(akd) < 1e-7 * min(ckd)
    mine, theirs = step.features.pyramid, model.extract(step.batch)
    if model.head.predicts_at == "cells":
        own = assistant.head.resume(mine, mine, start=0, sizes=step.batch.sizes)
        other = model.head(theirs, step.batch.sizes)
        predicted = [*zip(own.cls + own.reg, other.cls + other.reg, strict=True)]
    else:
        boxes = [[r.boxes for r in regions] for regions in outputs.regions]
        heads = getattr(assistant.head, "heads", [assistant.head]), model.head.box_heads
        predicted = [(a(mine, b).cls, c(theirs.pyramid, b).cls) for a, c, b in zip(*heads, boxes, strict=True)]
    for a, b in predicted:
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3 * b.abs().max().item())
    with torch.no_grad():  # and it is not blind
        for parameter in assistant.head.parameters():
            parameter.mul_(1.1)
    least = max(1e-9, 1e3 * max(akd))  # untrained batch norms leave little of a map, and little is wrong then
    assert all(term.item() > least for name, term in watch(method)[0].items() if name.startswith("akd/"))


def test_an_assistant_is_of_its_teachers_make():
    """Convolutions, norms and all; what it imitates are the layers that the teacher has."""
    method = build_method("head", tiny("fcos"), frozen("fasterrcnn", box_head="4conv1fc")).train()
    assistant = only_assistant(method)
    assert assistant_losses(method)["rcnn"].fresh == [] and len(assistant.head.norms) == 4
    terms = run(method, *batch()).terms
    assert [name for name in terms if name.startswith("akd/")] == ["akd/rcnn/fc0"] and terms["ckd/rcnn"].item() > 0
    terms["akd/rcnn/fc0"].backward()
    assert all(bool(conv.weight.grad.any()) for conv in assistant.head.convs)
    assert [row["from"] for row in method.describe()] == ["ground truth", "teacher fc0", "teacher fc0"]


# -- terms by hand -----------------------------------------------------------------------------------------------------


def own_vectors(step):
    """The last layer of a two-stage student's (first) box head at the regions that it sampled."""
    return step.outputs.first.roi.hidden[-1].clamp(min=0)


def target_of(method, step, outputs):
    """The layers that CKD imitates: of the teacher, or of the assistant that learns without one."""
    if not method.teachers:
        return outputs.layers
    return only_assistant(method).teacher_layers(only_teacher(method), step.batch, outputs)


def by_hand(method, step, target):
    """{term: [(what the student's side is after the adapter, what it should be)]}, level by level."""
    found, assistant = {}, only_assistant(method)
    for name, imitation in imitations(method, "ckd").items():
        kind, adapter = type(imitation.match), imitation.adapter
        if kind is RegionToRegion:
            (vectors,) = target[assistant.target_layer]
            found[name] = [(own_vectors(step) @ adapter.linear.weight.T, vectors)]
        elif kind is CellToCell:
            side = "reg" if name.endswith("/reg") else "cls"
            trace = getattr(step.outputs, f"{side}_trace")
            block = (len(trace) - 1) // 2 if method.teachers else len(trace) - 1
            weight, bias = adapter.conv.weight[:, :, 0, 0], adapter.conv.bias
            own = [torch.einsum("bchw,dc->bdhw", x.clamp(min=0), weight) + bias[:, None, None] for x in trace[block]]
            found[name] = [*zip(own, target[f"{side}_tower"], strict=True)]
        else:
            found[name] = [rows_by_hand(adapter, *traced_by_hand(kind, assistant, step, target))]
    return found


def traced_by_hand(kind, assistant, step, target):
    """The student's vectors, the teacher's, and the anchor of each region that has a cell, one by one."""
    rows = cells_of(step.regions)
    if kind is CellToRegion:
        tower = step.outputs.cls_trace[-1]
        mine = [tower[level][image, :, y, x].clamp(min=0) for _, image, level, y, x, _ in rows]
        theirs = [target[assistant.target_layer][0][row] for row, *_ in rows]
    else:
        vectors, parts = own_vectors(step), assistant.factors
        mine = [vectors[row] for row, *_ in rows]
        theirs = [
            target["cls_tower"][level][image, :, y // parts[level], x // parts[level]]
            for _, image, level, y, x, _ in rows
        ]
    return mine, theirs, [anchor for *_, anchor in rows]


def rows_by_hand(adapter, mine, theirs, anchors):
    linear, width = adapter.linear, len(theirs[0])
    if isinstance(adapter, PerAnchorAdapter):
        layers = list(zip(linear.weight.split(width), linear.bias.split(width)))
        own = [layers[anchor][0] @ row + layers[anchor][1] for row, anchor in zip(mine, anchors)]
    else:
        own = [linear(row) for row in mine]
    return torch.stack(own), torch.stack(theirs)


def akd_by_hand(method, target, outputs):
    """The same for AKD."""
    found = {}
    for layer in only_assistant(method).layers:
        name = f"akd/{only_name(method)}/{layer}"
        (linear,) = method.guidances[name].adapter.children()
        weight, bias = linear.weight.flatten(1), linear.bias
        own = [(x.movedim(1, -1) @ weight.T + bias).movedim(-1, 1) for x in outputs.layers[layer]]
        found[name] = [*zip(own, target[layer], strict=True)]
    return found


PUBLISHED = {"cell-region": 2.0, "cell-region-cascade": 2.0, "region-region": 2.0, "region-region-rcnn": 2.0,
             "cell-region-standalone": 1.3, "cell-region-standalone-cascade": 1.3, "region-region-standalone": 1.3,
             "region-region-standalone-rcnn": 1.3}  # fmt: skip
BY_ANCHOR = [case for case, (kind, _) in CASES.items() if kind in (CellToRegion, RegionToCell)]


@torch.no_grad()
@pytest.mark.parametrize("case", [*CASES, *(f"{case} per_anchor" for case in BY_ANCHOR)])
def test_terms_by_hand_at_the_published_constants(case):
    """Squared errors: the mean of each level, summed over the levels; 1.0 where no other number was published."""
    name, _, per_anchor = case.partition(" ")
    options = {"adapter": per_anchor} if per_anchor else {}
    method = make_case(name, weights="paper", **options).eval()
    terms, step, outputs = watch(method)
    target = target_of(method, step, outputs)
    akd = akd_by_hand(method, target, outputs) if method.teachers else {}
    expected = {key: (PUBLISHED.get(name, 1.0), levels) for key, levels in by_hand(method, step, target).items()}
    constant = 2.0 if only_assistant(method).kind == "rcnn" else 1.0
    expected |= {key: (constant, levels) for key, levels in akd.items()}
    found = {key: value for key, value in terms.items() if key.startswith(("akd/", "ckd/"))}
    assert found.keys() == expected.keys()
    for key, (constant, levels) in expected.items():
        value = constant * sum((mine - theirs).square().mean() for mine, theirs in levels)
        assert value > 0
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=0)


def variances(levels):
    """The mean variance of the target, and of what is compared with it."""
    sides = zip(*levels)
    own, theirs = (sum(x.var(correction=0) for x in side) / len(levels) for side in sides)
    return theirs, own


@torch.no_grad()
@pytest.mark.parametrize(
    "case", ["region-region", "region-cell", "cell-cell", "cell-region", "cell-cell-standalone",
             "cell-region-standalone"]
)  # fmt: skip
def test_auto_averages_levels_in_units_of_variance(case):
    """1 for all AKD layers together, 0.5 for CKD; the first step measures the variance.

    It is the target's, at least a tenth of the student's; without a teacher, the larger one of both sides.
    """
    method = fix_norms(make_case(case, warmup=0))
    terms, step, outputs = watch(method, START)
    target, taught = target_of(method, step, outputs), bool(method.teachers)
    ckd = by_hand(method, step, target)
    akd = akd_by_hand(method, target, outputs) if taught else {}
    for share, group in ((0.5 / len(ckd), ckd), (1 / max(len(akd), 1), akd)):
        for name, levels in group.items():
            gap = sum((mine - theirs).square().mean() for mine, theirs in levels) / len(levels)
            theirs, own = variances(levels)
            unit = max(theirs, own * (0.1 if taught else 1.0))
            torch.testing.assert_close(terms[name], share * gap / unit, rtol=1e-4, atol=0)


@pytest.mark.parametrize("case", ["cell-region", "region-cell", "cell-region-standalone", "region-cell-standalone"])
def test_regions_that_are_all_ground_truth_leave_zero_and_a_gradient(case, monkeypatch):
    method = make_case(case)
    sampled = Step._sampled.func

    def without_cells(step):
        regions, rows = sampled(step)
        return [Regions(r.boxes, r.labels, r.matched, CellIndex.none(len(r))) for r in regions], rows

    monkeypatch.setattr(Step, "_sampled", property(without_cells))
    terms = run(method, *batch(), LATE).terms
    ((name, imitation),) = imitations(method, "ckd").items()
    assert terms[name].item() == 0
    terms[name].backward()
    assert all(p.grad is not None and not p.grad.any() for p in imitation.parameters())


# -- where CKD reads, and through what ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("depth", "block"), [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2)])
def test_the_middle_block_imitates_a_dense_teacher(depth, block):
    """The second of four, in either tower; without a teacher the last of the classification tower."""
    student, assistant = tiny("retinanet", depth=depth), only_assistant(make("fcos", "retinanet"))
    assert ckd_places(student, assistant, taught=True) == {
        "/cls": (f"cls_tower/{block}", "cls_tower"),
        "/reg": (f"reg_tower/{block}", "reg_tower"),
    }
    assert ckd_places(student, assistant, taught=False) == {"": (f"cls_tower/{depth - 1}", "cls_tower")}


def test_the_last_block_and_the_last_layer_imitate_elsewhere():
    rcnn, fcos = only_assistant(make("fasterrcnn", "retinanet")), only_assistant(make("fcos", "retinanet"))
    for taught in (True, False):
        assert ckd_places(tiny("retinanet", depth=3), rcnn, taught=taught) == {"": ("cls_tower/2", "fc1")}
        for student in TWO_STAGE:
            assert ckd_places(tiny(student), rcnn, taught=taught) == {"": ("region/fc1", "fc1")}
            assert ckd_places(tiny(student), fcos, taught=taught) == {"": ("region/fc1", "cls_tower")}


def ckd_adapter(case, **options):
    (imitation,) = imitations(make_case(case, **options), "ckd").values()
    return imitation.adapter


def test_adapters_are_as_published():
    """Without a bias where both read the same regions; one convolution for all levels; one layer per anchor shape."""
    assert ckd_adapter("region-region").linear.bias is None
    assert ckd_adapter("cell-region", adapter="per_anchor").num_anchors == 9
    assert ckd_adapter("cell-region-fcos", adapter="per_anchor").num_anchors == 1
    assert ckd_adapter("region-cell", adapter="per_anchor").num_anchors == 3
    assert type(ckd_adapter("cell-region")) is LinearAdapter and ckd_adapter("cell-region").linear.bias is not None
    found = imitations(make_case("cell-cell"), "ckd")
    assert list(found) == ["ckd/reppoints/cls", "ckd/reppoints/reg"]
    assert [tuple(i.adapter.conv.weight.shape) for i in found.values()] == [(16, 16, 1, 1)] * 2


def test_the_first_stage_of_a_cascade_guides():
    """And of a cascade student it is the first that learns, from its last layer."""
    for case in ("cell-region-cascade", "region-region"):
        (imitation,) = imitations(make_case(case), "ckd").values()
        assert isinstance(imitation.target, TeacherLayer) and imitation.target.layer == "stage0_fc1"
    method = make_case("region-region-rcnn")
    (imitation,) = imitations(method, "ckd").values()
    assert imitation.target.layer == "fc1" and imitation.source.name == "region/fc1"
    _, step, _ = watch(method)
    assert own_vectors(step).shape == (sum(map(len, step.regions)), 24)
    assert step.regions is step.outputs.stages[0].regions


def test_without_a_teacher_ckd_is_from_the_detached_assistant():
    for case in STANDALONE:
        method = make_case(case)
        for imitation in imitations(method, "ckd").values():
            assert isinstance(imitation.target, AssistantTap) and imitation.target.detached
            assert imitation.target.assistant is only_assistant(method)


# -- whom each term teaches --------------------------------------------------------------------------------------------

PYRAMID = {"backbone", "neck"}
TAUGHT_BY_CKD = {
    (CellToRegion, False): {"cls_tower.0", "cls_tower.1"},
    (CellToRegion, True): {"cls_tower.0", "cls_tower.1"},
    (RegionToRegion, False): {"fcs"},
    (RegionToRegion, True): {"fcs"},
    (RegionToCell, False): {"fcs"},
    (RegionToCell, True): {"fcs"},
    (CellToCell, False): {"cls_tower.0"},  # the first of two blocks; `ckd/.../reg` the other tower's
    (CellToCell, True): {"cls_tower.0", "cls_tower.1"},
}
"""What of the student's own head CKD reaches, by correspondence and whether the assistant has no teacher."""


def group(name):
    """The part of the method that a parameter belongs to: of a guidance its name, of the student a part of it."""
    first, *rest = name.split(".")
    if first == "guidances":
        return rest[0]
    if rest[0] != "head":
        return rest[0]
    parts = rest[1:]
    if parts[0] == "roi":
        parts = parts[1:] if parts[1] != "heads" else (parts[3:] if parts[2] == "0" else ["later"])
    if parts[0] in ("cls_tower", "reg_tower"):
        return f"{parts[0]}.{parts[2]}"
    return parts[0] if parts[0] in ("rpn", "fcs", "cls", "reg", "later") else "other"


def reached(terms, parameters):
    """The groups in which the sum of terms moves anything."""
    grads = torch.autograd.grad(sum(terms), list(parameters.values()), allow_unused=True, retain_graph=True)
    return {group(name) for name, grad in zip(parameters, grads) if grad is not None and bool(grad.any())}


@pytest.mark.parametrize("case", CASES)
def test_whom_each_term_teaches(case):
    """AKD never the student's head; CKD of it what imitates, and never the assistant; the assistants' losses the
    pyramid; nobody the teacher, nor through boxes what proposed them."""
    method = make_case(case)
    name, (kind, _) = only_name(method), CASES[case]
    terms = run(method, *batch(), LATE).terms
    parameters = {name: p for name, p in method.named_parameters() if p.requires_grad}
    own = {group(name) for name in parameters if name.startswith("student.")}
    of = lambda prefix: [term for name, term in terms.items() if name.startswith(prefix)]  # noqa: E731
    assert reached(of("student/"), parameters) == own
    assert reached(of("assistant/"), parameters) == PYRAMID | {f"assistant/{name}"}
    for akd in imitations(method, "akd"):
        assert reached([terms[akd]], parameters) == PYRAMID | {f"assistant/{name}", akd}, akd
    found = TAUGHT_BY_CKD[kind, case in STANDALONE]
    for ckd in imitations(method, "ckd"):
        imitating = {part.replace("cls", "reg") for part in found} if ckd.endswith("/reg") else found
        assert reached([terms[ckd]], parameters) == PYRAMID | imitating | {ckd}, ckd
    layers = list(only_assistant(method).layers) if case in WITH_TEACHER else []
    assert list(imitations(method, "akd")) == [f"akd/{name}/{layer}" for layer in layers]
    assert imitations(method, "ckd") and set(imitations(method, "ckd")) | set(imitations(method, "akd")) <= set(terms)
    sum(terms.values()).backward()
    for teacher in method.teachers:
        assert all(p.grad is None and not p.requires_grad for p in teacher.model.parameters())


UP_TO = {
    "cell-region": {"fc0": {"fcs.0"}, "fc1": {"fcs.0", "fcs.1"}},
    "region-region": {"stage0_fc1": {"heads.0.fcs"}, "stage1_fc0": {"heads.1.fcs"}, "stage2_fc1": {"heads.2.fcs"}},
    "region-cell": {"cls_tower": {"cls_tower"}, "reg_tower": {"reg_tower"}},
    "cell-cell": {
        "cls_tower": {"cls_tower"},
        "reg_tower": {"reg_tower"},
        "initial_conv": {"reg_tower", "initial_conv"},
        "cls_conv": {"cls_tower", "reg_tower", "initial_conv", "initial", "cls_conv"},
        "reg_conv": {"reg_tower", "initial_conv", "initial", "reg_conv"},
    },
}


@pytest.mark.parametrize("case", UP_TO)
def test_akd_teaches_the_assistant_up_to_its_layer(case):
    """No stage of a cascade through the boxes of the one before."""
    method = make_case(case)
    terms, parameters = run(method, *batch(), LATE).terms, dict(only_assistant(method).head.named_parameters())
    for layer, parts in UP_TO[case].items():
        term = terms[f"akd/{only_name(method)}/{layer}"]
        grads = torch.autograd.grad(term, list(parameters.values()), allow_unused=True, retain_graph=True)
        taught = {name for name, grad in zip(parameters, grads) if grad is not None and bool(grad.any())}
        assert all(any(name.startswith(part) for part in parts) for name in taught), layer
        assert all(any(name.startswith(part) for name in taught) for part in parts), layer


# -- one sampling ------------------------------------------------------------------------------------------------------


class Watched:
    """Records the boxes that every box head of a method and its teacher pools from."""

    def __init__(self, method):
        self.boxes = {}
        assistant = only_assistant(method).head
        self._watch("assistant", getattr(assistant, "heads", [assistant]))
        self._watch("teacher", only_teacher(method).model.head.box_heads)
        self._watch("student", method.student.head.box_heads)

    def _watch(self, who, heads):
        for index, box_head in enumerate(heads):
            box_head.pool = self._recording(box_head.pool, (who, index))

    def _recording(self, pool, key):
        def record(pyramid, boxes):
            self.boxes[key] = boxes
            return pool(pyramid, boxes)

        return record

    def same(self, first, second):
        """Whether two heads read identical boxes in identical order."""
        pairs = list(zip(self.boxes[first], self.boxes[second], strict=True))
        return all(a.shape == b.shape and torch.equal(a, b) for a, b in pairs)


def sample_again(step):
    """What the research code did for the cascade pair: the assistant's regions are drawn anew."""
    made, outputs = step.student.head, step.outputs
    proposals = made.candidates(outputs.rpn, step.batch.sizes, training=True)
    return [made.sampler(p, t, made.num_classes) for p, t in zip(proposals, step.targets)], None


def cascade_pair():
    return build_method("head", tiny("fasterrcnn", regions=8), frozen("cascadercnn"), transfer=False).train()


def test_the_cascade_pair_compares_the_same_boxes(monkeypatch):
    """Student, assistant and teacher read one sampling; in later stages the teacher reads the assistant's boxes."""
    method = cascade_pair()
    watched = Watched(method)
    run(method, *batch())
    assert watched.same(("student", 0), ("assistant", 0)) and watched.same(("student", 0), ("teacher", 0))
    for stage in (1, 2):
        assert watched.same(("assistant", stage), ("teacher", stage))
        assert not watched.same(("assistant", stage), ("assistant", 0))
    assert not any(boxes.requires_grad for images in watched.boxes.values() for boxes in images)
    monkeypatch.setattr(Step, "_sampled", property(sample_again))
    run(method, *batch())
    assert not watched.same(("student", 0), ("assistant", 0))


@pytest.mark.parametrize("regions", [None, 5])
def test_ckd_of_the_cascade_pair_is_zero_for_a_student_that_gives_what_the_teacher_gives(monkeypatch, regions):
    """Which no student could, if its boxes were not the teacher's."""
    model = tiny("cascadercnn", 3)
    student = tiny("fasterrcnn", regions=8)
    student.backbone, student.neck = copy.deepcopy(model.backbone), copy.deepcopy(model.neck)
    student.head.roi.fcs.load_state_dict(model.head.roi.heads[0].fcs.state_dict())
    method = build_method("head", student, Frozen(model), weights="paper", warmup=0, regions=regions).eval()
    make_identity(method.guidances["ckd/cascade"].adapter)
    images, targets = batch()
    assert run(method, images, targets).terms["ckd/cascade"].item() < 1e-6
    monkeypatch.setattr(Step, "_sampled", property(sample_again))
    assert run(method, images, targets).terms["ckd/cascade"].item() > 1e-3


@pytest.mark.parametrize("student", [*DENSE, "cascadercnn"])
def test_regions_carry_no_gradient_and_are_shared(student):
    """One sampling per step: the teacher is asked about the very boxes that the assistant read."""
    method = make("fasterrcnn", student)
    watched = Watched(method)
    images, targets = batch()
    run(method, images, targets)
    assert watched.same(("assistant", 0), ("teacher", 0))
    assert student in DENSE or watched.same(("student", 0), ("teacher", 0))
    for boxes, target in zip(watched.boxes["teacher", 0], targets, strict=True):
        assert not boxes.requires_grad and torch.equal(boxes[: len(target)], target.boxes)


def regions_read(method):
    return method.step(*batch(), LATE).needs.regions


def test_where_nobody_reads_regions_none_are_sampled():
    method = make_case("cell-cell")
    method.student.head.proposals = None
    step = method.step(*batch(), LATE)
    assert step.regions == [] and step.needs.regions == 0
    assert regions_read(make_case("region-cell")) == 512 and regions_read(make_case("cell-region")) == 128
    assert regions_read(make("fcos", "retinanet", assistants="rcnn")) == 128


def test_a_dense_students_regions():
    method = make("fasterrcnn", "retinanet", regions=20)
    _, step, outputs = watch(method)
    assert [len(r) for r in step.regions] == [20, 20] and outputs.regions == [step.regions]
    assert regions_read(make_case("cell-region", weights="paper")) == 512


# -- which terms there are ---------------------------------------------------------------------------------------------

SWITCHED = {"all": {}, "akd": {"ckd": False}, "ckd": {"akd": False}, "": {"akd": False, "ckd": False}}


@torch.no_grad()
def test_switches():
    methods = {key: make("fasterrcnn", "retinanet", **options) for key, options in SWITCHED.items()}
    names = {key: set(run(method, *batch()).terms) for key, method in methods.items()}
    assist = {"student/cls", "student/box", "assistant/rcnn/cls", "assistant/rcnn/box"}
    akd = {"akd/rcnn/fc0", "akd/rcnn/fc1"}
    assert names == {"all": assist | akd | {"ckd/rcnn"}, "akd": assist | akd, "ckd": assist | {"ckd/rcnn"}, "": assist}
    assert [len(method.guidances) for method in methods.values()] == [4, 3, 2, 1]
    assert [len(method.parts()) for method in methods.values()] == [4, 3, 2, 1]


@pytest.mark.parametrize("teacher", ["fasterrcnn", "gfl"])
def test_with_ground_truth_alone_nobody_asks_the_teacher(teacher):
    method = make(teacher, "retinanet", akd=False, ckd=False)
    only_teacher(method).model.extract = None
    assert {name.split("/")[0] for name in run(method, *batch()).terms} == {"student", "assistant"}


@torch.no_grad()
def test_without_a_teacher_there_is_no_akd():
    terms = set(run(make(None, "fasterrcnn", assistants="auto"), *batch()).terms)
    assert {name for name in terms if not name.startswith(("student/", "assistant/"))} == {"ckd/retinanet", "ckd/fcos"}
    assert {"assistant/fcos/quality", "assistant/retinanet/box"} <= terms
    assist = run(make(None, "retinanet", assistants="auto", ckd=False), *batch()).terms
    assert {name.split("/")[0] for name in assist} == {"student", "assistant"}


@torch.no_grad()
def test_assistants_beside_a_teacher_guide_too():
    method = make("fasterrcnn", "retinanet", assistants="fcos", weights="paper")
    terms = run(method, *batch(), END).terms
    assert set(assistant_losses(method)) == {"rcnn", "fcos"}
    assert {"ckd/rcnn", "ckd/fcos", "akd/rcnn/fc0"} <= set(terms)
    assert not [name for name in terms if name.startswith("akd/fcos")]
    assert terms["ckd/rcnn"].item() > 0 == terms["ckd/fcos"].item()  # what has a teacher does not stop


def test_without_objects_only_background_regions_are_compared():
    for case in ("cell-region", "cell-region-cascade", "region-region", "region-cell", "region-region-standalone"):
        method = make_case(case)
        objective = run(method, batch()[0], [Targets.empty(), Targets.empty()], LATE)
        for name, term in objective.terms.items():
            assert bool(term.isfinite()), name
            assert term.item() > 0 or not name.startswith(("akd/", "ckd/")), name


@pytest.mark.parametrize("case", ["cell-region", "cell-region-cascade", "cell-region-standalone"])
def test_without_proposals_ckd_is_zero_and_has_a_gradient(case):
    """Regions that are all ground truth have no cell: not a mean over nothing."""
    method = make_case(case)
    method.student.head.proposals = lambda outputs, sizes, propose=method.student.head.proposals: [
        found[:0] for found in propose(outputs, sizes)
    ]
    ((name, imitation),) = imitations(method, "ckd").items()
    for targets in (batch()[1], [Targets.empty(), Targets.empty()]):
        objective = run(method, batch()[0], targets, LATE)
        assert objective.terms[name].item() == 0 and bool(objective.total.isfinite())
        objective.total.backward()
        assert imitation.adapter.linear.weight.grad is not None


# -- schedules ---------------------------------------------------------------------------------------------------------


def test_a_teachers_terms_grow_from_zero_and_do_not_end():
    method = make_case("cell-region", weights="paper")
    progresses = [Progress(step, 90_000, first_drop=58_640) for step in (0, 1000, 2000, 58_641)]
    start, half, full, late = at_steps(method, progresses)
    for name in full:
        if name.startswith(("akd/", "ckd/")):
            assert start[name] == 0 < full[name] == late[name] and half[name] == pytest.approx(full[name] / 2)
        else:
            assert start[name] == half[name] == full[name] == late[name] > 0


@pytest.mark.parametrize("case", ["cell-cell-standalone", "cell-region-standalone", "region-region-standalone"])
def test_without_a_teacher_ckd_ends_where_the_rate_first_drops(case):
    """The published iterations; the assistants warm up too, and learn to the end."""
    steps = (0, 1000, 2000, 58_640, 58_641, 90_000)
    method = make_case(case, weights="paper")
    start, half, full, last, over, end = at_steps(method, [Progress(s, 90_000, first_drop=58_640) for s in steps])
    for name, value in full.items():
        warm = name.startswith(("ckd/", "assistant/"))
        assert start[name] == (0 if warm else value) and half[name] == pytest.approx(value / 2 if warm else value)
        assert last[name] == value > 0
        assert over[name] == end[name] == (0 if name.startswith("ckd/") else value)


def factors_at(method, name, step, total=90_000, drop=58_640):
    """The schedules of an assistant's own losses, of AKD and of CKD; AKD's is None without a teacher."""
    progress = Progress(step, total, first_drop=drop)
    found = [assistant_losses(method)[name].weight.schedule(progress)]
    for prefix in ("akd", "ckd"):
        schedules = {g.weight.schedule(progress) for g in imitations(method, f"{prefix}/{name}").values()}
        found.append(schedules.pop() if schedules else None)
        assert not schedules
    return tuple(found)


def test_schedules_by_default():
    method = make("fasterrcnn", "retinanet", assistants="fcos")
    assert [factors_at(method, "rcnn", s) for s in (0, 1000, 2000)] == [(1, 0, 0), (1, 0.5, 0.5), (1, 1, 1)]
    assert [factors_at(method, "rcnn", s) for s in (58_640, 58_641, 90_000)] == [(1, 1, 1)] * 3
    assert [factors_at(method, "fcos", s) for s in (0, 1000, 2000)] == [(0, None, 0), (0.5, None, 0.5), (1, None, 1)]
    assert [factors_at(method, "fcos", s)[2] for s in (58_640, 58_641, 90_000)] == [1, 0, 0]
    assert factors_at(method, "fcos", 58_641)[0] == 1
    assert factors_at(method, "fcos", 90_000, drop=None)[2] == 1  # a rate that never drops


@pytest.mark.parametrize(("total", "step", "weight"), [(1000, 50, 0.5), (1000, 100, 1), (90_000, 1000, 0.5), (5, 0, 1)])
def test_default_warm_up_is_2000_steps_but_at_most_a_tenth_of_the_run(total, step, weight):
    method = make("fasterrcnn", "retinanet", assistants="fcos")
    assert factors_at(method, "rcnn", step, total) == (1, weight, weight)
    assert factors_at(method, "fcos", step, total) == (weight, None, weight)


def test_schedules_may_be_chosen():
    method = make("fasterrcnn", "retinanet", assistants="fcos", warmup="10", assistant_warmup=40, ckd_stop=100)
    for name, akd in (("rcnn", [0.5, 1, 1]), ("fcos", [None] * 3)):
        expected = [(0.125, akd[0], 0.5), (0.5, akd[1], 1), (1, akd[2], 1)]
        assert [factors_at(method, name, s) for s in (5, 20, 100)] == expected
        assert factors_at(method, name, 101) == (1, akd[2], 0)
    endless = make(None, "retinanet", assistants="fcos", ckd_stop=None, assistant_warmup=0)
    assert factors_at(endless, "fcos", 90_000)[2] == 1 and factors_at(endless, "fcos", 0)[0] == 1
    assert endless.guidances["ckd/fcos"].weight.schedule == Schedule(None, None)


# -- weights -----------------------------------------------------------------------------------------------------------


def constants(method, prefix):
    """The constants of the imitations under a name."""
    return [imitation.weight.constant for imitation in imitations(method, prefix).values()]


def units(method):
    """The units of all imitations, by name."""
    return {name: i.weight.unit for p in ("akd", "ckd") for name, i in imitations(method, p).items() if i.weight.unit}


def own_weights(method):
    """The factors of the assistants' own losses."""
    return {name: losses.weight.constant for name, losses in assistant_losses(method).items()}


def test_weights_replace_the_constants():
    for case in ("cell-region", "cell-cell"):
        method = make_case(case, weights="paper", akd_weight=7.0, ckd_weight=5.0)
        plain = make_case(case, weights="paper")
        (a,), (b,) = at_steps(method, [END]), at_steps(plain, [END])
        for name in b:
            given = {"akd": 7.0, "ckd": 5.0}.get(name.split("/")[0])
            factor = given / plain.guidances[name].weight.constant if given else 1
            assert a[name] == pytest.approx(b[name] * factor)
        assert set(constants(method, "akd")) == {7.0} and set(constants(method, "ckd")) == {5.0}


PAPER = {
    "cell-region": (2.0, 2.0),
    "cell-region-fcos": (2.0, 1.0),
    "cell-region-cascade": (1.0, 2.0),
    "region-region": (1.0, 2.0),
    "region-cell": (1.0, 1.0),
    "cell-cell": (1.0, 1.0),
    "cell-region-standalone": (None, 1.3),
    "region-region-standalone": (None, 1.3),
    "region-cell-standalone": (None, 1.0),
    "cell-cell-standalone": (None, 1.0),
}


@pytest.mark.parametrize("case", PAPER)
def test_the_published_constants(case):
    method = make_case(case, weights="paper")
    akd, ckd = PAPER[case]
    assert set(constants(method, "ckd")) == {ckd} and set(constants(method, "akd")) == ({akd} if akd else set())
    assert units(method) == {}


@pytest.mark.parametrize("case", ["cell-region", "region-region", "cell-cell", "region-cell-standalone"])
def test_auto_is_one_for_all_layers_and_a_half_for_ckd(case):
    method = make_case(case)
    assert sum(constants(method, "akd")) == pytest.approx(1 if case in WITH_TEACHER else 0)
    assert sum(constants(method, "ckd")) == pytest.approx(0.5)
    assert len(set(constants(method, "akd"))) <= 1 and len(set(constants(method, "ckd"))) == 1


def test_auto_is_shared_out_among_the_assistants():
    method = make(None, "retinanet", assistants=["fcos", "rcnn", "gfl"])
    assert constants(method, "ckd") == [pytest.approx(0.5 / 3)] * 3
    paper = make(None, "retinanet", assistants=["fcos", "rcnn", "gfl"], weights="paper")
    assert constants(paper, "ckd") == [1.0, 1.3, 1.0]


@pytest.mark.parametrize(("weights", "halved"), [("auto", {"fcos", "gfl"}), ("paper", {"fcos"})])
def test_dense_assistants_beside_others_count_half(weights, halved):
    """Of those that learn without a teacher; a `weight` that is given stays, as does the only one's."""
    beside = make(None, "retinanet", assistants=["fcos", "rcnn", "gfl"], weights=weights)
    assert {name for name, weight in own_weights(beside).items() if weight == 0.5} == halved
    assert own_weights(make(None, "retinanet", assistants="fcos", weights=weights)) == {"fcos": 1}
    assert own_weights(make("gfl", "retinanet", assistants="fcos", weights=weights)) == {"gfl": 1, "fcos": 0.5}
    given = make(None, "retinanet", assistants={"fcos": {"weight": 0.8}, "rcnn": {"weight": 2}}, weights=weights)
    assert own_weights(given) == {"fcos": 0.8, "rcnn": 2}


def louder(method, factor):
    """Multiplies the teacher's last layer, and what the adapters make of the student, so that both sides grow alike."""
    layers = [only_teacher(method).model.head.roi.fcs[1]]
    layers += [method.guidances[name].adapter for name in ("akd/rcnn/fc1", "ckd/rcnn")]
    with torch.no_grad():
        for layer in layers:
            for parameter in layer.parameters():
                parameter.mul_(factor)
    return method


def test_auto_does_not_care_how_loud_the_teacher_is():
    """The published constants do: by the square of it."""
    terms = {}
    for weights in ("auto", "paper"):
        for factor in (1, 10):
            method = louder(make("fasterrcnn", "retinanet", weights=weights, transfer=False, warmup=0), factor)
            (terms[weights, factor],) = at_steps(method, [START])
    for name in ("akd/rcnn/fc1", "ckd/rcnn"):
        assert terms["auto", 10][name] == pytest.approx(terms["auto", 1][name], rel=1e-4)
        assert terms["paper", 10][name] == pytest.approx(terms["paper", 1][name] * 100, rel=1e-4)
    assert terms["auto", 10]["akd/rcnn/fc0"] == pytest.approx(terms["auto", 1]["akd/rcnn/fc0"])


def test_auto_is_the_weight_for_whoever_answers_the_mean():
    """A squared error in units of its target's variance: 1 for one constant answer."""
    method = fix_norms(make("fasterrcnn", "retinanet", warmup=0, akd_weight=0.7))
    _, step, outputs = watch(method, END)
    (target,) = target_of(method, step, outputs)["fc1"]
    linear = method.guidances["akd/rcnn/fc1"].adapter.linear
    nn.init.zeros_(linear.weight)
    linear.bias.data.fill_(target.mean())
    (terms,) = at_steps(method, [START])
    assert terms["akd/rcnn/fc1"] == pytest.approx(0.7, rel=1e-3)


def test_units_of_a_teacher_are_measured_over_the_first_steps_only_and_kept():
    method = make("fasterrcnn", "retinanet")
    at_steps(method, [Progress(step, 90_000) for step in range(3)])
    early = {name: copy.deepcopy(unit.state_dict()) for name, unit in units(method).items()}
    assert set(early) == {"akd/rcnn/fc0", "akd/rcnn/fc1", "ckd/rcnn"}
    for name, state in early.items():
        assert state["seen"] == 3 and state["mean"] > 0
        assert {f"guidances.{name}.weight.unit.{key}" for key in state} <= set(method.state_dict())
        assert not method.guidances[name].weight.unit.moving
    steps = units(method)["ckd/rcnn"].steps
    at_steps(louder(method, 5), [Progress(steps, 90_000), END])
    for name, unit in units(method).items():
        assert all(torch.equal(value, early[name][key]) for key, value in unit.state_dict().items())


def test_units_of_an_assistant_that_learns_move_on():
    method = make_case("cell-cell-standalone")
    at_steps(method, [Progress(step, 90_000) for step in (0, 40_000)])
    assert units(method)["ckd/fcos"].seen == 2 and units(method)["ckd/fcos"].moving


def test_nothing_is_measured_in_evaluation_mode():
    """Whoever looks at the terms of a model in evaluation mode does not change what training divides by."""
    method = make("fasterrcnn", "retinanet").eval()
    before = copy.deepcopy(method.state_dict())
    run(method, *batch(), START)
    after = method.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@torch.no_grad()
@pytest.mark.parametrize("student", ["fcos", "fasterrcnn"])
def test_a_teacher_that_learned_nothing_does_not_blow_up_its_terms(student):
    """The towers of a fresh RetinaNet fade block by block: without a floor the unit of its last one is nearly 0.

    At the first step without warm-up; terms of some thousands would end the training before it began.
    """
    torch.manual_seed(0)
    model = build_detector("retinanet", CLASSES, backbone="test_efficientnet", pretrained=False, width=256)
    method = build_method("head", tiny(student), Frozen(model), warmup=0).train()
    terms = run(method, *batch(), START).terms
    found = {name: term.item() for name, term in terms.items() if name.startswith(("akd/", "ckd/"))}
    assert len(found) >= 3 and all(0 < value < 30 for value in found.values()), found
    if student == "fcos":  # and it is the floor that keeps them there
        for unit in units(method).values():
            unit.floor = 0.0
            unit.mean.zero_(), unit.seen.zero_()
        assert max(run(method, *batch(), START).terms[name].item() for name in found) > 300


# -- several teachers --------------------------------------------------------------------------------------------------


def test_two_teachers_of_a_kind_share():
    """Each has an assistant and a name; its terms are those it has alone, at half the weight."""
    teachers = [frozen("fasterrcnn", 100), frozen("fasterrcnn", 101)]
    both = build_method("head", tiny("retinanet"), teachers, warmup=0).train()
    assert list(assistant_losses(both)) == ["rcnn", "rcnn-2"] and both.teachers == teachers
    assert [both.guidances[f"akd/{name}/fc0"].target.teacher for name in ("rcnn", "rcnn-2")] == teachers
    assert constants(both, "ckd") == [0.25, 0.25] and constants(both, "akd") == [0.25] * 4
    (together,) = at_steps(both, [START])
    for name, teacher in zip(("rcnn", "rcnn-2"), teachers):
        alone = build_method("head", tiny("retinanet"), teacher, warmup=0)
        for term in ("akd/rcnn/fc0", "akd/rcnn/fc1", "ckd/rcnn"):
            state = both.guidances[term.replace("rcnn", name)].adapter.state_dict()
            alone.guidances[term].adapter.load_state_dict(state)
        (single,) = at_steps(alone, [START])
        for term, value in single.items():
            share = 0.5 if term.startswith(("akd/", "ckd/")) else 1.0
            assert together[term.replace("rcnn", name)] == pytest.approx(value * share, rel=1e-5)
    assert together["akd/rcnn/fc0"] != pytest.approx(together["akd/rcnn-2/fc0"])


def test_teachers_of_different_kinds_and_classes():
    teachers = [frozen("cascadercnn"), frozen("reppoints"), Frozen(tiny("retinanet", classes=("star", "bus")))]
    method = build_method("head", tiny("fasterrcnn"), teachers).train()
    losses = assistant_losses(method)
    assert list(losses) == ["cascade", "reppoints", "retinanet"]
    assert losses["retinanet"].fresh == ["2 of 3 classes"] and losses["reppoints"].fresh == []
    terms = run(method, *batch(), LATE).terms
    assert {"ckd/cascade", "ckd/reppoints", "ckd/retinanet"} <= set(terms)
    assert all(term.item() > 0 for term in terms.values())


# -- students with a short pyramid -------------------------------------------------------------------------------------


@pytest.mark.parametrize("student", ["retinanet", "gfl"])
@pytest.mark.parametrize("teacher", [*DENSE, *TWO_STAGE])
def test_a_student_of_three_levels_takes_a_step_with_every_teacher(teacher, student):
    """Levels correspond from the finest on; the teacher's coarsest ones have no counterpart."""
    own = tiny(student)
    neck = FPN(own.backbone.channels, own.backbone.strides, width=16, start=1, levels=3)
    built = Detector(own.backbone, neck, rebuild_for(own, neck.strides), CLASSES)
    assert neck.strides == built.head.strides == [8, 16, 32]
    method = build_method("head", built, frozen(teacher)).train()
    assert only_assistant(method).factors == ((1, 1, 1) if teacher in DENSE else ())
    optimiser = torch.optim.SGD(method.parameters(), lr=1e-4)
    objective = run(method, *batch(), LATE)
    terms = {name: term.item() for name, term in objective.terms.items()}
    assert all(value > 0 for name, value in terms.items() if name.startswith(("akd/", "ckd/"))), terms
    assert bool(objective.total.isfinite())
    objective.total.backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in method.parameters() if p.requires_grad)
    optimiser.step()
    assert bool(run(method, *batch(), LATE).total.isfinite())


# -- what is refused, and the table ------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", BY_ANCHOR)
def test_an_adapter_per_anchor_where_regions_have_one(case):
    assert isinstance(ckd_adapter(case, adapter="per_anchor"), PerAnchorAdapter)


@pytest.mark.parametrize("case", ["region-region", "cell-cell", "region-region-standalone", "cell-cell-standalone"])
def test_an_adapter_per_anchor_is_refused_elsewhere(case):
    with pytest.raises(UserError, match=r"adapter per_anchor needs regions that are traced to an anchor"):
        make_case(case, adapter="per_anchor")
    teacher, student, kind = CASES[case][1]
    beside = "rcnn" if student == "retinanet" else "retinanet"
    mixed = make(teacher, student, adapter="per_anchor", assistants=beside if teacher else [kind, beside])
    assert isinstance(mixed.guidances[f"ckd/{beside}"].adapter, PerAnchorAdapter)


@pytest.mark.parametrize("student", ["fasterrcnn", "cascadercnn"])
def test_more_regions_than_a_two_stage_student_samples_are_refused(student):
    assert regions_read(make("fasterrcnn", student, regions=512)) == 512
    with pytest.raises(UserError, match=r"student samples 512 regions .* student\.options\.regions=513"):
        make("fasterrcnn", student, regions=513)


def test_a_number_of_regions_where_none_are_read_is_refused():
    """Also of a two-stage student's, where only its own box head reads them."""
    for case, options in (("cell-cell", {}), ("region-cell", {"ckd": False})):
        with pytest.raises(UserError, match=r"regions is 64, but neither .* read regions here; leave it out"):
            make_case(case, regions=64, **options)


@pytest.mark.parametrize("assistants", [None, [], {}])
def test_somebody_has_to_guide(assistants):
    with pytest.raises(UserError, match=r"needs a teacher: give --teacher FILE.*--assistants auto \(TF-HEAD\)"):
        make(None, "retinanet", assistants=assistants)


def test_another_width_says_what_is_not_from_the_teacher():
    method = build_method("head", tiny("retinanet", width=24), frozen("fasterrcnn")).train()
    assert assistant_losses(method)["rcnn"].fresh == ["fcs.0.weight"]
    assert "not from the teacher: fcs.0.weight" in method.describe()[0]["to"]
    run(method, *batch()).total.backward()


def test_the_function_itself():
    """Student, teachers and checked options in, guidances out, in the order of the table."""
    teacher = frozen("fasterrcnn")
    found = head(tiny("retinanet"), [teacher], HeadOptions())
    assert [g.name for g in found] == ["assistant/rcnn", "akd/rcnn/fc0", "akd/rcnn/fc1", "ckd/rcnn"]
    assert all(isinstance(g.weight.unit, TargetVariance) for g in found[1:])


def test_the_pairing_table_names_levels_layers_and_weights():
    rows = make("fasterrcnn", "retinanet", adapter="per_anchor").describe()
    assert rows == [
        {"from": "ground truth", "to": "assistant/rcnn on P3..P6 of the student", "through": "", "weight": "1"},
        {"from": "teacher fc0", "to": "assistant/rcnn fc0", "through": "linear 24 -> 24", "weight": "0.5 / variance"},
        {"from": "teacher fc1", "to": "assistant/rcnn fc1", "through": "linear 24 -> 24", "weight": "0.5 / variance"},
        {
            "from": "teacher fc1",
            "to": "student cls tower block 1 at traced cells",
            "through": "per_anchor 16 -> 24",
            "weight": "0.5 / variance",
        },
    ]
    assert make("fasterrcnn", "retinanet", weights="paper").describe()[1]["weight"] == "2"


def test_the_table_without_a_teacher():
    rows = make(None, "retinanet", assistants="fcos", weights="paper").describe()
    assert [row["from"] for row in rows] == ["ground truth", "assistant/fcos cls_tower"]


def test_the_table_of_a_pair_with_other_strides():
    (own, *_, ckd) = make("retinanet", "fasterrcnn", weights="paper", adapter="per_anchor").describe()
    assert own["to"] == "assistant/retinanet on P2..P6 (averaged to strides 8..128) of the student"
    assert ckd == {
        "from": "teacher cls_tower at cells",
        "to": "student fc1 of the regions that came from them",
        "through": "per_anchor 24 -> 16",
        "weight": "1",
    }
