"""The methods by name: what they are given, several at once, and who can teach and learn by them."""

from dataclasses import dataclass

import pytest
import torch

from headstart import methods
from headstart.errors import UserError
from headstart.methods import METHODS, Guidance, Method, build_method, method_options, options_class, refusals
from headstart.methods.adapters import ConvAdapter
from headstart.methods.baseline import BaselineOptions
from headstart.methods.head_options import HeadOptions
from headstart.methods.imitation import Imitation
from headstart.methods.taps import StudentTap, TeacherTap
from headstart.methods.weight import TargetVariance, Weight
from laws.tiny import run
from methods.pairs import LATE, batch, fix_norms, frozen, imitations, tiny


@dataclass(frozen=True)
class ToyOptions:
    weight: float | None = None
    on: bool = True


def toy(student, teachers, options: ToyOptions) -> list[Guidance]:
    """A level of the pyramid imitates the teacher's of the same stride."""
    if len(teachers) != 1:
        raise UserError(f"method toy learns from one teacher, found {len(teachers)}")
    if not options.on:
        return []
    weight = Weight(options.weight or 0.25, unit=TargetVariance(), auto=options.weight is None)
    adapter = ConvAdapter(student.neck.width, teachers[0].model.neck.width)
    return [Imitation("toy", StudentTap("neck/P4"), TeacherTap(teachers[0], "neck/P4"), weight=weight, adapter=adapter)]


@pytest.fixture
def with_toy(monkeypatch):
    monkeypatch.setitem(METHODS, "toy", toy)


# -- one method --------------------------------------------------------------------------------------------------------


def test_the_methods_and_their_options():
    assert list(METHODS) == [
        "baseline",
        *("head", "crosskd", "mimic", "pkd", "cwd", "fitnet", "frs", "fgd", "mgd", "defeat", "fgfi"),
        *("ld", "bckd", "gid", "sgfi", "allstage", "pseudo"),
    ]
    assert options_class("head") is HeadOptions and options_class("baseline") is BaselineOptions
    assert method_options("baseline") == [] and method_options("head")[:3] == ["akd", "ckd", "assistants"]


@pytest.mark.parametrize("ask", [options_class, method_options, lambda name: build_method(name, tiny("fcos"))])
@pytest.mark.parametrize(("name", "ending"), [("haed", "did you mean head?"), ("zzz", "expected one of baseline, ")])
def test_an_unknown_method_is_refused_with_the_nearest(ask, name, ending):
    with pytest.raises(UserError, match=f"no method is called '{name}'; {ending}"):
        ask(name)


def test_an_unknown_option_is_refused_with_the_nearest():
    with pytest.raises(UserError, match=r"method head has no option 'wieghts'; did you mean weights\?"):
        build_method("head", tiny("fcos"), frozen("fcos"), wieghts="auto")
    with pytest.raises(UserError, match="method baseline has no option 'weights'; expected one of none"):
        build_method("baseline", tiny("fcos"), weights="auto")


@pytest.mark.usefixtures("with_toy")
def test_teachers_none_one_or_several():
    student, one, other = tiny("retinanet"), frozen("fasterrcnn"), frozen("retinanet")
    assert build_method("baseline", student).teachers == build_method("baseline", student, []).teachers == []
    assert build_method("head", student, one).teachers == build_method("head", student, [one]).teachers == [one]
    assert build_method("head", student, [one, other]).teachers == [one, other]
    with pytest.raises(UserError, match="method toy learns from one teacher, found 2"):
        build_method("toy", student, [one, other])


def test_options_are_converted_before_the_method_sees_them():
    terms = run(build_method("head", tiny("retinanet"), frozen("fasterrcnn"), akd="false").train(), *batch()).terms
    assert not [name for name in terms if name.startswith("akd/")] and "ckd/rcnn" in terms


# -- several methods ---------------------------------------------------------------------------------------------------


def build(names, **options):
    teacher, student = frozen("fasterrcnn"), tiny("retinanet")
    torch.manual_seed(7)
    return build_method(names, student, teacher, **options).train()


def constants(method):
    return {name: g.weight.constant for name, g in imitations(method, "akd").items()} | {
        name: method.guidances[name].weight.constant for name in ("ckd/rcnn", "toy") if name in method.guidances
    }


@pytest.mark.usefixtures("with_toy")
def test_two_methods_read_one_pass_of_student_and_teacher():
    both = build("head+toy")
    calls = {"student": 0, "teacher": 0}

    def count(who):
        calls[who] += 1

    both.student.backbone.register_forward_hook(lambda *_: count("student"))
    both.teachers[0].model.backbone.register_forward_hook(lambda *_: count("teacher"))
    objective = run(both, *batch())
    assert calls == {"student": 1, "teacher": 1}
    alone = {name for part in ("head", "toy") for name in run(build(part), *batch()).terms}
    assert objective.terms.keys() == alone and {"student/cls", "toy", "ckd/rcnn", "akd/rcnn/fc0"} <= alone
    objective.total.backward()
    assert all(p.grad is not None for p in both.parameters())
    assert [row["from"] for row in both.describe()][-1] == "teacher neck P4"


@pytest.mark.usefixtures("with_toy")
def test_automatic_weights_are_shared_out():
    alone, both = constants(build("head")) | constants(build("toy")), constants(build("head+toy"))
    assert alone == {"akd/rcnn/fc0": 0.5, "akd/rcnn/fc1": 0.5, "ckd/rcnn": 0.5, "toy": 0.25}
    assert both == {name: value / 2 for name, value in alone.items()}
    assert build("head+toy").guidances["assistant/rcnn"].weight.constant == 1  # an assistant learns as ever


@pytest.mark.usefixtures("with_toy")
def test_weights_that_are_given_are_not_shared_out():
    found = constants(build("head+toy", head={"akd_weight": 0.7}, toy={"weight": "3"}))
    assert found == {"akd/rcnn/fc0": 0.7, "akd/rcnn/fc1": 0.7, "ckd/rcnn": 0.25, "toy": 3.0}
    paper = constants(build("head+toy", head={"weights": "paper"}))
    assert paper == {"akd/rcnn/fc0": 2.0, "akd/rcnn/fc1": 2.0, "ckd/rcnn": 2.0, "toy": 0.125}


@pytest.mark.usefixtures("with_toy")
def test_terms_of_two_methods_are_those_of_each_alone_at_half_the_weight():
    both = fix_norms(build("head+toy", head={"warmup": 0, "transfer": False}))
    terms = run(both, *batch()).terms
    for name, options in (("head", {"warmup": 0, "transfer": False}), ("toy", {})):
        alone = fix_norms(build(name, **options))
        state = both.state_dict()
        alone.load_state_dict({key: state[key] for key in alone.state_dict()})
        for term, value in run(alone, *batch()).terms.items():
            share = 1.0 if term.startswith(("student/", "assistant/")) else 0.5
            assert terms[term].item() == pytest.approx(value.item() * share, rel=1e-5), term


@pytest.mark.usefixtures("with_toy")
def test_each_method_checks_its_own_options():
    with pytest.raises(UserError, match=r"^method toy: on must be true or false, not 'perhaps'$"):
        build("head+toy", toy={"on": "perhaps"})
    with pytest.raises(UserError, match=r"^method head has no option 'wieght'; did you mean "):
        build("head+toy", head={"wieght": 1})
    assert "toy" not in build("head+toy", toy={"on": "false"}).guidances


@pytest.mark.usefixtures("with_toy")
@pytest.mark.parametrize("options", [{"weight": 1}, {"toy": 3}, {"akd": {}}])
def test_options_of_several_methods_stand_under_their_names(options):
    (name,) = options
    with pytest.raises(UserError, match=rf"methods head and toy: say of which .* head\.{name}, .*method\.head\.{name}"):
        build("head+toy", **options)


@pytest.mark.usefixtures("with_toy")
def test_a_method_is_there_once():
    with pytest.raises(UserError, match="methods toy and toy: each can be there once only"):
        build("toy+toy")
    with pytest.raises(UserError, match="no method is called 'tay'; did you mean toy"):
        build("head+tay")


def test_methods_whose_guidances_have_one_name_are_refused(monkeypatch, with_toy):
    monkeypatch.setitem(METHODS, "twin", toy)
    with pytest.raises(ValueError, match="two guidances are called toy"):
        build("toy+twin")


def test_a_method_of_ones_own_needs_no_name():
    teacher, student = frozen("fcos"), tiny("retinanet")
    method = Method(student, toy(student, [teacher], ToyOptions()), [teacher])
    assert run(method, *batch(), LATE).terms["toy"].item() > 0


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "refused"), [("gfl", []), ("retinanet", ["ld"]), ("fasterrcnn", ["ld", "bckd"])])
def test_methods_that_a_detector_cannot_have(family, refused):
    detector = tiny(family)
    assert refusals(detector) == refused == refusals(detector.to("meta"))


def test_a_method_that_refuses_a_pair_is_one_of_them(monkeypatch):
    def picky(student, teachers, options: ToyOptions) -> list[Guidance]:
        raise UserError("method picky needs something else")

    # A dictionary of its own: what is taken out of the real one would come back in another place.
    monkeypatch.setattr(methods, "METHODS", {"baseline": METHODS["baseline"], "picky": picky, "toy": toy})
    assert refusals(tiny("retinanet")) == ["picky"]
