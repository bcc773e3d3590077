"""The whole guidance: terms, weights in time, what is told, and its state."""

import copy

import pytest
import torch

from headstart.methods import build_method
from headstart.methods.allstage.guidance import Course
from headstart.structures import Progress
from laws.tiny import run, scene
from methods.pairs import frozen, tiny


def made(student="retinanet", teacher="gfl", **options):
    own, theirs = tiny(student), frozen(teacher)
    torch.manual_seed(7)
    return build_method("allstage", own, theirs, **options).train()


def distilled(terms):
    return {name: value.item() for name, value in terms.items() if name.startswith("allstage/")}


@pytest.mark.parametrize(
    ("step", "goal"), [(0, 0), (99, 0), (100, 0), (150, 0.5), (200, 1), (500, 1), (750, 0.55), (1000, 0.1)]
)
def test_the_course_waits_rises_holds_and_falls(step, goal):
    assert Course(100, fade=0.5, final=0.1)(Progress(step, 1000), 100) == pytest.approx(goal)


def test_other_courses():
    yolov6 = Course(0, fade=0.0, final=0.01)
    assert [yolov6(Progress(s, 100), 0) for s in (0, 50, 100)] == pytest.approx([1, 0.505, 0.01])
    assert [Course(0, stop=10)(Progress(s, 100), 0) for s in (10, 11)] == [1, 0]
    assert Course()(Progress(900, 90_000), 400) == pytest.approx(500 / 1800)  # a fiftieth of a long run
    assert Course()(Progress(15, 100), 10) == pytest.approx(0.5)  # a tenth of a short one


def test_in_the_middle_of_a_run_each_group_is_its_share_of_the_detection_losses():
    terms = run(made(), *scene(size=64)).terms
    own = sum(value.item() for name, value in terms.items() if name.startswith("student/"))
    found = {name.removeprefix("allstage/"): value / own for name, value in distilled(terms).items()}
    goal = {"neck": 0.2, "dense_cls": 0.05, "dense_reg": 0.05, "region": 0.05, "logit": 0.1}
    assert found == pytest.approx(goal, rel=1e-4)


def test_nothing_counts_while_the_weights_are_measured():
    method = made()
    assert set(distilled(run(method, *scene(size=64), Progress(3, 100)).terms).values()) == {0.0}
    assert method.news(Progress(4, 100)) == []
    (said,) = method.news(Progress(10, 100))
    assert said.startswith("allstage: calibrated weights: neck ") and method.news(Progress(11, 100)) == []


def test_the_weights_are_shown():
    method = made()
    objective = run(method, *scene(size=64))
    assert set(objective.monitors) == {f"{name}/weight" for name in distilled(objective.terms)}
    assert all(value > 0 for value in objective.monitors.values())


def test_what_was_measured_travels_with_the_state():
    """A method that goes on from a state taken while calibrating gives the same terms as one that never stopped."""
    method, seen = made(), []
    for step in range(14):
        if step == 6:
            other = made()
            other.load_state_dict(copy.deepcopy(method.state_dict()))
            method = other
        seen.append(distilled(run(method, *scene(step, size=64), Progress(step, 100)).terms))
    whole = made()
    again = [distilled(run(whole, *scene(step, size=64), Progress(step, 100)).terms) for step in range(14)]
    assert again == seen and seen[9]["allstage/neck"] == 0 < seen[13]["allstage/neck"]


def test_automatic_weights_are_shared_out_and_given_ones_are_not():
    def share(names, **options):
        method = build_method(names, tiny("retinanet"), frozen("gfl"), **options)
        return method.guidances["allstage"].macro.shares["neck"]

    assert share("allstage") == 0.2 and share("allstage+cwd") == 0.1
    assert share("allstage+cwd", allstage={"shares": {"neck": 0.2}}) == 0.2
    assert share("allstage+cwd", allstage={"preset": "pkd"}) == 6


def test_several_teachers_guide_by_groups_of_their_own():
    teachers = [frozen("gfl"), frozen("fasterrcnn")]
    teachers[0].name, teachers[1].name = "one", "two"
    method = build_method("allstage", tiny("retinanet"), teachers).train()
    terms = distilled(run(method, *scene(size=64)).terms)
    assert {"allstage/one/neck", "allstage/two/neck", "allstage/one/logit"} <= set(terms)
    assert "allstage/one/dense_reg" in terms and "allstage/two/dense_reg" not in terms
    assert method.guidances["allstage/one"].macro.shares["neck"] == 0.1


def test_the_table_says_what_is_compared_and_what_is_left_out():
    rows = made(teacher="fasterrcnn").describe()
    weights = {row["weight"] for row in rows}
    assert "neck: 0.2 of the losses, calibrated" in weights
    out = {row["to"]: row["through"] for row in rows if row["from"] == "-"}
    assert set(out) == {"backbone: left out", "dense_reg: left out"}
    assert out["dense_reg: left out"] == "the teacher's RPN has one tower, which is that of dense_cls"
    assert [row["from"] for row in rows if row["to"].startswith("student neck")] == ["teacher neck P2 to P5"]


def test_reduce():
    one, other = (made(preset="fitnet", shares=1, reduce=how) for how in ("sum", "mean"))
    other.load_state_dict(one.state_dict())
    found = [distilled(run(method.eval(), *scene(size=64)).terms)["allstage/neck"] for method in (one, other)]
    assert found[0] == pytest.approx(5 * found[1], rel=1e-5)  # five levels
