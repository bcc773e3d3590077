"""An imitation's terms by hand: places that give what they are told, and what lies between them and the term."""

from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn

from headstart.methods.adapters import Adapter, Identity
from headstart.methods.criteria import MSE
from headstart.methods.guidance import Row
from headstart.methods.imitation import Imitation
from headstart.methods.pairing import Correspondence, Pair, SamePlaces
from headstart.methods.step import Needs, Step
from headstart.methods.taps import StudentTap, TeacherTap
from headstart.methods.weight import Schedule, TargetVariance, Weight
from headstart.structures import Progress, Targets
from methods.pairs import CASES, batch, frozen, make_case, tiny

LATE = Progress(500, 1000)


@dataclass
class Told:
    """A place that gives the tensors that it was told."""

    text: str
    tensors: list[Tensor]
    needs: Needs = field(default_factory=Needs)

    def __call__(self, step):
        return self.tensors

    def __str__(self):
        return self.text


SOURCE = [torch.tensor([[[[0.0, 1], [2, 3]]]]), torch.tensor([[[[5.0]]]])]
TARGET = [torch.tensor([[[[0.0, 1], [2, 7]]]]), torch.tensor([[[[4.0]]]])]


def make_step(progress=LATE):
    images, targets = batch()
    return Step(tiny("retinanet"), images, targets, progress, Needs())


def imitate(source=SOURCE, target=TARGET, *, weight=None, progress=LATE, **options):
    made = Imitation("akd/a", Told("own", source), Told("goal", target), weight=weight or Weight(2.0), **options)
    return {name: value.item() for name, value in made(make_step(progress)).items()}


def test_means_of_each_level_are_summed_over_the_levels():
    """(16 / 4 of the first level) + (1 of the second)."""
    assert imitate() == {"akd/a": 2 * (4 + 1)}


def test_in_units_of_variance_levels_are_averaged():
    """The target's variance: of 0, 1, 2, 7 it is 7.25, of one number 0; their mean is 3.625."""
    weight = Weight(2.0, unit=TargetVariance())
    assert imitate(weight=weight) == {"akd/a": 5.0}  # after the first steps nothing is measured, and 1 stands
    assert imitate(weight=weight, progress=Progress(0, 1000)) == {"akd/a": pytest.approx(2 * (4 + 1) / 2 / 3.625)}


def test_the_unit_is_floored_by_what_comes_out_of_the_adapter():
    """The source's own variance is 1.25 and 0; a hundred times as loud it is 12500, half of which is a level's mean."""

    class Louder(Adapter):
        def forward(self, pair):
            return [x * 100 for x in pair.tensors]

    found = imitate(weight=Weight(1.0, unit=TargetVariance()), progress=Progress(0, 1000), adapter=Louder())
    gaps = (0 + 99**2 + 198**2 + 293**2) / 4 + 496**2
    assert found == {"akd/a": pytest.approx(gaps / 2 / (0.1 * 12500 / 2))}


def test_the_schedule_is_that_of_the_step():
    """A term whose schedule has ended is 0 and there."""
    weight = Weight(2.0, Schedule(10, 600))
    values = [imitate(weight=weight, progress=Progress(step, 1000))["akd/a"] for step in (0, 5, 10, 600, 601)]
    assert values == [0, 5, 10, 10, 0]


class Halves:
    """Two terms, at constants of their own."""

    terms = {"low": 1.0, "high": 0.25}

    def __call__(self, source, target, step):
        self.step = step
        return {"low": source[0].sum(), "high": target[0].sum()}


def test_a_criterion_may_have_several_terms_with_constants_of_their_own():
    criterion = Halves()
    assert imitate(criterion=criterion) == {"akd/a/low": 2 * 6, "akd/a/high": 2 * 0.25 * 10}
    assert isinstance(criterion.step, Step)  # it may read the targets and the assignment


class LastOnly(Correspondence):
    source_at, target_at = " at its last level", " at that level"

    def __call__(self, source, target, step):
        return Pair(source[-1:], target[-1:])


class Tripled(Adapter):
    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(3.0))

    def forward(self, pair):
        return [x * self.factor for x in pair.tensors]

    def __str__(self):
        return "times 3"


def test_correspondence_then_adapter_then_criterion():
    """(3 * 5 - 4)^2."""
    assert imitate(match=LastOnly(), adapter=Tripled()) == {"akd/a": 2 * 121}


def test_only_source_and_adapter_get_gradients():
    source = [torch.ones(2, 3, requires_grad=True)]
    adapter = Tripled()
    made = Imitation("x", Told("own", source), Told("goal", [torch.zeros(2, 3)]), weight=Weight(1.0), adapter=adapter)
    made(make_step())["x"].backward()
    assert bool(source[0].grad.any()) and adapter.factor.grad.item() == pytest.approx(6)
    assert list(made.parameters()) == [adapter.factor]


def test_by_default_places_are_the_same_with_nothing_in_between():
    made = Imitation("x", Told("own", SOURCE), Told("goal", TARGET), weight=Weight(1.0))
    assert isinstance(made.adapter, Identity) and isinstance(made.match, SamePlaces) and isinstance(made.criterion, MSE)


def test_it_needs_what_its_places_need():
    needs = Needs(trace=True), Needs(regions=4)
    made = Imitation("x", Told("a", [], needs[0]), Told("b", [], needs[1]), weight=Weight(1.0), reads=Needs(regions=9))
    assert made.needs == Needs(trace=True, regions=9)
    assert Imitation("x", Told("a", []), Told("b", []), weight=Weight(1.0)).needs == Needs()


def test_only_an_automatic_weight_is_shared_out():
    for auto, constant in ((True, 1.0), (False, 2.0)):
        made = Imitation("x", Told("a", []), Told("b", []), weight=Weight(2.0, auto=auto))
        made.share(0.5)
        assert made.weight.constant == constant


def test_rows_of_the_pairing_table():
    weight = Weight(3.0, unit=TargetVariance())
    made = Imitation(
        "ckd/a", Told("student fc1", []), Told("teacher fc1", []), weight=weight, match=LastOnly(), adapter=Tripled()
    )
    row = Row("teacher fc1 at that level", "student fc1 at its last level", "times 3", "3 / variance")
    assert made.describe() == [row]
    assert row.cells() == {
        "from": "teacher fc1 at that level",
        "to": "student fc1 at its last level",
        "through": "times 3",
        "weight": "3 / variance",
    }
    both = Imitation("x", Told("a", []), Told("b", []), weight=Weight(2.0), criterion=Halves()).describe()
    assert both == [Row("b, low", "a", "-", "2"), Row("b, high", "a", "-", "0.5")]


# -- what makes it senseless -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "dead"),
    [
        ([torch.full((4, 3), 7.0)], True),
        ([torch.full((1, 2, 3, 3), 7.0), torch.zeros(1, 2, 1, 1)], True),
        ([torch.rand(40, 3) * 1e-5], True),  # a variance of about 1e-11
        ([torch.rand(40, 3) * 1e-3], False),  # about 1e-7
        ([torch.zeros(1, 2, 3, 3), torch.rand(1, 2, 3, 3)], False),
        ([torch.full((1, 3), 7.0)], False),  # one vector: nothing can be said
        ([torch.zeros(0, 3)], False),
    ],
    ids=["vectors", "maps", "nearly", "faint", "one level", "one vector", "none"],
)
def test_a_target_that_is_the_same_everywhere_is_named(target, dead):
    made = Imitation("x", Told("own", target), Told("teacher fc1", target), weight=Weight(1.0))
    problems = made.problems(make_step())
    assert len(problems) == dead
    if dead:
        assert problems[0].startswith("teacher fc1 is the same everywhere (variance ")
        assert problems[0].endswith("Was the teacher trained? Choose another layer, or another teacher")


def test_a_dead_layer_of_a_teacher_is_named_by_the_method():
    """A teacher's layer whose weights and bias are 0 gives 0 at every region."""
    method = make_case("cell-region")
    fc = method.teachers[0].model.head.roi.fcs[1]
    nn.init.zeros_(fc.weight), nn.init.zeros_(fc.bias)
    problems = method.problems(*batch(), Progress(0, 1000))
    assert [problem.partition(" is ")[0] for problem in problems] == [
        "akd/rcnn/fc1: teacher fc1",
        "ckd/rcnn: teacher fc1",
    ]


@pytest.mark.parametrize("case", CASES)
def test_the_usual_pairs_have_no_problems(case):
    method = make_case(case)
    assert method.problems(*batch(), Progress(0, 1000)) == []


def test_a_batch_without_objects_is_no_problem():
    method = make_case("cell-region")
    assert method.problems(batch()[0], [Targets.empty(), Targets.empty()], Progress(0, 1000)) == []


def test_the_pyramids_of_two_detectors():
    """No assistant needed: a place of the student, one of the teacher, and nothing in between."""
    teacher, step = frozen("fcos"), make_step()
    made = Imitation("pkd", StudentTap("neck"), TeacherTap(teacher, "neck"), weight=Weight(1.0))
    theirs = teacher.model.extract(step.batch).pyramid
    expected = sum((a - b).square().mean() for a, b in zip(step.features.pyramid, theirs, strict=True))
    found = made(step)["pkd"]
    torch.testing.assert_close(found, expected)
    found.backward()
    assert all(bool(p.grad.any()) for p in step.student.neck.parameters())
