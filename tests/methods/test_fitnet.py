import pytest
import torch
from torch.nn import functional

from headstart.methods import Frozen, build_method
from laws.tiny import MIDWAY, detector, run, scene


def make(student="gfl", teacher="gfl", **options):
    wide = options.pop("width", None)
    taught = Frozen(detector(teacher, 1, **({"width": wide} if wide else {})))
    return build_method("fitnet", detector(student), taught, **options).eval()


def term(method):
    return run(method, *scene(size=64)).terms["fitnet/neck"]


def errors(method):
    """The mean squared error of each level inside the images, without adapters."""
    images, _ = scene(size=64)
    with torch.no_grad():
        own, theirs = method.student.extract(images).pyramid, method.teachers[0].model.extract(images).pyramid
    found = []
    for stride, one, other in zip(method.student.neck.strides, own, theirs, strict=True):
        rows = [-(-h // stride) for h, _ in images.sizes]
        columns = [-(-w // stride) for _, w in images.sizes]
        parts = [(one - other)[i, :, :r, :c].square() for i, (r, c) in enumerate(zip(rows, columns, strict=True))]
        found.append(torch.cat([p.flatten(1) for p in parts], dim=1).mean().item())
    return found


def test_at_first_it_is_the_published_sum_of_plain_errors_in_the_images():
    method = make(weights="paper")
    assert term(method).item() == pytest.approx(sum(errors(method)), rel=1e-4)
    assert term(make(weights="paper", weight="3")).item() == pytest.approx(3 * sum(errors(method)), rel=1e-4)


def test_automatic_weights_are_in_units_of_the_targets_variance():
    method = make()
    (row,) = method.describe()
    assert (row["through"], row["weight"]) == ("1x1 16 -> 16 per level", "5 / variance")
    method.train()
    run(method, *scene(size=64))
    unit = method.guidances["fitnet/neck"].weight.unit
    assert unit.steps == 50
    early = method(*scene(size=64), MIDWAY.__class__(step=0, total=10)).terms["fitnet/neck"]
    assert float(unit.seen) > 0 and float(unit.mean) > 0 and bool(early.isfinite())


def test_layers_lie_between_for_every_level():
    method = make(width=32)
    convs = method.guidances["fitnet/neck"].adapter.convs
    assert len(convs) == 5 and all(conv.weight.shape == (32, 16, 1, 1) for conv in convs)
    assert all(functional.mse_loss(c.weight, convs[0].weight) > 0 for c in convs[1:])
