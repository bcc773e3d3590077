"""What lies between a student's features and those that it imitates."""

import pytest
import torch
from torch import nn

from headstart.methods.adapters import (
    ConvAdapter,
    Identity,
    LevelAdapter,
    LinearAdapter,
    PerAnchorAdapter,
    start_as_identity,
)
from headstart.methods.pairing import Pair


def rows(tensor, anchor=None):
    return Pair([tensor], [tensor], anchor)


@pytest.mark.parametrize("anchors", [9, 1])
def test_an_adapter_per_anchor_equals_separate_layers(anchors):
    torch.manual_seed(0)
    adapter = PerAnchorAdapter(anchors, 6, 4)
    separate = [nn.Linear(6, 4) for _ in range(anchors)]
    for index, layer in enumerate(separate):
        layer.weight.data.copy_(adapter.linear.weight[index * 4 : index * 4 + 4])
        layer.bias.data.copy_(adapter.linear.bias[index * 4 : index * 4 + 4])
    vectors, anchor = torch.randn(20, 6), torch.randint(0, anchors, (20,))
    expected = torch.stack([separate[a](row) for row, a in zip(vectors, anchor.tolist())])
    (found,) = adapter(rows(vectors, anchor))
    torch.testing.assert_close(found, expected)
    found.square().sum().backward()
    expected.square().sum().backward()
    grads = [torch.zeros_like(s.weight) if s.weight.grad is None else s.weight.grad for s in separate]
    torch.testing.assert_close(adapter.linear.weight.grad, torch.cat(grads))


def test_an_adapter_per_anchor_needs_anchors():
    with pytest.raises(ValueError, match="needs rows that come from an anchor"):
        PerAnchorAdapter(3, 6, 4)(rows(torch.randn(5, 6)))


def test_a_linear_adapter_is_one_layer_whatever_the_anchor():
    adapter, vectors = LinearAdapter(6, 4), torch.randn(5, 6)
    for anchor in (torch.arange(5), torch.zeros(5, dtype=torch.int64), None):
        (found,) = adapter(rows(vectors, anchor))
        assert torch.equal(found, adapter.linear(vectors))
    assert sum(p.numel() for p in adapter.parameters()) == 6 * 4 + 4
    assert sum(p.numel() for p in LinearAdapter(6, 4, bias=False).parameters()) == 6 * 4


@pytest.mark.parametrize("adapter", [LinearAdapter(6, 4), PerAnchorAdapter(3, 6, 4)], ids=["linear", "per_anchor"])
def test_adapters_take_no_rows(adapter):
    (found,) = adapter(rows(torch.zeros(0, 6), torch.zeros(0, dtype=torch.int64)))
    assert found.shape == (0, 4) and found.requires_grad


def test_a_convolution_is_shared_by_the_levels():
    adapter = ConvAdapter(3, 5)
    maps = [torch.randn(2, 3, 4, 4), torch.randn(2, 3, 1, 2)]
    found = adapter(Pair(maps, maps))
    assert [tuple(x.shape) for x in found] == [(2, 5, 4, 4), (2, 5, 1, 2)]
    weight, bias = adapter.conv.weight[:, :, 0, 0], adapter.conv.bias
    for own, x in zip(found, maps):
        torch.testing.assert_close(own, (x.movedim(1, -1) @ weight.T + bias).movedim(-1, 1))


def test_the_identity_gives_the_source_and_has_nothing_to_train():
    maps = [torch.randn(2, 3, 4, 4)]
    assert Identity()(Pair(maps, [])) is maps and not list(Identity().parameters())


@pytest.mark.parametrize(
    ("adapter", "text"),
    [
        (Identity(), "-"),
        (LinearAdapter(6, 4), "linear 6 -> 4"),
        (LinearAdapter(6, 4, bias=False), "linear 6 -> 4, no bias"),
        (PerAnchorAdapter(9, 6, 4), "per_anchor 6 -> 4"),
        (ConvAdapter(3, 5), "1x1 3 -> 5"),
    ],
)
def test_what_the_pairing_table_says(adapter, text):
    assert str(adapter) == text


@pytest.mark.parametrize("kernel", [1, 3])
def test_an_adapter_per_level_begins_by_changing_nothing_where_widths_agree(kernel):
    maps = [torch.randn(2, 6, 5, 4), torch.randn(2, 6, 3, 2)]
    adapter = LevelAdapter(6, 6, 2, kernel)
    for one, found in zip(maps, adapter(Pair(maps, maps)), strict=True):
        torch.testing.assert_close(found, one)
    wider = LevelAdapter(6, 8, 2, kernel)
    assert [m.shape for m in wider(Pair(maps, maps))] == [(2, 8, 5, 4), (2, 8, 3, 2)]
    assert str(wider) == f"{kernel}x{kernel} 6 -> 8 per level"
    assert not torch.equal(wider.convs[0].weight, wider.convs[1].weight)


@pytest.mark.parametrize("size", [1, 3])
def test_a_convolution_of_equal_widths_can_begin_as_the_identity(size):
    maps = torch.rand(2, 4, 5, 6)
    conv = nn.Conv2d(4, 4, size, padding=size // 2)
    start_as_identity(conv)
    torch.testing.assert_close(conv(maps), maps)
    other = nn.Conv2d(4, 3, size, padding=size // 2)
    before = other.weight.clone()
    start_as_identity(other)
    assert torch.equal(other.weight, before)
