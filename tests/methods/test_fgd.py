import pytest

from headstart.methods import Frozen, build_method
from laws.tiny import detector, run, scene


def make(student="gfl", teacher="gfl", **options):
    taught = Frozen(detector(teacher, 1, **options.pop("taught", {})))
    return build_method("fgd", detector(student), taught, **options).eval()


def values(method):
    found = run(method, *scene(size=64)).terms
    return {name.rpartition("/")[2]: v.item() for name, v in found.items() if name.startswith("fgd/neck/")}


@pytest.mark.parametrize(
    ("student", "constants", "temperature"),
    [
        ("gfl", [1e-3, 5e-4, 5e-4, 5e-6], 0.5),
        ("yolox", [1e-3, 5e-4, 5e-4, 5e-6], 0.5),
        ("fcos", [1.6e-3, 8e-4, 8e-4, 8e-6], 0.8),
        ("cascadercnn", [5e-5, 2.5e-5, 5e-5, 5e-7], 0.5),
    ],
)
def test_the_published_constants_by_the_student(student, constants, temperature):
    criterion = make(student).guidances["fgd/neck"].criterion
    assert list(criterion.terms.values()) == constants and criterion.temperature == temperature


def test_given_constants_replace_the_published_one_by_one():
    plain, given = values(make()), values(make(foreground_weight="2e-3", context_weight=0))
    assert given["foreground"] == pytest.approx(2 * plain["foreground"], rel=1e-5)
    assert given["background"] == pytest.approx(plain["background"], rel=1e-5) and given["context"] == 0
    assert make(temperature=2).guidances["fgd/neck"].criterion.temperature == 2


def test_a_layer_lies_between_only_where_widths_differ():
    assert make().describe()[0]["through"] == "-"
    assert make(taught={"width": 32}).describe()[0]["through"] == "1x1 16 -> 32 per level"


def test_a_student_can_start_from_the_teacher():
    rows = make(inherit="both").describe()
    assert [row["to"] for row in rows[:2]] == ["student neck, its start", "student head, its start"]


def test_levels_of_one_scale_are_compared_across_kinds():
    assert make("gfl", "fasterrcnn").guidances["fgd/neck"].criterion.strides == (8, 16, 32, 64, 128)
    assert make("fasterrcnn", "gfl").guidances["fgd/neck"].criterion.strides == (8, 16, 32, 64)
