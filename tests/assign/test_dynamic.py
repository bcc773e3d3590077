"""Assignment by cost: what the official numbers do not reach (they are in tests/parity)."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from headstart.assign.dynamic import Costs, SimOTA, SoftLabel, choose_cheapest
from headstart.assign.max_iou import IGNORED, NEGATIVE
from headstart.priors import place_points
from headstart.structures import Targets


def one_by_one(costs, topk):
    """The rule as the papers write it, object by object."""
    points, objects = costs.cost.shape
    penalty = torch.zeros_like(costs.cost).double()
    if costs.preferred is not None:
        penalty[~costs.preferred] = 1e6
    cost = costs.cost.double() + penalty
    rows = range(points)
    takers = {row: [] for row in rows}
    for j in range(objects):
        best = sorted((costs.ious[row, j].item() for row in rows), reverse=True)[:topk]
        count = max(1, int(sum(best)))
        for row in sorted(rows, key=lambda row: (cost[row, j].item(), row))[:count]:
            takers[row].append(j)
    found = torch.full((points,), objects)
    for row, js in takers.items():
        if len(js) == 1:
            found[row] = js[0]
        elif js:
            found[row] = min(range(objects), key=lambda j: (cost[row, j].item(), j))
    return found


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("preferring", [False, True])
def test_all_objects_at_once_is_object_by_object(seed, preferring):
    generator = torch.Generator().manual_seed(seed)
    points, objects = 40, 6
    cost = torch.randint(0, 12, (points, objects), generator=generator).float()  # equal costs are common
    ious = torch.rand(points, objects, generator=generator)
    preferred = torch.rand(points, objects, generator=generator) < 0.1 if preferring else None
    costs = Costs(torch.arange(points), cost, ious, preferred)
    assert torch.equal(choose_cheapest(costs, 5), one_by_one(costs, 5))


def scene():
    points, strides = place_points(8, 8, 8, within=0.5), torch.full((64,), 8.0)
    generator = torch.Generator().manual_seed(0)
    boxes = torch.cat([points - 10, points + 10], dim=1)
    return points, strides, torch.randn(64, 3, generator=generator), torch.randn(64, generator=generator), boxes


def assign(assigner, targets, usable=None):
    points, strides, logits, objectness, boxes = scene()
    usable = torch.ones(64, dtype=torch.bool) if usable is None else usable
    if isinstance(assigner, SoftLabel):
        return assigner(points, strides, logits, boxes, targets, usable)
    return assigner(points, strides, logits, objectness, boxes, targets)


def objects(*rows, ignored=()):
    boxes = torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)
    return Targets(
        boxes, torch.arange(len(rows)) % 3, torch.tensor([i in ignored for i in range(len(rows))], dtype=torch.bool)
    )


@pytest.mark.parametrize("assigner", [SoftLabel(), SimOTA(), SimOTA(radius=2.5, inside=True)])
def test_names_of_targets_pass_over_ignored_ones(assigner):
    targets = objects([40, 40, 60, 60], [0, 0, 30, 30], [8, 30, 40, 60], ignored=[1])
    matched = assign(assigner, targets)
    assert {0, 2} < set(matched.tolist()) and 1 not in matched.tolist()
    points = scene()[0]
    inside = ((points > 0) & (points < 30)).all(dim=1) & (matched < 0)
    assert bool((matched[inside] == IGNORED).all()) and int(inside.sum()) > 3
    assert NEGATIVE in matched[~inside].tolist()


@pytest.mark.parametrize("assigner", [SoftLabel(), SimOTA()])
def test_without_objects_all_is_background(assigner):
    assert set(assign(assigner, objects()).tolist()) == {NEGATIVE}


@pytest.mark.parametrize("assigner", [SoftLabel(), SimOTA()])
def test_an_object_without_candidates_takes_none(assigner):
    """Between the points, which lie at 4, 12, 20 ... px; and outside of the map."""
    matched = assign(assigner, objects([200, 200, 230, 240], [205, 210, 211, 219]))
    assert set(matched.tolist()) == {NEGATIVE}


class Transfers(TorchDispatchMode):
    """Counts what makes a program wait for an accelerator: numbers, sizes and places that the host must know."""

    waiting = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "item", "is_nonzero", "equal")

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        masks = name.startswith("index") and any(
            isinstance(part, torch.Tensor) and part.dtype == torch.bool
            for part in (args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else ())
        )
        self.count += masks or any(name.startswith(word) for word in self.waiting)
        return func(*args, **(kwargs or {}))


def test_numbers_for_the_host_are_counted():
    with Transfers() as seen:
        values = torch.arange(4.0)
        values[0].item()
        values.nonzero()
        values[values > 1]
        bool(values.sum() > 0)
        values.index_copy(0, torch.arange(2), values[:2])
    assert seen.count == 4


@pytest.mark.parametrize("assigner", [SoftLabel(), SimOTA(), SimOTA(radius=2.5, inside=True)])
def test_the_host_is_not_asked_more_often_for_more_objects(assigner):
    counts = []
    for number in (2, 40):
        corner = torch.rand(number, 2, generator=torch.Generator().manual_seed(0)) * 40
        many = Targets(
            torch.cat([corner, corner + 20], dim=1), torch.arange(number) % 3, torch.arange(number) == number - 1
        )
        with Transfers() as seen:
            assign(assigner, many)
        counts.append(seen.count)
    assert counts[0] == counts[1] <= 4


def test_points_beyond_the_image_take_no_part():
    usable = scene()[0][:, 0] < 32
    matched = assign(SoftLabel(), objects([20, 20, 50, 50]), usable)
    assert bool((matched[~usable] == IGNORED).all()) and 0 in matched[usable].tolist()


def test_far_objects_cost_much_but_not_infinitely_much():
    points, strides, logits, _, boxes = scene()
    wide = objects([0, 0, 4000, 4000])
    costs = SoftLabel().costs(points, strides, logits, boxes, wide, torch.ones(64, dtype=torch.bool))
    assert bool(costs.cost.isfinite().all()) and (assign(SoftLabel(), wide) == 0).sum() == 1


def test_certain_predictions_stay_finite():
    points, strides, logits, objectness, boxes = scene()
    costs = SimOTA().costs(points, strides, logits * 1e4, objectness * 1e4, boxes, objects([10, 10, 50, 50]))
    assert len(costs.candidates) > 3 and bool(costs.cost.isfinite().all())
