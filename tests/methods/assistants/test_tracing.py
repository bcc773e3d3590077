"""From regions back to their cells, and the adapters of what is found there."""

import pytest
import torch
from headstart.methods.assistants.tracing import ADAPTERS, PerAnchor, Shared, read_cells
from torch import nn

from headstart.structures import CellIndex, Regions


def places(*images):
    """Regions at cells [(level, y, x, anchor), ...] per image."""
    found = []
    for cells in images:
        rows = torch.tensor(cells, dtype=torch.int64).reshape(-1, 4)
        boxes = torch.zeros(len(rows), 4)
        found.append(Regions(boxes, torch.zeros(len(rows), dtype=torch.int64), boxes, CellIndex(*rows.unbind(1))))
    return found


def named_maps():
    """maps[l][b, :, y, x] = (l, b, y, x)."""
    maps = []
    for level, (height, width) in enumerate([(4, 6), (2, 3)]):
        b, y, x = torch.meshgrid(torch.arange(2), torch.arange(height), torch.arange(width), indexing="ij")
        maps.append(torch.stack([torch.full_like(b, level), b, y, x], dim=1).float().requires_grad_())
    return maps


def test_the_cells_behind_the_places_are_read():
    maps = named_maps()
    vectors, traced, anchor = read_cells(
        maps, places([(-1, -1, -1, -1), (1, 1, 2, 5), (0, 3, 0, 1)], [(0, 0, 5, 8), (-1, -1, -1, -1), (1, 0, 1, 0)])
    )
    assert vectors.tolist() == [[1, 0, 1, 2], [0, 0, 3, 0], [0, 1, 0, 5], [1, 1, 0, 1]]
    assert traced.tolist() == [1, 2, 3, 5] and anchor.tolist() == [5, 1, 8, 0]


def test_gradients_reach_exactly_these_cells():
    maps = named_maps()
    vectors, _, _ = read_cells(maps, places([(0, 3, 0, 1), (0, 3, 0, 2)], [(1, 0, 1, 0)]))
    vectors.sum().backward()
    assert maps[0].grad[0, :, 3, 0].tolist() == [2.0] * 4 and maps[0].grad.sum() == 8
    assert maps[1].grad[1, :, 0, 1].tolist() == [1.0] * 4 and maps[1].grad.sum() == 4


@pytest.mark.parametrize("cells", [[(-1, -1, -1, -1)], []], ids=["ground truth only", "no place"])
def test_without_a_cell_nothing_is_read(cells):
    maps = named_maps()
    vectors, traced, anchor = read_cells(maps, places(cells, cells))
    assert vectors.shape == (0, 4) and len(traced) == len(anchor) == 0
    vectors.sum().backward()
    assert all(m.grad is not None and not m.grad.any() for m in maps)


def test_coarser_maps_are_read_at_the_cell_that_holds_it():
    """Factors 3 and 2: cells of a level that was traced, of which so many make one of the maps'."""
    cells = [(0, 11, 17, 0), (0, 0, 2, 0), (0, 3, 3, 0), (1, 3, 5, 0), (1, 0, 1, 0)]
    vectors, traced, _ = read_cells(named_maps(), places(cells, []), [3, 2])
    assert vectors.tolist() == [[0, 0, 3, 5], [0, 0, 0, 0], [0, 0, 1, 1], [1, 0, 1, 2], [1, 0, 0, 0]]
    assert traced.tolist() == [0, 1, 2, 3, 4]


def test_cells_of_levels_that_the_maps_lack_are_left_out():
    vectors, traced, anchor = read_cells(named_maps(), places([(4, 0, 0, 1), (0, 2, 1, 3)], [(2, 0, 0, 0)]), [1, 1])
    assert vectors.tolist() == [[0, 0, 2, 1]] and traced.tolist() == [1] and anchor.tolist() == [3]


@pytest.mark.parametrize("anchors", [9, 1])
def test_per_anchor_equals_separate_layers(anchors):
    torch.manual_seed(0)
    adapter = PerAnchor(anchors, 6, 4)
    separate = [nn.Linear(6, 4) for _ in range(anchors)]
    for index, layer in enumerate(separate):
        layer.weight.data.copy_(adapter.linear.weight[index * 4 : index * 4 + 4])
        layer.bias.data.copy_(adapter.linear.bias[index * 4 : index * 4 + 4])
    rows, anchor = torch.randn(20, 6), torch.randint(0, anchors, (20,))
    expected = torch.stack([separate[a](row) for row, a in zip(rows, anchor.tolist())])
    found = adapter(rows, anchor)
    torch.testing.assert_close(found, expected)
    found.square().sum().backward()
    expected.square().sum().backward()
    grads = [torch.zeros_like(s.weight) if s.weight.grad is None else s.weight.grad for s in separate]
    torch.testing.assert_close(adapter.linear.weight.grad, torch.cat(grads))


def test_shared_is_one_layer_whatever_the_anchor():
    adapter = Shared(9, 6, 4)
    rows = torch.randn(5, 6)
    assert torch.equal(adapter(rows, torch.arange(5)), adapter.linear(rows))
    assert sum(p.numel() for p in adapter.parameters()) == 6 * 4 + 4


@pytest.mark.parametrize("kind", ADAPTERS)
def test_adapters_take_no_rows(kind):
    found = ADAPTERS[kind](3, 6, 4)(torch.zeros(0, 6), torch.zeros(0, dtype=torch.int64))
    assert found.shape == (0, 4) and found.requires_grad
