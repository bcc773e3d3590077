import pytest

from headstart.errors import UserError
from headstart.methods import Frozen, build_method
from laws.tiny import detector, run, scene


def make(student="gfl", teacher="gfl", **options):
    taught = Frozen(detector(teacher, 1, **options.pop("taught", {})))
    return build_method("mgd", detector(student), taught, **options).eval()


@pytest.mark.parametrize(("student", "constant", "masked"), [("atss", 2e-5, 0.65), ("fasterrcnn", 5e-7, 0.45)])
def test_the_published_constants_by_where_the_student_predicts(student, constant, masked):
    guidance = make(student).guidances["mgd/neck"]
    assert guidance.weight.constant == constant and guidance.criterion.masked == masked


def test_given_values_replace_them():
    guidance = make(weight="1e-3", masked=0).guidances["mgd/neck"]
    assert guidance.weight.constant == 1e-3 and guidance.criterion.masked == 0
    with pytest.raises(UserError, match="method mgd: masked must be less than 1"):
        make(masked=1)


def test_its_layers_are_trained_and_thrown_away():
    method = make(taught={"width": 32})
    assert method.describe()[0]["through"] == "1x1 16 -> 32 per level"
    run(method, *scene(size=64)).terms["mgd/neck"].backward()
    (part,) = method.parts().values()
    assert len(list(part.parameters())) == 5 * (2 + 4) and all(p.grad is not None for p in part.parameters())


def test_a_student_can_start_from_the_teacher():
    assert make(inherit="head").describe()[0]["to"] == "student head, its start"
