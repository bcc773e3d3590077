"""A lesson's terms, by hand: an assistant and a link that say what they are told."""

from types import SimpleNamespace

import pytest
import torch
from headstart.methods.ckd import Link
from headstart.methods.lesson import Lesson
from torch import nn

from headstart.methods.assistants import Assistant, Reading
from headstart.structures import Progress
from methods.pairs import make

LATE = Progress(500, 1000)


class Told(Assistant):
    """Says two losses and one layer of two levels, 1 x 1 x 2 x 2 and 1 x 1 x 1 x 1."""

    kind, layers, width, where = "told", ("tower",), 1, "P3..P4"

    def __init__(self):
        super().__init__()
        self.head = nn.Parameter(torch.tensor(1.0))
        self.asked = []

    def adapter(self):
        return nn.Identity()

    def forward(self, sight):
        maps = [torch.tensor([[[[0.0, 1], [2, 3]]]]) * self.head, torch.tensor([[[[5.0]]]]) * self.head]
        return Reading({"cls": self.head * 2, "box": self.head * 3}, {"tower": maps}, [])

    def consult(self, teacher, batch, reading):
        self.asked.append((teacher, batch, reading))
        return {"tower": [torch.tensor([[[[0.0, 1], [2, 7]]]]), torch.tensor([[[[4.0]]]])]}


class Said(Link):
    """Compares zeros with the goal's first level as "a", and the second level as "b"."""

    def forward(self, sight, goal):
        first, second = goal["tower"]
        self.goal = goal
        return {"a": ([torch.zeros_like(first)], [first]), "b": ([second * 0], [second])}

    def rows(self):
        return {"a": ("tower", "zero", "nothing"), "b": ("tower", "zero", "nothing")}


GUIDE = SimpleNamespace(title="teacher")


def lesson(teacher=GUIDE, **options):
    given = {"akd": 2.0, "link": Said(), "ckd": 3.0, "auto": False, "own": 0.5}
    return Lesson("told", Told(), teacher, **(given | options))


def terms(made, progress=LATE, **schedule):
    found = made(None, "batch", progress, **({"own": 1.0, "akd": 1.0, "ckd": 1.0} | schedule))
    return {name: value.item() for name, value in found.items()}


def test_means_of_each_level_are_summed_over_the_levels():
    """tower: (16 / 4 of the first level) + (1 of the second); the link: 54 / 4, and 16."""
    assert terms(lesson()) == {
        "assistant/told/cls": 1.0,
        "assistant/told/box": 1.5,
        "akd/told/tower": 2 * (4 + 1),
        "ckd/told/a": pytest.approx(3 * 54 / 4),
        "ckd/told/b": pytest.approx(3 * 16),
    }


def test_in_units_of_variance_levels_are_averaged():
    """The goal's variance: of 0, 1, 2, 7 it is 7.25, of one number 0; their mean is 3.625."""
    found = terms(lesson(auto=True))
    assert found["akd/told/tower"] == 5.0  # after the first steps nothing is measured, and 1 stands
    found = terms(lesson(auto=True), Progress(0, 1000))
    assert found["akd/told/tower"] == pytest.approx(2 * (4 + 1) / 2 / 3.625)
    assert found["ckd/told/a"] == pytest.approx(3 * 13.5 / 7.25) and found["ckd/told/b"] == 3 * 16


def test_each_schedule_has_its_terms():
    full, half = terms(lesson()), terms(lesson(), own=0.5, akd=0.1, ckd=0.0)
    assert half == {
        name: pytest.approx(value * {"assistant": 0.5, "akd": 0.1, "ckd": 0.0}[name.split("/")[0]])
        for name, value in full.items()
    }


def test_a_teacher_is_asked_about_this_batch_and_reading():
    made = lesson()
    terms(made)
    ((teacher, batch, reading),) = made.assistant.asked
    assert teacher is GUIDE and batch == "batch" and isinstance(reading, Reading)


def test_without_a_teacher_the_assistant_is_the_goal_detached_and_there_is_no_akd():
    made = lesson(None)
    found = made(None, "batch", LATE, own=1.0, akd=1.0, ckd=1.0)
    assert list(found) == ["assistant/told/cls", "assistant/told/box", "ckd/told/a", "ckd/told/b"]
    assert not made.assistant.asked and not found["ckd/told/a"].requires_grad
    assert found["ckd/told/a"].item() == pytest.approx(3 * 14 / 4)
    assert all(not x.requires_grad for x in made.adapters["ckd"].goal["tower"])


@pytest.mark.parametrize("options", [{"akd": None, "link": None}, {"teacher": None, "link": None}])
def test_ground_truth_alone_asks_nobody(options):
    made = lesson(**options)
    assert list(terms(made)) == ["assistant/told/cls", "assistant/told/box"]
    assert not made.assistant.asked and len(made.adapters) == len(made.scales) == 0 and made.link is None


def test_an_assistant_that_learns_has_a_moving_scale():
    names = ["tower", "ckd_a", "ckd_b"]
    assert {name: scale.moving for name, scale in lesson(auto=True).scales.items()} == dict.fromkeys(names, False)
    assert {n: s.moving for n, s in lesson(None, auto=True).scales.items()} == {"ckd_a": True, "ckd_b": True}
    assert len(lesson().scales) == 0


def test_the_table():
    assert lesson(auto=True, fresh=["cls.weight"]).describe() == [
        {"from": "ground truth", "to": "assistant/told on P3..P4 of the student; not from the teacher: cls.weight",
         "through": "", "weight": "0.5"},
        {"from": "teacher tower", "to": "assistant/told tower", "through": "linear 1 -> 1", "weight": "2 / variance"},
        {"from": "teacher tower", "to": "zero", "through": "nothing", "weight": "3 / variance"},
        {"from": "teacher tower", "to": "zero", "through": "nothing", "weight": "3 / variance"},
    ]  # fmt: skip
    rows = lesson(None).describe()
    assert [row["from"] for row in rows] == ["ground truth", "assistant/told tower", "assistant/told tower"]
    assert rows[1]["weight"] == "3"


def test_the_table_of_a_pair_with_other_strides():
    (own, *_, ckd) = make("retinanet", "fasterrcnn", weights="paper", adapter="per_anchor").describe()
    assert own["to"] == "assistant/retinanet on P2..P6 (averaged to strides 8..128) of the student"
    assert ckd == {
        "from": "teacher cls_tower at cells",
        "to": "student fc1 of the regions that came from them",
        "through": "per_anchor 24 -> 16",
        "weight": "1",
    }
