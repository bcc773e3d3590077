"""HEAD: what its terms are, whom they teach, and how much they count."""

import copy

import pytest
import torch
from headstart.methods.ckd import Aligned, LookedUp, Shared, Traced
from torch import nn

from headstart.detectors.detector import Detector
from headstart.errors import UserError
from headstart.heads.cascade import CascadeHead, CascadeRoIHead
from headstart.heads.dense import DenseHead
from headstart.heads.roi import BoxHead
from headstart.heads.rpn import RPNHead
from headstart.heads.two_stage import RPNBasedHead, TwoStageHead
from headstart.methods import Frozen, build_method
from headstart.methods.head import HEAD
from headstart.structures import Progress, Targets
from laws.tiny import CLASSES, DENSE, run, stir
from methods.pairs import FREE, LINKS, TAUGHT, at_steps, batch, make, only, pair, still, teacher, tiny, watch

END = Progress(90_000, 90_000, first_drop=58_640)


# -- a student on the very pyramid of its teacher ----------------------------------------------------------------------


def on_the_teachers_pyramid(guide, student):
    """A method whose student reads what its teacher reads, with adapters that change nothing."""
    model = tiny(guide, 3)
    strides, roi = model.neck.strides, {"hidden": 24}
    if student in DENSE:
        head = type(tiny(student).head)(3, 16, strides, width=16, depth=2)
    elif student == "fasterrcnn":
        head = TwoStageHead(RPNHead(16, strides, width=16), BoxHead(3, 16, strides, **roi))
    else:
        head = CascadeHead(RPNHead(16, strides, width=16), CascadeRoIHead(3, 16, strides, **roi))
    built = Detector(copy.deepcopy(model.backbone), copy.deepcopy(model.neck), head, CLASSES)
    method = build_method("head", stir(built).eval(), Frozen(model), weights="paper", warmup=0)
    for name, adapter in only(method).adapters.items():
        if name != "ckd":
            still(adapter)
    return method.eval()


GUIDES = {**dict.fromkeys(DENSE, "fasterrcnn"), "fasterrcnn": "retinanet", "cascadercnn": "fcos"}
IDENTITY = [*GUIDES.items(), *((guide, "retinanet") for guide in ("gfl", "atss", "fasterrcnn", "cascadercnn"))]


@pytest.mark.parametrize(("guide", "student"), IDENTITY)
def test_an_assistant_on_the_teachers_pyramid_has_nothing_to_learn(guide, student):
    """Whatever its kind: its layers and its predictions are the teacher's, AKD is 0, CKD is not."""
    method = on_the_teachers_pyramid(guide, student)
    lesson, model = only(method), method.teacher.model
    terms, sight, reading = watch(method)
    goal = lesson.assistant.consult(method.teacher, batch()[0], reading)
    assert goal.keys() == reading.layers.keys() == set(lesson.assistant.layers)
    for name, maps in goal.items():
        for mine, theirs in zip(reading.layers[name], maps, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-3 * theirs.abs().max().item())
    akd = [term.item() for name, term in terms.items() if name.startswith("akd/")]
    ckd = [term.item() for name, term in terms.items() if name.startswith("ckd/")]
    assert len(akd) == len(lesson.assistant.layers) and max(akd) < 1e-7 * min(ckd)
    pyramid = sight.features.pyramid
    if isinstance(model.head, DenseHead):
        mine = lesson.assistant.head.resume(pyramid, pyramid, start=0, sizes=sight.sizes)
        theirs = model.head(model.extract(batch()[0]), sight.sizes)
        said = [*zip(mine.cls + mine.reg, theirs.cls + theirs.reg)]
    else:
        boxes = [[place.boxes for place in places] for places in reading.places]
        own, other = (getattr(roi, "heads", [roi]) for roi in (lesson.assistant.head, model.head.roi))
        said = [(a(pyramid, b).cls, c(model.extract(batch()[0]).pyramid, b).cls) for a, c, b in zip(own, other, boxes)]
    for a, b in said:
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3 * b.abs().max().item())
    with torch.no_grad():  # and it is not blind
        for parameter in lesson.assistant.head.parameters():
            parameter.mul_(1.1)
    assert all(term.item() > 1e-4 for name, term in watch(method)[0].items() if name.startswith("akd/"))


def test_an_assistant_is_of_its_teachers_make():
    """Convolutions, norms and all; what it imitates are the layers that the teacher has."""
    method = build_method("head", tiny("fcos"), teacher("fasterrcnn", box_head="4conv1fc")).train()
    lesson = only(method)
    assert lesson.fresh == [] and len(lesson.assistant.head.norms) == 4
    terms = run(method, *batch()).terms
    assert [name for name in terms if name.startswith("akd/")] == ["akd/rcnn/fc0"] and terms["ckd/rcnn"].item() > 0
    terms["akd/rcnn/fc0"].backward()
    assert all(bool(conv.weight.grad.any()) for conv in lesson.assistant.head.convs)
    assert [row["from"] for row in method.describe()] == ["ground truth", "teacher fc0", "teacher fc0"]


# -- whom each term teaches --------------------------------------------------------------------------------------------

PYRAMID = {"backbone", "neck"}
CKD = {
    (Traced, False): {"cls_tower.0", "cls_tower.1"},
    (Traced, True): {"cls_tower.0", "cls_tower.1"},
    (Shared, False): {"fcs"},
    (Shared, True): {"fcs"},
    (LookedUp, False): {"fcs"},
    (LookedUp, True): {"fcs"},
    (Aligned, False): {"cls_tower.0"},  # the first of two blocks; `ckd/.../reg` the other tower's
    (Aligned, True): {"cls_tower.0", "cls_tower.1"},
}
"""What of the student's own head CKD reaches, by the link and whether the assistant has no teacher."""


def group(name):
    """The part of the method that a parameter belongs to."""
    first, *rest = name.split(".")
    if first == "lessons":
        return f"adapters.{rest[2]}" if rest[1] == "adapters" else "assistant"
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


@pytest.mark.parametrize("case", LINKS)
def test_whom_each_term_teaches(case):
    """AKD never the student's head; CKD of it what imitates, and never the assistant; the assistants' losses the
    pyramid; nobody the teacher, nor through boxes what proposed them."""
    method = pair(case)
    lesson, (kind, _) = only(method), LINKS[case]
    terms = run(method, *batch()).terms
    parameters = {name: p for name, p in method.named_parameters() if p.requires_grad}
    own = {group(name) for name in parameters if name.startswith("student.")}
    of = lambda prefix: [term for name, term in terms.items() if name.startswith(prefix)]  # noqa: E731
    assert reached(of("student/"), parameters) == own
    assert reached(of("assistant/"), parameters) == PYRAMID | {"assistant"}
    for layer in lesson.assistant.layers if case in TAUGHT else ():
        (term,) = of(f"akd/{lesson.name}/{layer}")
        assert reached([term], parameters) == PYRAMID | {"assistant", f"adapters.{layer}"}, layer
    found = CKD[kind, case in FREE]
    for name, term in terms.items():
        if name.startswith("ckd/"):
            imitating = {part.replace("cls", "reg") for part in found} if name.endswith("/reg") else found
            assert reached([term], parameters) == PYRAMID | imitating | {"adapters.ckd"}, name
    assert of("ckd/") and (bool(of("akd/")) == (case in TAUGHT))
    sum(terms.values()).backward()
    for guide in method.guides:
        assert all(p.grad is None and not p.requires_grad for p in guide.model.parameters())


UP_TO = {
    "traced": {"fc0": {"fcs.0"}, "fc1": {"fcs.0", "fcs.1"}},
    "shared": {"stage0_fc1": {"heads.0.fcs"}, "stage1_fc0": {"heads.1.fcs"}, "stage2_fc1": {"heads.2.fcs"}},
    "looked-up": {"cls_tower": {"cls_tower"}, "reg_tower": {"reg_tower"}},
    "aligned": {
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
    method = pair(case)
    lesson = only(method)
    terms, parameters = run(method, *batch()).terms, dict(lesson.assistant.head.named_parameters())
    for layer, parts in UP_TO[case].items():
        term = terms[f"akd/{lesson.name}/{layer}"]
        grads = torch.autograd.grad(term, list(parameters.values()), allow_unused=True, retain_graph=True)
        taught = {name for name, grad in zip(parameters, grads) if grad is not None and bool(grad.any())}
        assert all(any(name.startswith(part) for part in parts) for name in taught), layer
        assert all(any(name.startswith(part) for name in taught) for part in parts), layer


# -- one sampling ------------------------------------------------------------------------------------------------------


class Watched:
    """Records the boxes that every box head of a method and its teacher pools from."""

    def __init__(self, method):
        self.boxes = {}
        roi = lambda head: list(getattr(head, "heads", [head]))  # noqa: E731
        self._watch("assistant", roi(only(method).assistant.head))
        self._watch("teacher", roi(method.teacher.model.head.roi))
        if isinstance(method.student.head, RPNBasedHead):
            self._watch("student", roi(method.student.head.roi))

    def _watch(self, who, heads):
        for index, head in enumerate(heads):
            head.pool = self._recording(head.pool, (who, index))

    def _recording(self, pool, key):
        def record(pyramid, boxes):
            self.boxes[key] = boxes
            return pool(pyramid, boxes)

        return record

    def same(self, first, second):
        """Whether two heads read identical boxes in identical order."""
        pairs = list(zip(self.boxes[first], self.boxes[second], strict=True))
        return all(a.shape == b.shape and torch.equal(a, b) for a, b in pairs)


def sample_again(self, outputs, sizes, targets):
    """What the research code did for the cascade pair: the assistant's regions are drawn anew."""
    head = self.student.head
    return [head.sampler(p, t, head.num_classes) for p, t in zip(head.candidates(outputs.rpn, sizes, training=True),
                                                                 targets)]  # fmt: skip


def cascade_pair():
    return build_method("head", tiny("fasterrcnn", regions=8), teacher("cascadercnn"), transfer=False).train()


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
    monkeypatch.setattr(HEAD, "sample", sample_again)
    run(method, *batch())
    assert not watched.same(("student", 0), ("assistant", 0))


@pytest.mark.parametrize("regions", [None, 5])
def test_ckd_of_the_cascade_pair_is_zero_for_a_student_that_says_what_the_teacher_says(monkeypatch, regions):
    """Which no student could, if its boxes were not the teacher's."""
    model = tiny("cascadercnn", 3)
    student = tiny("fasterrcnn", regions=8)
    student.backbone, student.neck = copy.deepcopy(model.backbone), copy.deepcopy(model.neck)
    student.head.roi.fcs.load_state_dict(model.head.roi.heads[0].fcs.state_dict())
    method = build_method("head", student, Frozen(model), weights="paper", warmup=0, regions=regions).eval()
    still(only(method).adapters["ckd"])
    images, targets = batch()
    assert run(method, images, targets).terms["ckd/cascade"].item() < 1e-6
    monkeypatch.setattr(HEAD, "sample", sample_again)
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


def test_where_nobody_reads_regions_none_are_sampled():
    method = pair("aligned")
    method.student.head.proposals = None
    assert method.look(*batch()).places == [] and not method.reads_regions
    assert pair("looked-up").reads_regions and pair("traced").reads_regions
    assert make("fcos", "retinanet", assistants="rcnn").reads_regions


def test_a_dense_students_regions():
    method = make("fasterrcnn", "retinanet", regions=20)
    _, sight, reading = watch(method)
    assert [len(place) for place in sight.places] == [20, 20] and reading.places == [sight.places]
    assert pair("traced").sampler.count == 128 and pair("traced", weights="paper").sampler.count == 512


# -- which terms there are ---------------------------------------------------------------------------------------------

SWITCHED = {"all": {}, "akd": {"ckd": False}, "ckd": {"akd": False}, "": {"akd": False, "ckd": False}}


@torch.no_grad()
def test_switches():
    methods = {key: make("fasterrcnn", "retinanet", **options) for key, options in SWITCHED.items()}
    names = {key: set(run(method, *batch()).terms) for key, method in methods.items()}
    assist = {"student/cls", "student/box", "assistant/rcnn/cls", "assistant/rcnn/box"}
    akd = {"akd/rcnn/fc0", "akd/rcnn/fc1"}
    assert names == {"all": assist | akd | {"ckd/rcnn"}, "akd": assist | akd, "ckd": assist | {"ckd/rcnn"}, "": assist}
    assert [len(only(method).adapters) for method in methods.values()] == [3, 2, 1, 0]
    assert [len(method.parts()) for method in methods.values()] == [2, 2, 2, 1]


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
    assert set(method.lessons) == {"rcnn", "fcos"} and {"ckd/rcnn", "ckd/fcos", "akd/rcnn/fc0"} <= set(terms)
    assert not [name for name in terms if name.startswith("akd/fcos")]
    assert terms["ckd/rcnn"].item() > 0 == terms["ckd/fcos"].item()  # what has a teacher does not stop


def test_without_objects_only_background_regions_are_compared():
    for case in ("traced", "traced-cascade", "shared", "looked-up", "shared-free"):
        method = pair(case)
        objective = run(method, batch()[0], [Targets.empty(), Targets.empty()])
        for name, term in objective.terms.items():
            assert bool(term.isfinite()), name
            assert term.item() > 0 or not name.startswith(("akd/", "ckd/")), name


@pytest.mark.parametrize("case", ["traced", "traced-cascade", "traced-free"])
def test_without_proposals_ckd_is_zero_and_has_a_gradient(case):
    """Regions that are all ground truth have no cell: not a mean over nothing."""
    method = pair(case)
    method.student.head.proposals = lambda outputs, sizes, propose=method.student.head.proposals: [
        found[:0] for found in propose(outputs, sizes)
    ]
    for targets in (batch()[1], [Targets.empty(), Targets.empty()]):
        objective = run(method, batch()[0], targets)
        assert objective.terms[f"ckd/{only(method).name}"].item() == 0 and bool(objective.total.isfinite())
        objective.total.backward()
        assert only(method).link.adapter.linear.weight.grad is not None


# -- schedules ---------------------------------------------------------------------------------------------------------


def test_a_teachers_terms_grow_from_zero_and_do_not_end():
    method = pair("traced", weights="paper")
    progresses = [Progress(step, 90_000, first_drop=58_640) for step in (0, 1000, 2000, 58_641)]
    start, half, full, late = at_steps(method, progresses)
    for name in full:
        if name.startswith(("akd/", "ckd/")):
            assert start[name] == 0 < full[name] == late[name] and half[name] == pytest.approx(full[name] / 2)
        else:
            assert start[name] == half[name] == full[name] == late[name] > 0


@pytest.mark.parametrize("case", ["aligned-free", "traced-free", "shared-free"])
def test_without_a_teacher_ckd_ends_where_the_rate_first_drops(case):
    """The published iterations; the assistants warm up too, and learn to the end."""
    steps = (0, 1000, 2000, 58_640, 58_641, 90_000)
    method = pair(case, weights="paper")
    start, half, full, last, over, end = at_steps(method, [Progress(s, 90_000, first_drop=58_640) for s in steps])
    for name, value in full.items():
        warm = name.startswith(("ckd/", "assistant/"))
        assert start[name] == (0 if warm else value) and half[name] == pytest.approx(value / 2 if warm else value)
        assert last[name] == value > 0
        assert over[name] == end[name] == (0 if name.startswith("ckd/") else value)


def factors_at(method, name, step, total=90_000, drop=58_640):
    found = method.schedule(method.lessons[name], Progress(step, total, first_drop=drop))
    return found["own"], found["akd"], found["ckd"]


def test_schedules_by_default():
    method = make("fasterrcnn", "retinanet", assistants="fcos")
    assert [factors_at(method, "rcnn", s) for s in (0, 1000, 2000)] == [(1, 0, 0), (1, 0.5, 0.5), (1, 1, 1)]
    assert [factors_at(method, "rcnn", s) for s in (58_640, 58_641, 90_000)] == [(1, 1, 1)] * 3
    assert [factors_at(method, "fcos", s) for s in (0, 1000, 2000)] == [(0, 0, 0), (0.5, 0.5, 0.5), (1, 1, 1)]
    assert [factors_at(method, "fcos", s)[2] for s in (58_640, 58_641, 90_000)] == [1, 0, 0]
    assert factors_at(method, "fcos", 58_641)[0] == 1
    assert factors_at(method, "fcos", 90_000, drop=None)[2] == 1  # a rate that never drops


@pytest.mark.parametrize(("total", "step", "weight"), [(1000, 50, 0.5), (1000, 100, 1), (90_000, 1000, 0.5), (5, 0, 1)])
def test_default_warm_up_is_2000_steps_but_at_most_a_tenth_of_the_run(total, step, weight):
    method = make("fasterrcnn", "retinanet", assistants="fcos")
    assert factors_at(method, "rcnn", step, total) == (1, weight, weight)
    assert factors_at(method, "fcos", step, total) == (weight, weight, weight)


def test_schedules_may_be_chosen():
    method = make("fasterrcnn", "retinanet", assistants="fcos", warmup=10, assistant_warmup=40, ckd_stop=100)
    for name in ("rcnn", "fcos"):
        assert [factors_at(method, name, s) for s in (5, 20, 100)] == [(0.125, 0.5, 0.5), (0.5, 1, 1), (1, 1, 1)]
        assert factors_at(method, name, 101) == (1, 1, 0)
    endless = make(None, "retinanet", assistants="fcos", ckd_stop=None, assistant_warmup=0)
    assert factors_at(endless, "fcos", 90_000)[2] == 1 and factors_at(endless, "fcos", 0)[0] == 1


# -- weights -----------------------------------------------------------------------------------------------------------


def test_weights_replace_the_constants():
    for case in ("traced", "aligned"):
        method, plain = pair(case, weights="paper", akd_weight=7.0, ckd_weight=5.0), pair(case, weights="paper")
        (a,), (b,) = at_steps(method, [END]), at_steps(plain, [END])
        for name in b:
            factor = {"akd": 7 / only(plain).akd, "ckd": 5 / only(plain).ckd}.get(name.split("/")[0], 1)
            assert a[name] == pytest.approx(b[name] * factor)
        assert (only(method).akd, only(method).ckd) == (7.0, 5.0)


PAPER = {
    "traced": (2.0, 2.0),
    "traced-fcos": (2.0, 1.0),
    "traced-cascade": (1.0, 2.0),
    "shared": (1.0, 2.0),
    "looked-up": (1.0, 1.0),
    "aligned": (1.0, 1.0),
    "traced-free": (None, 1.3),
    "shared-free": (None, 1.3),
    "looked-up-free": (None, 1.0),
    "aligned-free": (None, 1.0),
}


@pytest.mark.parametrize("case", PAPER)
def test_the_published_constants(case):
    lesson = only(pair(case, weights="paper"))
    akd, ckd = PAPER[case]
    assert lesson.ckd == ckd and (akd is None or lesson.akd == akd) and not len(lesson.scales)


@pytest.mark.parametrize("case", ["traced", "shared", "aligned", "looked-up-free"])
def test_auto_is_one_for_all_layers_and_a_half_for_ckd(case):
    lesson = only(pair(case))
    assert lesson.akd * len(lesson.assistant.layers) == pytest.approx(1)
    assert lesson.ckd * len(lesson.link.rows()) == pytest.approx(0.5)


def test_auto_is_shared_out_among_the_assistants():
    method = make(None, "retinanet", assistants=["fcos", "rcnn", "gfl"])
    assert [lesson.ckd for lesson in method.lessons.values()] == [pytest.approx(0.5 / 3)] * 3
    paper = make(None, "retinanet", assistants=["fcos", "rcnn", "gfl"], weights="paper")
    assert [lesson.ckd for lesson in paper.lessons.values()] == [1.0, 1.3, 1.0]


@pytest.mark.parametrize(("weights", "halved"), [("auto", {"fcos", "gfl"}), ("paper", {"fcos"})])
def test_dense_assistants_beside_others_count_half(weights, halved):
    """Of those that grow up without a teacher; a `weight` that is given stays, as does the only one's."""
    beside = make(None, "retinanet", assistants=["fcos", "rcnn", "gfl"], weights=weights)
    assert {name for name, lesson in beside.lessons.items() if lesson.own == 0.5} == halved
    assert only(make(None, "retinanet", assistants="fcos", weights=weights)).own == 1
    guided = make("gfl", "retinanet", assistants="fcos", weights=weights).lessons
    assert (guided["gfl"].own, guided["fcos"].own) == (1, 0.5)
    given = make(None, "retinanet", assistants={"fcos": {"weight": 0.8}, "rcnn": {"weight": 2}}, weights=weights)
    assert [lesson.own for lesson in given.lessons.values()] == [0.8, 2]


def louder(method, factor):
    """Multiplies the teacher's last layer, and what the adapters make of the student, so that both sides grow alike."""
    lesson = only(method)
    with torch.no_grad():
        for layer in (method.teacher.model.head.roi.fcs[1], lesson.adapters["fc1"], lesson.adapters["ckd"]):
            for parameter in layer.parameters():
                parameter.mul_(factor)
    return method


def test_auto_does_not_care_how_loud_the_teacher_is():
    """The published constants do: by the square of it."""
    terms = {}
    for weights in ("auto", "paper"):
        for factor in (1, 10):
            method = louder(make("fasterrcnn", "retinanet", weights=weights, transfer=False, warmup=0), factor)
            (terms[weights, factor],) = at_steps(method, [Progress(0, 90_000)])
    for name in ("akd/rcnn/fc1", "ckd/rcnn"):
        assert terms["auto", 10][name] == pytest.approx(terms["auto", 1][name], rel=1e-4)
        assert terms["paper", 10][name] == pytest.approx(terms["paper", 1][name] * 100, rel=1e-4)
    assert terms["auto", 10]["akd/rcnn/fc0"] == pytest.approx(terms["auto", 1]["akd/rcnn/fc0"])


def test_auto_is_the_weight_for_whoever_answers_the_mean():
    """A squared error in units of its target's variance: 1 for one constant answer."""
    method = make("fasterrcnn", "retinanet", warmup=0, akd_weight=0.7).eval()
    lesson = only(method)
    _, _, reading = watch(method, END)
    goal = lesson.assistant.consult(method.teacher, batch()[0], reading)["fc1"][0]
    nn.init.zeros_(lesson.adapters["fc1"].weight)
    lesson.adapters["fc1"].bias.data.fill_(goal.mean())
    (terms,) = at_steps(method, [Progress(0, 90_000)])
    assert terms["akd/rcnn/fc1"] == pytest.approx(0.7, rel=1e-3)


def test_scales_of_a_teacher_are_measured_over_the_first_steps_only_and_kept():
    method = make("fasterrcnn", "retinanet")
    scales = only(method).scales
    at_steps(method, [Progress(step, 90_000) for step in range(3)])
    early = copy.deepcopy(scales.state_dict())
    assert all(early[f"{name}.seen"] == 3 and early[f"{name}.mean"] > 0 for name in ("fc0", "fc1", "ckd"))
    assert {f"lessons.rcnn.scales.{key}" for key in early} <= set(method.state_dict())
    at_steps(louder(method, 5), [Progress(scales["fc0"].steps, 90_000), END])
    assert all(torch.equal(value, early[key]) for key, value in scales.state_dict().items())


def test_scales_of_an_assistant_that_learns_move_on():
    method = pair("aligned-free")
    at_steps(method, [Progress(step, 90_000) for step in (0, 40_000)])
    assert only(method).scales["ckd"].seen == 2


# -- several teachers --------------------------------------------------------------------------------------------------


def test_two_teachers_of_a_kind_share():
    """Each has an assistant and a name; its terms are those it has alone, at half the weight."""
    guides = [teacher("fasterrcnn", 100), teacher("fasterrcnn", 101)]
    both = build_method("head", tiny("retinanet"), guides, warmup=0).train()
    assert list(both.lessons) == ["rcnn", "rcnn-2"] and both.share == 0.5 and both.guides == guides
    assert [lesson.teacher for lesson in both.lessons.values()] == guides
    (together,) = at_steps(both, [Progress(0, 90_000)])
    for name, guide in zip(("rcnn", "rcnn-2"), guides):
        alone = build_method("head", tiny("retinanet"), guide, warmup=0)
        adapters = both.lessons[name].adapters.state_dict()
        alone.lessons["rcnn"].adapters.load_state_dict(adapters)
        (single,) = at_steps(alone, [Progress(0, 90_000)])
        for term, value in single.items():
            share = 0.5 if term.startswith(("akd/", "ckd/")) else 1.0
            assert together[term.replace("rcnn", name)] == pytest.approx(value * share, rel=1e-5)
    assert together["akd/rcnn/fc0"] != pytest.approx(together["akd/rcnn-2/fc0"])


def test_teachers_of_different_kinds_and_classes():
    guides = [teacher("cascadercnn"), teacher("reppoints"), Frozen(tiny("retinanet", classes=("star", "bus")))]
    method = build_method("head", tiny("fasterrcnn"), guides).train()
    assert list(method.lessons) == ["cascade", "reppoints", "retinanet"]
    assert method.lessons["retinanet"].fresh == ["2 of 3 classes"] and method.lessons["reppoints"].fresh == []
    terms = run(method, *batch()).terms
    assert {"ckd/cascade", "ckd/reppoints", "ckd/retinanet"} <= set(terms)
    assert all(term.item() > 0 for term in terms.values())


# -- what is refused, and the table ------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["traced", "traced-free", "looked-up", "looked-up-free", "traced-fcos"])
def test_an_adapter_per_anchor_where_regions_have_one(case):
    assert only(pair(case, adapter="per_anchor")).link.kind == "per_anchor"


@pytest.mark.parametrize("case", ["shared", "aligned", "shared-free", "aligned-free"])
def test_an_adapter_per_anchor_is_refused_elsewhere(case):
    with pytest.raises(UserError, match=r"adapter per_anchor needs regions that are traced to an anchor"):
        pair(case, adapter="per_anchor")
    guide, student, _ = LINKS[case][1]
    beside = "rcnn" if student == "retinanet" else "retinanet"
    given = {"assistants": beside} if guide else {"assistants": [LINKS[case][1][2], beside]}
    mixed = make(guide, student, adapter="per_anchor", **given)
    assert mixed.lessons[beside].link.kind == "per_anchor"


@pytest.mark.parametrize("student", ["fasterrcnn", "cascadercnn"])
def test_more_regions_than_a_two_stage_student_samples_are_refused(student):
    assert make("fasterrcnn", student, regions=512).regions == 512
    with pytest.raises(UserError, match=r"student samples 512 regions .* student\.options\.regions=513"):
        make("fasterrcnn", student, regions=513)


@pytest.mark.parametrize("regions", [0, -3, 1.5, "many"])
def test_a_number_of_regions_is_a_number(regions):
    with pytest.raises(UserError, match=f"regions must be a whole number from 1 on, not '{regions}'"):
        pair("traced", regions=regions)


def test_a_number_of_regions_where_none_are_read_is_refused():
    """Also of a two-stage student's, where only its own box head reads them."""
    for case, options in (("aligned", {}), ("looked-up", {"ckd": False})):
        with pytest.raises(UserError, match=r"regions is 64, but neither .* read regions here; leave it out"):
            pair(case, regions=64, **options)


@pytest.mark.parametrize("assistants", [None, [], {}])
def test_somebody_has_to_guide(assistants):
    with pytest.raises(UserError, match=r"needs a teacher: give --teacher FILE.*--assistants auto \(TF-HEAD\)"):
        make(None, "retinanet", assistants=assistants)


@pytest.mark.parametrize(("option", "value"), [("weights", "papr"), ("adapter", "conv"), ("ckd_stop", "never")])
def test_values_that_do_not_exist_are_refused(option, value):
    with pytest.raises(UserError, match=rf"method head: {option} must be .* not '{value}'"):
        make("fasterrcnn", "retinanet", **{option: value})


def test_another_width_says_what_is_not_from_the_teacher():
    method = build_method("head", tiny("retinanet", width=24), teacher("fasterrcnn"))
    assert only(method).fresh == ["fcs.0.weight"]
    assert "not from the teacher: fcs.0.weight" in method.describe()[0]["to"]
    run(method, *batch()).total.backward()


def test_the_pairing_table_names_levels_layers_and_weights():
    rows = make("fasterrcnn", "retinanet", adapter="per_anchor").describe()
    assert "P3..P6" in rows[0]["to"]
    assert [row["from"] for row in rows] == ["ground truth", "teacher fc0", "teacher fc1", "teacher fc1"]
    assert rows[-1]["through"] == "per_anchor 16 -> 24" and rows[-1]["weight"] == "0.5 / variance"
    assert make("fasterrcnn", "retinanet", weights="paper").describe()[1]["weight"] == "2"
