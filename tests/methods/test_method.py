"""A student, its only pass in a step, and the guidances that read it."""

import copy

import pytest
import torch
from torch import nn

from headstart.methods import Guidance, Method, build_method
from headstart.methods.guidance import Row
from headstart.methods.step import Needs
from headstart.pace import Pace
from headstart.structures import Progress
from laws.tiny import losses, run
from methods.pairs import CASES, LATE, batch, frozen, make_case, tiny


class Toy(Guidance):
    """One term: its own weight times the sum of the student's first level."""

    def __init__(self, name="toy", needs=None, value=None):
        super().__init__()
        self.name, self.needs = name, needs or Needs()
        if value is not None:
            self.scale = nn.Parameter(torch.tensor(value))
        self.steps = []

    def forward(self, step):
        self.steps.append(step)
        return {self.name: step.features.pyramid[0].mean() * getattr(self, "scale", 1.0)}

    def describe(self):
        return [Row("nothing", self.name, "-", "1")]

    def problems(self, step):
        return [] if hasattr(self, "scale") else ["it has no scale"]


def count_passes(detector):
    """A list that grows by one whenever the backbone runs."""
    calls = []
    detector.backbone.register_forward_hook(lambda *_: calls.append(1))
    return calls


@pytest.mark.parametrize("family", ["gfl", "cascadercnn"])
def test_without_guidances_it_is_ordinary_training(family):
    images, targets = batch()
    method = Method(tiny(family))
    expected = losses(tiny(family), images, targets)
    objective = run(method, images, targets)
    assert objective.terms.keys() == {f"student/{name}" for name in expected}
    assert all(torch.equal(objective.terms[f"student/{name}"], value) for name, value in expected.items())
    assert method.parts() == {} and method.describe() == [] and list(method) == []
    assert list(method.state_dict()) == [f"student.{name}" for name in method.student.state_dict()]


def test_all_guidances_are_given_the_same_step():
    toys = [Toy("a"), Toy("b", value=2.0)]
    images, targets = batch()
    terms = run(Method(tiny("retinanet"), toys), images, targets, LATE).terms
    assert toys[0].steps == toys[1].steps and len(toys[0].steps) == 1
    (step,) = toys[0].steps
    assert step.batch is images and step.targets is targets and step.progress is LATE
    assert list(terms)[-2:] == ["a", "b"] and terms["b"].item() == pytest.approx(2 * terms["a"].item())


@pytest.mark.parametrize("case", CASES)
def test_one_pass_of_the_student_whoever_asks(case):
    method = make_case(case)
    calls = count_passes(method.student)
    for step in (1, 2):
        run(method, *batch())
        assert len(calls) == step
    method.problems(*batch(), LATE)
    assert len(calls) == 3


def test_one_pass_of_a_teacher_for_two_methods():
    """Two students of one teacher, with assistants that read it in different ways."""
    teacher = frozen("cascadercnn")
    methods = [build_method("head", tiny(student), teacher).train() for student in ("retinanet", "fasterrcnn")]
    calls = count_passes(teacher.model)
    students = [count_passes(method.student) for method in methods]
    for step in (1, 2):
        images, targets = batch(step)
        for method in methods:
            run(method, images, targets)
        assert len(calls) == step and [len(seen) for seen in students] == [step, step]


def test_needs_of_all_guidances_are_joined():
    method = Method(tiny("retinanet"), [Toy("a", Needs(trace=True)), Toy("b", Needs(regions=4)), Toy("c")])
    step = method.step(*batch(), LATE)
    assert step.needs == Needs(trace=True, regions=4)
    assert len(step.outputs.cls_trace) == 2 and [len(r) for r in step.regions] == [4, 4]


def test_regions_are_drawn_before_the_assignment():
    """So that a seed means the same whatever the guidances ask for first."""
    method, order = make_case("cell-region"), []
    head = method.student.head
    propose, assign = head.proposals, head.assign
    head.proposals = lambda *given: order.append("regions") or propose(*given)
    head.assign = lambda *given: order.append("assignment") or assign(*given)
    run(method, *batch())
    assert order == ["regions", "assignment"]


def test_two_guidances_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two guidances are called toy"):
        Method(tiny("retinanet"), [Toy(), Toy()])


def test_parts_are_the_guidances_that_have_something_to_train():
    method = Method(tiny("retinanet"), [Toy("a"), Toy("b/c", value=1.0)])
    assert list(method.parts()) == ["guidances.b/c"]
    assert "guidances.b/c.scale" in dict(method.named_parameters())
    assert method.parts()["guidances.b/c"] is method.guidances["b/c"]


def test_table_and_problems_are_those_of_its_guidances():
    method = Method(tiny("retinanet"), [Toy("a"), Toy("b", value=1.0)])
    assert [row["to"] for row in method.describe()] == ["a", "b"]
    assert method.problems(*batch(), LATE) == ["a: it has no scale"]


def test_a_guidance_says_nothing_of_itself_by_default():
    class Plain(Guidance):
        name = "plain"

    plain = Plain()
    assert plain.describe() == [] and plain.problems(None) == [] and plain.needs == Needs()
    plain.share(0.5)
    with pytest.raises(NotImplementedError):
        plain(None)


def test_teachers_are_listed_shared_by_copies_and_in_no_state():
    one, other = frozen("fasterrcnn"), frozen("retinanet")
    for given in ([], [one], [one, other]):
        method = Method(tiny("retinanet"), [], given)
        assert method.teachers == given and copy.deepcopy(method).teachers == given
        assert not [name for name in method.state_dict() if not name.startswith("student.")]


def test_a_training_loop_of_ones_own():
    """Nothing but a method and an optimiser: the student's loss goes down."""
    method = make_case("cell-region", warmup=0)
    optimiser = torch.optim.SGD(method.parameters(), lr=1e-3)
    totals = []
    for step in range(4):
        total = run(method, *batch(), Progress(step, 100)).total
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        totals.append(total.item())
    assert totals[-1] < totals[0]


# -- in every n-th step ------------------------------------------------------------------------------------------------


def run_at(method, step, total=12):
    return run(method, *batch(), Progress(step, total))


def paced(names="head+pkd", student="retinanet", teacher="fasterrcnn", **options):
    own, teachers = tiny(student), frozen(teacher)
    torch.manual_seed(7)
    return build_method(names, own, teachers, **options).train()


def test_between_two_steps_nothing_is_run_but_the_student():
    """No teacher, no assistant, no trace, and the student's losses are those of the baseline to the bit."""
    method = paced(every=3)
    passes = count_passes(method.teachers[0].model)
    assistants = count_passes_of(method.guidances["assistant/rcnn"].assistant)
    alone = build_method("baseline", tiny("retinanet")).train()
    for step in range(5):
        terms, plain = run_at(method, step).terms, run_at(alone, step).terms
        assert len(passes) == len(assistants) == step // 3 + 1
        assert (terms.keys() == plain.keys()) == (step % 3 != 0)
        assert all(torch.equal(terms[name], value) for name, value in plain.items())
    assert not method.step(*batch(), Progress(1, 12), []).needs.trace


def count_passes_of(module):
    calls = []
    module.register_forward_hook(lambda *_: calls.append(1))
    return calls


def test_terms_are_multiplied_so_that_their_mean_is_kept():
    options = {"head": {"warmup": 0, "weights": "paper"}}
    often, seldom = paced(**options), paced(**options, every=4)
    before, now = run_at(often, 8).terms, run_at(seldom, 8).terms
    assert before.keys() == now.keys() and "pkd/neck" in now
    for name, value in before.items():
        factor = 1 if name.startswith("student/") else 4
        torch.testing.assert_close(now[name], factor * value)


def test_after_its_share_of_the_run_it_is_over():
    method = paced(until=0.5, pkd={"until": 1.0})
    passes = count_passes(method.teachers[0].model)
    assert "ckd/rcnn" in run_at(method, 5).terms
    late = [name for name in run_at(method, 6).terms if not name.startswith("student/")]
    assert late == ["pkd/neck"] and len(passes) == 2
    resting = {id(p) for p in method.resting(6, 12)}
    still = {name.split("/")[0] for name, p in method.named_parameters() if id(p) in resting}
    assert still == {"guidances.assistant", "guidances.akd", "guidances.ckd"}
    assert method.resting(5, 12) == []


def test_methods_rest_by_themselves():
    method = paced(head={"every": 2}, pkd={"every": 3})
    found = [{name.partition("/")[0] for name in run_at(method, step).terms} - {"student"} for step in range(5)]
    head = {"assistant", "akd", "ckd"}
    assert found == [head | {"pkd"}, set(), head, {"pkd"}, head]


def test_the_pairing_table_says_when():
    rows = paced(every=2, pkd={"until": 0.7}).describe()
    assert all(row["weight"].endswith(" x 2 in every 2nd step") for row in rows[:-1])
    assert rows[-1]["weight"] == "3 x 2 in every 2nd step, until 70 % of the run"


def test_problems_are_looked_for_at_any_step():
    method = Method(tiny("retinanet"), [Toy("a")])
    method.guidances["a"].pace = Pace(every=7)
    assert method.problems(*batch(), Progress(1, 12)) == ["a: it has no scale"]
