"""HEAD's options: what they come to, and what is refused in which words."""

import re
from dataclasses import asdict

import pytest

from headstart.errors import UserError
from headstart.methods.assistants import assistant_for, standalone_assistant
from headstart.methods.head_options import (
    HeadOptions,
    check_regions,
    check_someone_teaches,
    paper_ckd,
    parse_assistants,
)
from headstart.methods.weight import Schedule
from headstart.options import check_options
from laws.tiny import DENSE, TWO_STAGE
from methods.pairs import frozen, tiny


def check(**given):
    return check_options(HeadOptions, given, "method head")


# -- values ------------------------------------------------------------------------------------------------------------


def test_the_defaults():
    assert check() == HeadOptions()
    assert asdict(HeadOptions()) == {
        "akd": True,
        "ckd": True,
        "assistants": None,
        "weights": "auto",
        "akd_weight": None,
        "ckd_weight": None,
        "adapter": "linear",
        "warmup": None,
        "assistant_warmup": None,
        "ckd_stop": "auto",
        "transfer": True,
        "regions": None,
    }


@pytest.mark.parametrize(
    ("option", "given", "value"),
    [
        ("akd", "false", False),
        ("akd", "true", True),
        ("transfer", False, False),
        ("warmup", "10", 10),
        ("warmup", 10.0, 10),
        ("warmup", 0, 0),
        ("warmup", None, None),
        ("ckd_stop", None, None),
        ("ckd_stop", "auto", "auto"),
        ("ckd_stop", "100", 100),
        ("ckd_stop", 0, 0),
        ("ckd_weight", "0.25", 0.25),
        ("akd_weight", None, None),
        ("regions", "64", 64),
        ("assistants", "rcnn, fcos", "rcnn, fcos"),
        ("assistants", ["rcnn"], ["rcnn"]),
        ("assistants", {"rcnn": {"weight": 2}}, {"rcnn": {"weight": 2}}),
        ("assistants", None, None),
    ],
)
def test_values_are_converted_by_their_type(option, given, value):
    """A switch that is believed to be on because its word is not empty would be the worst of all."""
    found = getattr(check(**{option: given}), option)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("akd", "perhaps", "true or false"),
        ("akd", None, "true or false"),
        ("weights", "papr", "auto or paper"),
        ("adapter", "conv", "linear or per_anchor"),
        ("ckd_stop", "never", "a whole number or auto"),
        ("ckd_stop", -1, "at least 0 or auto"),
        ("warmup", "ten", "a whole number"),
        ("warmup", 1.5, "a whole number"),
        ("assistant_warmup", -1, "at least 0"),
        ("ckd_weight", "much", "a number"),
        ("regions", 0, "at least 1"),
        ("regions", -3, "at least 1"),
        ("regions", 1.5, "a whole number"),
        ("regions", "many", "a whole number"),
        ("assistants", True, "a word or a mapping or a list"),
        ("assistants", 3, "a word or a mapping or a list"),
    ],
)
def test_values_that_cannot_be_are_refused_in_one_sentence_with_what_is_allowed(option, value, allowed):
    with pytest.raises(UserError) as refused:
        check(**{option: value})
    assert str(refused.value) == f"method head: {option} must be {allowed}, not '{value}'"


@pytest.mark.parametrize(
    ("option", "ending"),
    [
        ("weigths", "; did you mean weights?"),
        ("ckd_weigth", "; did you mean ckd_weight?"),
        ("assistant", "; did you mean assistants?"),
        ("zzzzzz", "; expected one of akd, ckd, assistants, "),
    ],
)
def test_unknown_options_are_refused_with_the_nearest(option, ending):
    with pytest.raises(UserError) as refused:
        check(**{option: 1})
    assert str(refused.value).startswith(f"method head has no option '{option}'{ending}")


# -- schedules ---------------------------------------------------------------------------------------------------------


def test_schedules_by_default():
    """With a teacher only AKD and CKD warm up, to the end; without one the assistants too, and CKD ends early."""
    options = HeadOptions()
    assert options.akd_schedule() == Schedule(None)
    assert options.ckd_schedule(taught=True) == Schedule(None)
    assert options.ckd_schedule(taught=False) == Schedule(None, "first_drop")
    assert options.assistant_schedule(taught=True) == Schedule(0)
    assert options.assistant_schedule(taught=False) == Schedule(None)


@pytest.mark.parametrize("taught", [True, False])
def test_schedules_that_are_chosen(taught):
    options = HeadOptions(warmup=10, assistant_warmup=40, ckd_stop=100)
    assert options.akd_schedule() == Schedule(10)
    assert options.ckd_schedule(taught=taught) == Schedule(10, 100)
    assert options.assistant_schedule(taught=taught) == Schedule(40)
    assert HeadOptions(ckd_stop=None).ckd_schedule(taught=taught) == Schedule(None, None)
    assert HeadOptions(warmup=10).assistant_schedule(taught=taught) == Schedule(0 if taught else 10)
    assert HeadOptions(assistant_warmup=0).assistant_schedule(taught=taught) == Schedule(0)


# -- assistants --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        (None, {}),
        ([], {}),
        ({}, {}),
        ("rcnn", {"rcnn": {}}),
        ("rcnn, fcos", {"rcnn": {}, "fcos": {}}),
        (["fcos", "rcnn"], {"fcos": {}, "rcnn": {}}),
        ({"rcnn": {"hidden": 12}, "fcos": None}, {"rcnn": {"hidden": 12}, "fcos": {}}),
        ("auto", {"fcos": {}, "rcnn": {}}),
    ],
)
def test_assistants_may_be_given_in_several_ways(given, chosen):
    found = parse_assistants(given, tiny("retinanet"))
    assert found == chosen and list(found) == list(chosen)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("quux", "method head: no assistant is called 'quux'; expected one of rcnn, "),
        (["retinet"], "method head: no assistant is called 'retinet'; did you mean retinanet?"),
        ("rcnn, rcnn", "method head: assistant rcnn is named twice; there is one of each kind"),
        (["fcos", "rcnn", "fcos"], "method head: assistant fcos is named twice; there is one of each kind"),
        ({"rcnn": 3}, "method head: assistant rcnn: its options must be a mapping, not '3'"),
    ],
)
def test_assistants_that_cannot_be_are_refused(given, sentence):
    with pytest.raises(UserError, match=re.escape(sentence)):
        parse_assistants(given, tiny("gfl"))


def test_somebody_has_to_guide():
    check_someone_teaches([frozen("fcos")], {})
    check_someone_teaches([], {"rcnn": {}})
    with pytest.raises(UserError, match=r"needs a teacher: give --teacher FILE.*--assistants auto \(TF-HEAD\)"):
        check_someone_teaches([], {})


# -- regions -----------------------------------------------------------------------------------------------------------


def test_how_many_regions_are_read():
    """Of a dense student a number of ours, or the published one; of a two-stage student all that it samples."""
    assert HeadOptions().regions_for(tiny("retinanet")) == 128
    assert HeadOptions(weights="paper").regions_for(tiny("retinanet")) == 512
    assert HeadOptions().regions_for(tiny("fasterrcnn")) == HeadOptions().regions_for(tiny("cascadercnn")) == 512
    for family in ("retinanet", "fasterrcnn"):
        assert HeadOptions(regions=20, weights="paper").regions_for(tiny(family)) == 20


def test_a_number_that_would_do_nothing_is_refused():
    check_regions(tiny("retinanet"), None, read=False)
    check_regions(tiny("retinanet"), 9999, read=True)  # a dense student proposes as many as there are
    check_regions(tiny("fasterrcnn"), 512, read=True)
    with pytest.raises(UserError, match=r"regions is 64, but neither .* read regions here; leave it out"):
        check_regions(tiny("retinanet"), 64, read=False)
    with pytest.raises(UserError, match=r"student samples 512 regions .* student\.options\.regions=513"):
        check_regions(tiny("fasterrcnn"), 513, read=True)


# -- the published constants -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("student", [*DENSE, *TWO_STAGE])
def test_the_published_constant_of_ckd(student):
    """2 of a teacher with box heads, but 1 for FCOS; 1.3 of an assistant with one; 1 where there was no such pair."""
    own = tiny(student)
    for teacher in TWO_STAGE:
        assistant = assistant_for(frozen(teacher), own)
        assert paper_ckd(own, assistant, taught=True) == (1.0 if student == "fcos" else 2.0)
    dense = assistant_for(frozen("gfl"), own)
    assert paper_ckd(own, dense, taught=True) == paper_ckd(own, dense, taught=False) == 1.0
    if student in DENSE:
        assert paper_ckd(own, standalone_assistant("rcnn", own, {}), taught=False) == 1.3
