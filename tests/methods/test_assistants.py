"""What HEAD's assistants read, and the adapters between them and the teacher."""

import pytest
import torch
from torch import nn

from headstart.assign.sample import RegionSampler
from headstart.classmap import match_classes
from headstart.heads.roi import BoxHead
from headstart.methods.assistants import (
    ADAPTERS,
    PerAnchor,
    RCNNAssistant,
    Shared,
    activated,
    pull_class_layers,
    read_cells,
)
from headstart.structures import PixelIndex, Regions

SAME = match_classes("abc", "abc")


def places(*images):
    """Regions at cells [(level, y, x, anchor), ...] per image."""
    found = []
    for cells in images:
        rows = torch.tensor(cells, dtype=torch.int64).reshape(-1, 4)
        boxes = torch.zeros(len(rows), 4)
        found.append(Regions(boxes, torch.zeros(len(rows), dtype=torch.int64), boxes, PixelIndex(*rows.unbind(1))))
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


def test_inheriting_copies_what_fits_and_names_the_rest():
    teacher = BoxHead(3, 16, [4, 8, 16, 32], hidden=24)
    same = RCNNAssistant(teacher, 16, [8, 16, 32, 64, 128], RegionSampler(), 3)
    assert same.inherit(teacher, SAME) == []
    assert all(torch.equal(v, same.head.state_dict()[k]) for k, v in teacher.state_dict().items())
    assert same.head.strides == [8, 16, 32, 64]
    assert same.head.fcs[0].weight.data_ptr() != teacher.fcs[0].weight.data_ptr()
    wider = RCNNAssistant(teacher, 20, [8, 16, 32, 64], RegionSampler(), 3)
    assert wider.inherit(teacher, SAME) == ["fcs.0.weight"]
    assert torch.equal(wider.head.fcs[1].weight, teacher.fcs[1].weight)
    wider.head([torch.zeros(1, 20, 8, 8)] * 4, [torch.zeros(2, 4)])  # still a head of its own width
    assert all(p.requires_grad for p in wider.parameters())


def heads(teacher, student, **options):
    """An assistant of a teacher's head for other classes, inherited; the teacher's head; what is fresh."""
    torch.manual_seed(0)
    classes = match_classes(teacher, student, {"car": "vehicle", "truck": "vehicle"} if "car" in teacher else None)
    guide = BoxHead(len(teacher), 16, [4, 8, 16, 32], hidden=24, **options)
    for layer in (guide.cls, guide.reg):
        nn.init.normal_(layer.bias)
    assistant = RCNNAssistant(guide, 16, [8, 16, 32, 64], RegionSampler(), len(student))
    before = {name: value.clone() for name, value in assistant.head.state_dict().items()}
    return assistant.head, guide, assistant.inherit(guide, classes), before


def test_an_assistant_has_the_students_classes_and_the_teachers_rows():
    own, guide, fresh, before = heads(["cat", "zebra", "dog"], ["dog", "fox", "cat"])
    assert fresh == ["1 of 3 classes"] and torch.equal(own.fcs[0].weight, guide.fcs[0].weight)
    for mine, theirs in ((0, 2), (2, 0), (3, 3)):  # dog, cat, background
        assert torch.equal(own.cls.weight[mine], guide.cls.weight[theirs])
        assert torch.equal(own.cls.bias[mine], guide.cls.bias[theirs])
    for mine, theirs in ((0, 2), (2, 0)):
        rows = slice(4 * mine, 4 * mine + 4), slice(4 * theirs, 4 * theirs + 4)
        assert torch.equal(own.reg.weight[rows[0]], guide.reg.weight[rows[1]])
        assert torch.equal(own.reg.bias[rows[0]], guide.reg.bias[rows[1]])
    assert torch.equal(own.cls.weight[1], before["cls.weight"][1]) and torch.equal(own.reg.bias[4:8], torch.zeros(4))


def test_merged_classes_start_from_the_mean_of_their_rows():
    """Their logit is that of either class raised by log 2: as likely as both together, where they agree."""
    own, guide, fresh, _ = heads(["car", "cat", "truck"], ["vehicle", "cat"])
    assert fresh == []
    torch.testing.assert_close(own.cls.weight[0], (guide.cls.weight[0] + guide.cls.weight[2]) / 2)
    torch.testing.assert_close(own.reg.bias[:4], (guide.reg.bias[:4] + guide.reg.bias[8:]) / 2)
    guide.cls.weight.data[2], guide.cls.bias.data[2] = guide.cls.weight.data[0], guide.cls.bias.data[0]
    classes = match_classes(["car", "cat", "truck"], ["vehicle", "cat"], {"car": "vehicle", "truck": "vehicle"})
    own.load_state_dict(own.state_dict() | pull_class_layers(guide, own, classes))
    vectors = torch.randn(5, 24)
    chances = guide.cls(vectors).softmax(dim=1)
    goal = torch.stack([chances[:, 0] + chances[:, 2], chances[:, 1], chances[:, 3]], dim=1)
    torch.testing.assert_close(own.cls(vectors).softmax(dim=1), goal)


def test_a_box_for_all_classes_is_copied():
    own, guide, fresh, _ = heads(["cat", "dog"], ["dog"], agnostic=True)
    assert fresh == [] and torch.equal(own.reg.weight, guide.reg.weight) and len(own.cls.bias) == 2


def test_activation_is_out_of_place():
    hidden = [torch.tensor([[-1.0, 2.0]]), torch.tensor([[3.0, -4.0]])]
    layers = activated(hidden)
    assert {k: v.tolist() for k, v in layers.items()} == {"fc0": [[0, 2]], "fc1": [[3, 0]]}
    assert hidden[0].tolist() == [[-1, 2]]
