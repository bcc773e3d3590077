"""Box geometry: hand-made numbers, torchvision's answers, and codes that undo each other."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_iou, generalized_box_iou

from headstart.boxes import (
    MAX_RATIO,
    aligned_giou,
    aligned_iou,
    areas,
    centers,
    centreness,
    decode_deltas,
    decode_distances,
    encode_deltas,
    encode_distances,
    intersections,
    pairwise_diou,
    pairwise_iof,
    pairwise_iou,
)

A = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 40]])
B = torch.tensor([[5.0, 0, 15, 10], [0, 0, 10, 10], [50, 50, 60, 60], [22, 22, 24, 27]])

number = st.floats(0, 200, width=32)
side = st.floats(1, 150, width=32)
boxes_of = st.lists(st.tuples(number, number, side, side), min_size=1, max_size=6).map(
    lambda rows: torch.tensor([[x, y, x + w, y + h] for x, y, w, h in rows])
)


def test_areas_and_intersections():
    assert areas(A).tolist() == [100, 200]
    assert areas(torch.tensor([5.0, 5, 2, 9])) == -12
    assert intersections(A, B).tolist() == [[50, 100, 0, 0], [0, 0, 0, 10]]


def test_middles():
    assert centers(A).tolist() == [[5, 5], [25, 30]] and centers(A[None]).shape == (1, 2, 2)


def test_overlaps_by_hand():
    iou = pairwise_iou(A, B)
    torch.testing.assert_close(iou, torch.tensor([[1 / 3, 1, 0, 0], [0, 0, 0, 0.05]]))
    torch.testing.assert_close(pairwise_iof(B, A), torch.tensor([[0.5, 0], [1, 0], [0, 0], [0, 1]]))


def test_distance_iou_by_hand():
    """Centres 5 apart in a hull of 15 x 10; the same box; 20 and 25 apart, whose hull is 30 x 40."""
    first, same, far = pairwise_diou(A[:1], torch.cat([B[:2], A[1:]]))[0].tolist()
    assert first == pytest.approx(1 / 3 - 25 / 325) and same == pytest.approx(1)
    assert far == pytest.approx(-(20**2 + 25**2) / 2500)


def test_touching_boxes_do_not_overlap():
    edge = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[10.0, 0, 20, 10]])
    assert pairwise_iou(*edge) == 0 and aligned_iou(*edge)[0] == 0


def test_boxes_without_area_overlap_nothing():
    point = torch.tensor([[3.0, 3, 3, 3]])
    assert pairwise_iou(point, A).tolist() == [[0, 0]] and pairwise_iou(point, point) == 0
    assert pairwise_iof(point, A).tolist() == [[0, 0]]
    assert bool(aligned_giou(point, point).isfinite())


def test_no_boxes():
    none = torch.zeros(0, 4)
    assert pairwise_iou(none, A).shape == (0, 2) and pairwise_iof(A, none).shape == (2, 0)
    assert aligned_giou(none, none).shape == (0,) and encode_deltas(none, none).shape == (0, 4)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(boxes_of, boxes_of)
def test_overlaps_as_torchvision(a, b):
    torch.testing.assert_close(pairwise_iou(a, b), box_iou(a, b), rtol=1e-4, atol=1e-5)
    rows = min(len(a), len(b))
    a, b = a[:rows], b[:rows]
    iou, union = aligned_iou(a, b)
    torch.testing.assert_close(iou, box_iou(a, b).diagonal(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(union, areas(a) + areas(b) - intersections(a, b).diagonal())
    torch.testing.assert_close(aligned_giou(a, b), generalized_box_iou(a, b).diagonal(), rtol=1e-4, atol=1e-5)


def test_deltas_by_hand():
    anchor, box = torch.tensor([[0.0, 0, 10, 20]]), torch.tensor([[5.0, 10, 25, 20]])
    deltas = torch.tensor([[1.0, 0.25, 0.6931472, -0.6931472]])
    torch.testing.assert_close(encode_deltas(anchor, box), deltas)
    stds = (0.1, 0.1, 0.2, 0.2)
    torch.testing.assert_close(encode_deltas(anchor, box, stds), deltas / torch.tensor(stds))
    torch.testing.assert_close(decode_deltas(anchor, deltas), box)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(boxes_of, boxes_of, st.sampled_from([(1.0, 1.0, 1.0, 1.0), (0.1, 0.1, 0.2, 0.2)]))
def test_decoding_deltas_undoes_encoding(anchors, boxes, stds):
    """As long as no side is more than 62.5 times the anchor's or less than 1 / 62.5 of it."""
    rows = min(len(anchors), len(boxes))
    anchors, boxes = anchors[:rows], boxes[:rows]
    anchors = torch.cat([anchors[:, :2], anchors[:, :2] + (anchors[:, 2:] - anchors[:, :2]).clamp(3, 60)], dim=1)
    again = decode_deltas(anchors, encode_deltas(anchors, boxes, stds), stds)
    torch.testing.assert_close(again, boxes, rtol=1e-4, atol=1e-2)


def test_an_untrained_head_cannot_overflow():
    anchor = torch.tensor([[0.0, 0, 10, 10]])
    huge = decode_deltas(anchor, torch.tensor([[0.0, 0, 1e4, -1e4]]))
    assert torch.exp(torch.tensor(MAX_RATIO)) == pytest.approx(62.5)
    torch.testing.assert_close(huge[0, 2:] - huge[0, :2], torch.tensor([625.0, 0.16]))


def test_shrinking_may_have_no_limit():
    """As in torchvision, which limits growth only."""
    anchor = torch.tensor([[0.0, 0, 10, 10]])
    found = decode_deltas(anchor, torch.tensor([[0.0, 0, 1e4, -9.0]]), shrink_limit=False)
    torch.testing.assert_close(found[0, 2:] - found[0, :2], torch.tensor([625.0, 10 * math.exp(-9)]))


def test_several_codes_per_anchor():
    """The decoder works on any leading shape."""
    anchors, deltas = torch.rand(3, 1, 4) + torch.tensor([0.0, 0, 5, 5]), torch.randn(3, 7, 4)
    every = decode_deltas(anchors, deltas)
    torch.testing.assert_close(every[2, 4], decode_deltas(anchors[2, 0], deltas[2, 4]))


def test_distances_by_hand():
    point, box = torch.tensor([[10.0, 20]]), torch.tensor([[4.0, 5, 30, 60]])
    assert encode_distances(point, box).tolist() == [[6, 15, 20, 40]]
    assert decode_distances(point, torch.tensor([[6.0, 15, 20, 40]])).tolist() == box.tolist()
    assert encode_distances(torch.tensor([[0.0, 0]]), box).tolist() == [[-4, -5, 30, 60]]


@settings(max_examples=20, deadline=None, derandomize=True)
@given(boxes_of, number, number)
def test_decoding_distances_undoes_encoding(boxes, x, y):
    points = torch.tensor([[x, y]]).expand(len(boxes), 2)
    torch.testing.assert_close(decode_distances(points, encode_distances(points, boxes)), boxes, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("distances", "value"),
    [((5, 5, 5, 5), 1.0), ((1, 4, 4, 4), 0.5), ((1, 1, 4, 4), 0.25), ((0, 3, 9, 3), 0.0)],
)
def test_centreness(distances, value):
    assert centreness(torch.tensor([distances], dtype=torch.float32)).item() == pytest.approx(value)


def test_centreness_of_nothing():
    assert centreness(torch.zeros(0, 4)).shape == (0,)
