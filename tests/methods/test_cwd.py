import pytest
import torch

from headstart.errors import UserError
from headstart.methods import Frozen, build_method
from headstart.methods.criteria.channel_divergence import channel_divergence
from headstart.methods.criteria.pearson import standardise
from headstart.structures import Progress
from laws.tiny import detector, scene


def method_of(student="gfl", teacher="gfl", *, wide=False, **options):
    taught = Frozen(detector(teacher, 1, **({"width": 32} if wide else {})))
    torch.manual_seed(5)
    return build_method("cwd", detector(student, 0), taught, **options).eval()


def term(method, step=1):
    return method(*scene(size=64), Progress(step=step, total=100)).terms["cwd/neck"]


def pyramids(method):
    images, _ = scene(size=64)
    with torch.no_grad():
        return method.student.extract(images).pyramid, method.teachers[0].model.extract(images).pyramid


def test_plain_it_is_the_weighted_sum_over_the_levels():
    method = method_of(normalise=False, temperature=2)
    goal = 5 * sum(channel_divergence(s, t, temperature=2) for s, t in zip(*pyramids(method)))
    assert term(method).item() == pytest.approx(goal.item(), rel=1e-5) and not method.parts()


def test_normalised_it_goes_through_a_convolution_first():
    method = method_of()
    (guidance,) = method
    conv = guidance.adapter.conv
    goal = sum(channel_divergence(standardise(conv(s)), standardise(t)) for s, t in zip(*pyramids(method)))
    assert conv.bias is None and term(method).item() == pytest.approx(goal.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("options", "factor"), [({"weight": 3}, 3.0), ({"weights": "paper"}, 1.0), ({"weight": "12"}, 12.0)]
)
def test_weights(options, factor):
    plain = term(method_of()).item()
    assert term(method_of(**options)).item() == pytest.approx(factor * plain, rel=1e-5)


def test_it_ends_after_its_last_step():
    method = method_of(stop=10)
    assert term(method, 10) > 0 and term(method, 11) == 0


def test_a_layer_lies_between_plain_pyramids_only_where_widths_differ():
    (guidance,) = method_of(normalise=False, wide=True)
    assert guidance.adapter.conv.bias is not None and str(guidance.adapter) == "1x1 16 -> 32"


def test_without_a_teacher_it_is_refused():
    with pytest.raises(UserError, match="method cwd needs a teacher: give --teacher FILE"):
        build_method("cwd", detector("gfl"))
