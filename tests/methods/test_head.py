"""HEAD: what its terms are, whom they teach, and how much they count."""

import copy

import pytest
import torch
from torch import nn

from headstart.detectors.detector import Detector
from headstart.errors import UserError
from headstart.methods import Frozen, build_method
from headstart.structures import Progress, Targets
from laws.tiny import CLASSES, DENSE, detector, lesson, run, scene, stir


@pytest.fixture(params=DENSE)
def student(request):
    return request.param


def make(student="retinanet", **options):
    return lesson("head", options, "fasterrcnn", student)


def batch(seed=0):
    return scene(seed, size=64)


def on_the_teachers_pyramid(kind):
    """A method whose student reads the very pyramid of its teacher, with adapters that change nothing."""
    teacher = detector("fasterrcnn", seed=3)
    head = type(detector(kind).head)(len(CLASSES), 16, teacher.neck.strides, width=16, depth=1)
    parts = copy.deepcopy(teacher.backbone), copy.deepcopy(teacher.neck)
    method = build_method("head", stir(Detector(*parts, head, CLASSES)).eval(), Frozen(teacher))
    for name in ("fc0", "fc1"):
        nn.init.eye_(method.adapters[name].weight)
        nn.init.zeros_(method.adapters[name].bias)
    return method


def test_an_assistant_on_the_teachers_pyramid_has_nothing_to_learn(student):
    method = on_the_teachers_pyramid(student)
    terms = run(method, *batch()).terms
    assert max(terms["akd/rcnn/fc0"].item(), terms["akd/rcnn/fc1"].item()) < 1e-9 * terms["ckd/rcnn"].item()
    assert terms["ckd/rcnn"].item() > 0
    with torch.no_grad():
        method.assistant.head.fcs[0].bias += 0.1
    assert run(method, *batch()).terms["akd/rcnn/fc0"].item() > 0


def test_an_assistant_is_of_its_teachers_make(student):
    """Convolutions, norms and all; what it imitates are the layers that the teacher has."""
    teacher = detector("fasterrcnn", seed=3, box_head="4conv1fc")
    method = build_method("head", detector(student), Frozen(teacher)).train()
    assert method.fresh == [] and len(method.assistant.head.norms) == 4
    terms = run(method, *batch()).terms
    assert [name for name in terms if name.startswith("akd/")] == ["akd/rcnn/fc0"] and terms["ckd/rcnn"].item() > 0
    terms["akd/rcnn/fc0"].backward()
    assert all(bool(conv.weight.grad.any()) for conv in method.assistant.head.convs)
    assert [row["from"] for row in method.describe()] == ["ground truth", "teacher fc0", "teacher fc0"]


ROUTES = {
    "student/": {"backbone", "neck", "head.cls_tower", "head.reg_tower", "head.cls", "head.reg", "head.other"},
    "assistant/": {"backbone", "neck", "assistant"},
    "akd/rcnn/fc0": {"backbone", "neck", "assistant", "adapters.fc0"},
    "akd/rcnn/fc1": {"backbone", "neck", "assistant", "adapters.fc1"},
    "ckd/": {"backbone", "neck", "head.cls_tower", "adapters.ckd"},
}


def group(name):
    """The part of the method that a parameter belongs to."""
    first, *rest = name.split(".")
    if first != "student":
        return f"{first}.{rest[0]}" if first == "adapters" else first
    if rest[0] != "head":
        return rest[0]
    return f"head.{rest[1] if rest[1] in ('cls_tower', 'reg_tower', 'cls', 'reg') else 'other'}"


def reached(terms, parameters):
    """The groups in which the sum of terms moves anything."""
    grads = torch.autograd.grad(sum(terms), list(parameters.values()), allow_unused=True, retain_graph=True)
    return {group(name) for name, grad in zip(parameters, grads) if grad is not None and bool(grad.any())}


@pytest.mark.parametrize("adapter", ["linear", "per_anchor"])
def test_whom_each_term_teaches(student, adapter):
    """AKD never the student's head, CKD its classification tower alone, the assistant's losses the pyramid."""
    method = make(student, adapter=adapter)
    terms = run(method, *batch()).terms
    parameters = dict(method.named_parameters())
    there = {group(name) for name in parameters}
    for prefix, groups in ROUTES.items():
        own = [term for name, term in terms.items() if name.startswith(prefix)]
        assert own and reached(own, parameters) == groups & there, prefix
    first = torch.autograd.grad(
        terms["akd/rcnn/fc0"], list(method.assistant.head.fcs[1].parameters()), allow_unused=True
    )
    assert first == (None, None)


def test_ckd_reaches_every_block_of_the_tower(student):
    method = make(student)
    terms = run(method, *batch()).terms
    for conv in method.student.head.cls_tower.convs:
        assert bool(torch.autograd.grad(terms["ckd/rcnn"], conv.weight, retain_graph=True)[0].any())


def test_regions_carry_no_gradient_and_are_shared(student):
    """One sampling per step: the teacher is asked about the very boxes that the assistant read."""
    method = make(student)
    seen = {}
    own, guide = method.assistant.head.pool, method.guide.pool
    method.assistant.head.pool = lambda pyramid, boxes: seen.setdefault("assistant", boxes) and own(pyramid, boxes)
    method.guide.pool = lambda pyramid, boxes: seen.setdefault("teacher", boxes) and guide(pyramid, boxes)
    images, targets = batch()
    run(method, images, targets)
    assert len(seen["assistant"]) == len(seen["teacher"]) == 2
    for mine, theirs, target in zip(seen["assistant"], seen["teacher"], targets):
        assert torch.equal(mine, theirs) and not mine.requires_grad
        assert torch.equal(mine[: len(target)], target.boxes)


@torch.no_grad()
def test_switches():
    methods = {key: make(**options) for key, options in SWITCHED.items()}
    names = {key: set(run(method, *batch()).terms) for key, method in methods.items()}
    assist = {"student/cls", "student/box", "assistant/rcnn/cls", "assistant/rcnn/box"}
    akd = {"akd/rcnn/fc0", "akd/rcnn/fc1"}
    assert names == {"all": assist | akd | {"ckd/rcnn"}, "akd": assist | akd, "ckd": assist | {"ckd/rcnn"}, "": assist}
    assert [len(method.adapters) for method in methods.values()] == [3, 2, 1, 0]


@torch.no_grad()
@pytest.mark.parametrize("adapter", ["linear", "per_anchor"])
def test_the_terms_by_hand(student, adapter):
    """Every layer after its activation; ground-truth rows count in AKD and not in CKD."""
    method = make(student, weights="paper", adapter=adapter, akd_weight=3.0, ckd_weight=5.0, warmup=0).eval()
    images, targets = batch()
    terms = run(method, images, targets).terms
    torch.manual_seed(5)
    features = method.student.extract(images)
    outputs = method.student.head(features, images.sizes, trace=True)
    mine = method.assistant(method.student.head, features, outputs, images.sizes, targets)
    boxes = [p.boxes for p in mine.places]
    own = [x.relu() for x in method.assistant.head(features.pyramid, boxes).hidden]
    goal = [x.relu() for x in method.guide(method.teacher.extract(images).pyramid, boxes).hidden]
    for index in (0, 1):
        gap = (method.adapters[f"fc{index}"](own[index]) - goal[index]).square().mean()
        torch.testing.assert_close(terms[f"akd/rcnn/fc{index}"], 3 * gap)
    tower, rows = method.student.head.layers(outputs)["cls_tower"], []
    for image, place in enumerate(mine.places):
        for level, y, x in zip(place.pixels.level.tolist(), place.pixels.y.tolist(), place.pixels.x.tolist()):
            rows.append(None if level < 0 else tower[level][image, :, y, x])
    traced = torch.tensor([i for i, row in enumerate(rows) if row is not None])
    assert len(rows) - len(traced) == sum(len(t) for t in targets)
    anchor = torch.cat([p.pixels.anchor for p in mine.places])[traced]
    found = method.adapters["ckd"](torch.stack([rows[i] for i in traced]), anchor)
    torch.testing.assert_close(terms["ckd/rcnn"], 5 * (found - goal[1][traced]).square().mean())


SWITCHED = {"all": {}, "akd": {"ckd": False}, "ckd": {"akd": False}, "": {"akd": False, "ckd": False}}


@torch.no_grad()
def at_steps(method, steps, total=90_000):
    """The terms at several steps of a run, everything else being equal."""
    return [{k: v.item() for k, v in run(method, *batch(), Progress(step, total)).terms.items()} for step in steps]


def test_distillation_warms_up_and_the_rest_does_not(student):
    method = make(student, weights="paper", warmup=2000, ckd_stop=3000)
    start, half, full, last, over = at_steps(method.eval(), (0, 1000, 2000, 3000, 3001))
    for name in full:
        if name.startswith(("akd/", "ckd/")):
            assert start[name] == 0 < full[name] == last[name]
            assert half[name] == pytest.approx(full[name] / 2)
            assert over[name] == (0 if name.startswith("ckd/") else full[name])
        else:
            assert start[name] == full[name] == over[name]


@pytest.mark.parametrize(("total", "step", "weight"), [(1000, 50, 0.5), (1000, 100, 1), (90_000, 1000, 0.5), (5, 0, 1)])
def test_default_warm_up_is_2000_steps_but_at_most_a_tenth_of_the_run(total, step, weight):
    method = make(weights="paper").eval()
    found, full = at_steps(method, (step, total), total)
    assert found["ckd/rcnn"] == pytest.approx(full["ckd/rcnn"] * weight)


def test_the_assistants_own_warm_up():
    start, half, full = at_steps(make(assistant_warmup=100).eval(), (0, 50, 100))
    for name in ("assistant/rcnn/cls", "assistant/rcnn/box"):
        assert start[name] == 0 and half[name] == pytest.approx(full[name] / 2) and full[name] > 0
    assert start["student/cls"] == full["student/cls"]


def test_weights_replace_the_constants():
    plain, other = (make(weights="paper", **o).eval() for o in ({}, {"akd_weight": 1.0, "ckd_weight": 6.0}))
    (a,), (b,) = at_steps(plain, (50_000,)), at_steps(other, (50_000,))
    assert b["akd/rcnn/fc1"] == pytest.approx(a["akd/rcnn/fc1"] / 2)
    assert b["ckd/rcnn"] == pytest.approx(a["ckd/rcnn"] * 3)


def louder(method, factor):
    """Multiplies the teacher's last layer, and what the adapters make of the student, so that both sides grow alike."""
    with torch.no_grad():
        for layer in (method.guide.fcs[1], method.adapters["fc1"], method.adapters["ckd"].linear):
            for parameter in layer.parameters():
                parameter.mul_(factor)
    return method


def test_auto_does_not_care_how_loud_the_teacher_is():
    """The published constants do: by the square of it."""
    terms = {}
    for weights in ("auto", "paper"):
        for factor in (1, 10):
            method = louder(make(weights=weights, transfer=False, warmup=0).eval(), factor)
            (terms[weights, factor],) = at_steps(method, (0,))
    for name in ("akd/rcnn/fc1", "ckd/rcnn"):
        assert terms["auto", 10][name] == pytest.approx(terms["auto", 1][name], rel=1e-4)
        assert terms["paper", 10][name] == pytest.approx(terms["paper", 1][name] * 100, rel=1e-4)
    assert terms["auto", 10]["akd/rcnn/fc0"] == pytest.approx(terms["auto", 1]["akd/rcnn/fc0"])


def test_auto_is_the_weight_for_whoever_answers_the_mean():
    """A squared error in units of its target's variance: 1 for one constant answer."""
    method = make(warmup=0, akd_weight=0.7).eval()
    images, targets = batch()
    torch.manual_seed(5)
    features = method.student.extract(images)
    outputs = method.student.head(features, images.sizes, trace=True)
    mine = method.assistant(method.student.head, features, outputs, images.sizes, targets)
    goal = method.assistant.consult(method.guide, method.teacher.extract(images), mine.places)["fc1"]
    nn.init.zeros_(method.adapters["fc1"].weight)
    method.adapters["fc1"].bias.data.fill_(goal.mean())
    (terms,) = at_steps(method, (0,))
    assert terms["akd/rcnn/fc1"] == pytest.approx(0.7, rel=1e-3)


def test_scales_are_measured_over_the_first_steps_only_and_kept():
    method = make().eval()
    at_steps(method, range(3))
    early = copy.deepcopy(method.scales.state_dict())
    assert all(early[f"{name}.seen"] == 3 and early[f"{name}.mean"] > 0 for name in ("fc0", "fc1", "ckd"))
    assert {f"scales.{key}" for key in early} <= set(method.state_dict())
    at_steps(louder(method, 5), (method.scales["fc0"].steps, 10_000))
    assert all(torch.equal(value, early[key]) for key, value in method.scales.state_dict().items())


def test_paper_measures_nothing():
    assert not len(make(weights="paper").scales)


def test_without_objects_only_background_regions_are_compared(student):
    images, _ = batch()
    terms = run(make(student), images, [Targets.empty(), Targets.empty()]).terms
    assert terms["assistant/rcnn/box"].item() == 0
    assert all(terms[name].item() > 0 for name in ("akd/rcnn/fc0", "akd/rcnn/fc1", "ckd/rcnn", "assistant/rcnn/cls"))


def test_everything_filtered_leaves_zero_and_a_gradient(student):
    """Regions that are all ground truth have no cell: CKD is 0, not a mean over nothing."""
    method = make(student)
    images, targets = batch()
    propose = method.student.head.proposals
    method.student.head.proposals = lambda outputs, sizes: [found[:0] for found in propose(outputs, sizes)]
    objective = run(method, images, targets)
    assert objective.terms["ckd/rcnn"].item() == 0
    objective.total.backward()
    assert method.adapters["ckd"].linear.weight.grad is not None


def test_the_assistant_starts_as_the_teachers_head_and_learns():
    method = make()
    own, theirs = method.assistant.head.state_dict(), method.guide.state_dict()
    assert method.fresh == [] and all(torch.equal(own[key], theirs[key]) for key in own)
    assert all(p.requires_grad for p in method.assistant.parameters())
    assert make(transfer=False).fresh == ["everything"]


def test_another_width_says_what_is_not_from_the_teacher():
    teacher = Frozen(detector("fasterrcnn"))
    method = build_method("head", detector("retinanet", width=24), teacher)
    assert method.fresh == ["fcs.0.weight"] and "not from the teacher: fcs.0.weight" in method.describe()[0]["to"]
    run(method, *batch()).total.backward()


def test_the_pairing_table_names_levels_layers_and_weights():
    rows = make(adapter="per_anchor").describe()
    assert "P3..P6" in rows[0]["to"]
    assert [row["from"] for row in rows] == ["ground truth", "teacher fc0", "teacher fc1", "teacher fc1"]
    assert rows[-1]["through"] == "per_anchor 16 -> 24" and rows[-1]["weight"] == "0.5 / variance"
    assert make(weights="paper").describe()[1]["weight"] == "2"


@pytest.mark.parametrize(("option", "value"), [("weights", "papr"), ("adapter", "conv")])
def test_values_that_do_not_exist_are_refused(option, value):
    with pytest.raises(UserError, match=rf"method head: {option} must be .* not '{value}'"):
        make(**{option: value})
