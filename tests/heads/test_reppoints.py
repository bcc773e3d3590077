"""RepPoints' own rules: points, their boxes, two stages, whose gradient goes where."""

import math
from dataclasses import replace

import pytest
import torch

from headstart.heads.reppoints import RepPointsHead, RepPointsOptions, scale_gradient
from headstart.structures import DenseOutputs, Targets

STRIDES = [8, 16]
SIZE = (64, 64)
MAPS = [(8, 8), (4, 4)]


def make(**options):
    torch.manual_seed(0)
    return RepPointsHead(2, 4, STRIDES, RepPointsOptions(width=4, depth=1, **({"point_scale": 2.0} | options)))


def corners(*box):
    """Nine points (dy, dx) whose box is (x0, y0, x1, y1): its middle, and twice each corner."""
    x0, y0, x1, y1 = box
    grow = math.sqrt(8 / 8)  # nine values of +-1 and one 0 have a sample deviation of 1
    middle_x, middle_y, half_x, half_y = (x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2 * grow, (y1 - y0) / 2 * grow
    signs = [(0, 0)] + [(a, b) for a in (-1, 1) for b in (-1, 1)] * 2
    return torch.tensor([(middle_y + a * half_y, middle_x + b * half_x) for a, b in signs]).flatten()


def said(initial, refined, count=1):
    """Outputs whose every cell says the same: the box of both stages in strides from the cell's corner."""
    cls = [torch.zeros(count, 2, *shape, requires_grad=True) for shape in MAPS]
    stages = [
        [corners(*box)[None, :, None, None].repeat(count, 1, *shape).requires_grad_() for shape in MAPS]
        for box in (refined, initial)
    ]
    return DenseOutputs(cls, stages[0], None, [SIZE] * count, earlier=(stages[1],))


def truth(*boxes, label=1):
    rows = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return Targets(rows, torch.full((len(rows),), label), torch.zeros(len(rows), dtype=torch.bool))


def features():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(1, 4, *shape, generator=generator) for shape in MAPS]


def test_the_moment_transform():
    """Centre: the mean. Half side: the deviation times the learned factor of its axis."""
    head = make()
    box = head.boxes(corners(-1, 0, 3, 1))
    assert box.tolist() == pytest.approx([-1, 0, 3, 1], abs=1e-6)
    head.moment.data = torch.tensor([math.log(2), math.log(0.5)])
    assert head.boxes(corners(-1, 0, 3, 1)).tolist() == pytest.approx([-3, 0.25, 5, 0.75], abs=1e-6)
    points = torch.randn(5, 18, generator=torch.Generator().manual_seed(0))
    y, x = points[:, 0::2], points[:, 1::2]
    wide, tall = 2 * x.std(dim=1), 0.5 * y.std(dim=1)
    goal = torch.stack([x.mean(1) - wide, y.mean(1) - tall, x.mean(1) + wide, y.mean(1) + tall], dim=1)
    torch.testing.assert_close(head.boxes(points), goal)


def test_points_in_one_place_have_a_gradient():
    """The first steps of a head whose layers say nothing yet."""
    points = torch.ones(1, 18, requires_grad=True)
    box = make().boxes(points)
    box.sum().backward()
    assert bool(points.grad.isfinite().all()) and box.tolist()[0] == pytest.approx([1, 1, 1, 1], abs=1e-5)


def test_the_moment_learns_a_hundred_times_slower():
    head = make()
    head.boxes(corners(-1, 0, 3, 1))[2:].sum().backward()
    assert head.moment.grad.tolist() == pytest.approx([0.02, 0.005], rel=1e-5)


def test_boxes_are_in_strides_from_the_cells_corner():
    box = make().decode_level(corners(-1, 0, 3, 1).expand(16, 18), 1, (4, 4))[5]
    assert box.tolist() == pytest.approx([16 - 16, 16, 16 + 48, 32], abs=1e-4)


def test_the_second_stage_moves_the_first_ones_points():
    head = make()
    torch.nn.init.zeros_(head.reg.weight)
    torch.nn.init.constant_(head.reg.bias, 0.25)
    outputs = head.resume(features(), features(), start=0, sizes=[SIZE])
    assert all(torch.equal(b, a + 0.25) for a, b in zip(outputs.earlier[0], outputs.reg))


def test_classes_and_second_stage_read_the_map_at_the_first_ones_points():
    """With all nine points on one cell to the right, every tap sees that cell."""
    head, maps = make(), features()
    torch.nn.init.zeros_(head.initial.weight)
    head.initial.bias.data = torch.tensor([0.0, 1.0]).repeat(9)
    outputs = head.resume(maps, maps, start=0, sizes=[SIZE], trace=True)
    seen = head.cls_tower(maps[0])[0]
    weight = head.cls_conv.weight.sum(dim=(2, 3))
    goal = torch.einsum("oc,bchw->bohw", weight, seen)[..., 1:]
    torch.testing.assert_close(outputs.inner["cls_conv"][0][..., :-1], goal, rtol=1e-4, atol=1e-6)
    assert not outputs.inner["cls_conv"][0][..., -1].any()  # beyond the map


def test_a_tenth_of_the_gradient_flows_back_through_the_points():
    x = torch.tensor([3.0], requires_grad=True)
    scale_gradient(x, 0.1).sum().backward()
    assert scale_gradient(x, 0.1).item() == pytest.approx(3) and x.grad.item() == pytest.approx(0.1)


def test_the_first_stage_is_not_taught_by_the_second_ones_boxes():
    """Its points reach the second stage as a place to read at, not as a sum."""
    head, maps = make(), features()
    outputs = head.resume(maps, maps, start=0, sizes=[SIZE])
    torch.nn.init.zeros_(head.reg_conv.weight)
    still = head.resume(maps, maps, start=0, sizes=[SIZE])
    sum(m.sum() for m in still.reg).backward()
    assert not head.initial.weight.grad.any() and head.reg.bias.grad.any()
    assert outputs.earlier[0][0].requires_grad


def test_layers_are_five_and_activated():
    head, maps = make(), features()
    outputs = head.resume(maps, maps, start=0, sizes=[SIZE], trace=True)
    layers = head.layers(outputs)
    assert list(layers) == ["cls_tower", "reg_tower", "initial_conv", "cls_conv", "reg_conv"]
    assert all(bool((m >= 0).all()) and m.shape[1] == 4 for maps in layers.values() for m in maps)
    assert torch.equal(head.cls(layers["cls_conv"][1]), outputs.cls[1])
    assert torch.equal(head.initial(layers["initial_conv"][0]), outputs.earlier[0][0])
    assert head.resume(maps, maps, start=0, sizes=[SIZE]).inner == {}


def test_who_answers_in_which_stage():
    """First the point nearest to the object on the level of its size; then every cell whose first box overlaps it."""
    head = make()
    outputs = said((-1.0, -1, 1, 1), (-1.0, -1, 1, 1))
    assigned = head.assign(outputs, [truth((17, 16, 33, 32))])  # 16 pixels: two strides of the first level
    assert assigned.earlier[0].positive[0].nonzero().flatten().tolist() == [3 * 8 + 3]
    # Boxes of 16 pixels around every corner; those one cell to the left are at IoU 7 / 25, so not trained: 0.28 < 0.4.
    assert assigned.positive[0].nonzero().flatten().tolist() == [3 * 8 + 3]
    assert assigned.labels[0, 3 * 8 + 3] == 1 and assigned.boxes[0, 3 * 8 + 3].tolist() == [17, 16, 33, 32]
    elsewhere = head.assign(said((0.0, -1, 2, 1), (-1.0, -1, 1, 1)), [truth((17, 16, 33, 32))])
    assert elsewhere.positive[0].nonzero().flatten().tolist() == [3 * 8 + 2]
    assert elsewhere.earlier[0].positive[0].nonzero().flatten().tolist() == [3 * 8 + 3]
    unsure = head.assign(said((-0.125, -1, 1.875, 1), (-1.0, -1, 1, 1)), [truth((17, 16, 33, 32))])
    assert unsure.positive[0].nonzero().flatten().tolist() == [3 * 8 + 2]
    assert (unsure.weight[0] == 0).nonzero().flatten().tolist() == [3 * 8 + 3]  # IoU 10 / 22, between 0.4 and 0.5


def test_cells_beyond_an_images_own_padding_are_not_trained():
    head = make()
    outputs = replace(said((-1.0, -1, 1, 1), (-1.0, -1, 1, 1), count=2), sizes=[SIZE, (30, 64)])
    assigned = head.assign(outputs, [truth((17, 40, 33, 56))] * 2)
    below = head.cells(outputs).y * head.row_strides(outputs) >= 32
    assert assigned.weight[0].all() and torch.equal(assigned.weight[1] == 0, below)
    for stage in (assigned, assigned.earlier[0]):
        assert stage.positive[0][below].any() and not stage.positive[1][below].any()


def test_losses_by_hand():
    """Smooth L1 of the corners in units of two strides, half of it for the first stage."""
    head = make()
    outputs = said((-1.0, -1, 1, 1), (-1.5, -1, 1, 1), count=2)
    assigned = head.assign(outputs, [truth((17, 16, 33, 32)), Targets.empty()])
    losses = head.loss(outputs, assigned)
    small = (1 / 16) ** 2 / 2 / 0.11  # one pixel in 16
    assert losses["initial_box"].item() == pytest.approx(0.5 * 2 * small / 2, rel=1e-4)
    # The refined box (12, 16, 32, 32) is 5 pixels off at the left, one at the right.
    assert losses["box"].item() == pytest.approx((5 / 16 - 0.11 / 2 + small) / 2, rel=1e-4)
    focal = math.log(2) * 0.25 * (0.75 * (160 * 2 - 1) + 0.25) / 2
    assert losses["cls"].item() == pytest.approx(focal, rel=1e-4)


def test_each_stage_is_divided_by_its_own_positives():
    head = make()
    outputs = said((-1.0, -1, 1, 1), (-1.0, -1, 1, 1))
    assigned = head.assign(outputs, [truth((17, 16, 33, 32))])
    twice = replace(assigned, positive=assigned.positive.clone(), boxes=assigned.boxes.clone())
    twice.positive[0, 0] = True
    twice.boxes[0, 0] = torch.tensor([-8.0, -8, 8, 8])  # exactly its box
    one, two = head.loss(outputs, assigned), head.loss(outputs, twice)
    assert two["box"].item() == pytest.approx(one["box"].item() / 2)
    assert two["initial_box"].item() == pytest.approx(one["initial_box"].item())
