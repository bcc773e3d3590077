"""When a method guides."""

import pytest

from headstart.errors import UserError
from headstart.method_choice import MethodChoice
from headstart.methods import METHODS, check_method, options_class
from headstart.options import check_options
from headstart.pace import NAMES, Pace, latest_together, together
from headstart.recipe import check_run, dump_run, load_run


def test_every_nth_step_until_a_share():
    pace = Pace(every=3, until=0.7)
    assert [step for step in range(20) if pace.guides(step, 20)] == [0, 3, 6, 9, 12]
    assert [step for step in range(20) if Pace(until=0.7).guides(step, 20)] == list(range(14))
    assert all(Pace().guides(step, 20) for step in range(21))
    assert [step for step in range(5) if Pace(until=0.01).guides(step, 5)] == [0]


def test_the_last_step_until_a_step():
    pace = Pace(every=3, until=0.7)
    assert [pace.latest(step, 20) for step in (0, 2, 5, 13, 20)] == [0, 0, 3, 12, 12]
    assert all(pace.guides(pace.latest(step, 20), 20) for step in range(21))
    assert Pace().latest(20, 20) == 20
    paces = [Pace(4), Pace(6, 0.5)]
    assert together(paces) == 12 and together([Pace()]) == 1
    assert latest_together(paces, 90, 100) == 48 and all(pace.guides(48, 100) for pace in paces)


def test_what_the_pairing_table_says():
    words = {2: "2nd", 3: "3rd", 4: "4th", 11: "11th", 22: "22nd"}
    assert [Pace(n).text() for n in words] == [f" x {n} in every {word} step" for n, word in words.items()]
    assert Pace().text() == ""
    assert Pace(until=0.7).text() == ", until 70 % of the run"


def test_no_method_has_an_option_of_the_same_name():
    for name in METHODS:
        assert not set(NAMES) & set(options_class(name).__dataclass_fields__)


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("every", 0, "method pkd: every must be at least 1, not '0'"),
        ("every", True, "every must be a number"),
        ("until", 0, "until must be more than 0"),
        ("until", 70, "until must be at most 1"),
    ],
)
def test_values_that_cannot_be(option, value, sentence):
    with pytest.raises(UserError, match=sentence):
        check_method("pkd", {option: value})


def test_the_baseline_has_nothing_to_pace():
    with pytest.raises(UserError, match="method baseline has no option 'every'"):
        check_method("baseline", {"every": 2})


def test_beside_several_methods_it_is_that_of_each_that_gives_none():
    choice = MethodChoice.model_validate({"name": "head+pkd", "every": 4, "until": 0.7, "pkd": {"every": 2}})
    assert choice.parts == [("head", {"every": 4, "until": 0.7}), ("pkd", {"every": 2, "until": 0.7})]
    checked = check_method("head+pkd", {"every": 4, "pkd": {"every": "2"}})
    assert [pace for _, pace in checked.values()] == [Pace(4), Pace(2)]
    assert check_options(Pace, {"every": "3"}, "it") == Pace(3)


def test_a_run_keeps_it(tmp_path):
    tree = {"data": "x", "student": "retinanet_r18", "teacher": "t/x", "method": "head+pkd"}
    run = load_run(None, tree, ["method.every=4", "method.head.until=0.5"])
    assert run.method.options == {"head": {"every": 4, "until": 0.5}, "pkd": {"every": 4}}
    path = tmp_path / "run.yaml"
    path.write_text(dump_run(run))
    assert load_run(path) == run
    lanes = {"one": {"name": "head", "every": 2}}
    assert check_run({**{k: v for k, v in tree.items() if k != "method"}, "lanes": lanes}).choices["one"].options == {
        "every": 2
    }
