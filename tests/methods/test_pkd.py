import pytest
import torch

from headstart.errors import UserError
from headstart.methods import Frozen, build_method
from headstart.methods.criteria.pearson import pearson
from laws.tiny import detector, run, scene


def terms_of(student="gfl", teacher="gfl", *, wide=False, **options):
    taught = Frozen(detector(teacher, 1, **({"width": 32} if wide else {})))
    method = build_method("pkd", detector(student, 0), taught, **options).eval()
    return method, run(method, *scene(size=64)).terms


def test_it_is_the_weighted_sum_over_the_levels():
    method, terms = terms_of()
    images, _ = scene(size=64)
    with torch.no_grad():
        own, theirs = method.student.extract(images).pyramid, method.teachers[0].model.extract(images).pyramid
    goal = 6 * sum(pearson(s, t) for s, t in zip(own, theirs))
    assert terms["pkd/neck"].item() == pytest.approx(goal.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("options", "factor"), [({"weight": 3}, 0.5), ({"weights": "paper"}, 1.0), ({"weight": "12"}, 2.0)]
)
def test_weights(options, factor):
    plain = terms_of()[1]["pkd/neck"].item()
    assert terms_of(**options)[1]["pkd/neck"].item() == pytest.approx(factor * plain, rel=1e-5)


def test_levels_of_one_stride_are_compared():
    """A two-stage student (strides 4 to 64) and a dense teacher (8 to 128) share four."""
    method, terms = terms_of("fasterrcnn", "gfl")
    (guidance,) = method
    images, targets = scene(size=64)
    step = method.step(images, targets, None)
    pair = guidance.match(guidance.source(step), guidance.target(step), step)
    assert [m.shape[-1] for m in pair.source] == [m.shape[-1] for m in pair.target] == [8, 4, 2, 1]
    assert terms["pkd/neck"] > 0


def test_a_layer_lies_between_only_where_widths_differ():
    assert not terms_of()[0].parts()
    assert list(terms_of(wide=True)[0].parts()) == ["guidances.pkd/neck"]


def test_without_a_teacher_it_is_refused():
    with pytest.raises(UserError, match="method pkd needs a teacher: give --teacher FILE"):
        build_method("pkd", detector("gfl"))
