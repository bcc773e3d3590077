"""Top-k and NMS among many exact ties: a plain reference, 1 and 2 threads, permuted inputs."""

import math

import pytest
import torch
from torchvision.ops import nms

from headstart.assign.atss import ATSS
from headstart.assign.max_iou import NEGATIVE
from headstart.assign.points import NearestPoints
from headstart.boxes import pairwise_iou
from headstart.heads.retina import RetinaHead, RetinaOptions
from headstart.ordering import stable_nms, stable_topk
from headstart.priors import base_anchors, place_anchors, place_points
from headstart.structures import DenseOutputs, Targets


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def first_of(values, count, largest):
    """The rule in one line: by value, then by index."""
    return sorted(range(len(values)), key=lambda i: (-values[i] if largest else values[i], i))[:count]


def tied(*shape, kinds=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-kinds, kinds + 1, shape, generator=generator) / 4


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("count", [0, 1, 7, 300, 3000])
def test_topk_by_value_then_by_index(count, largest, threads):
    values = tied(3000)
    assert stable_topk(values, count, largest=largest).tolist() == first_of(values.tolist(), count, largest)


@pytest.mark.parametrize("size", [40_000, 200_000])
def test_topk_of_many_does_not_depend_on_threads(size, threads):
    values = tied(size, kinds=20)
    assert stable_topk(values, 1000).tolist() == first_of(values.tolist(), 1000, True)


def test_topk_of_rows_and_of_permuted_ones(threads):
    values = tied(6, 500)
    order = torch.randperm(500, generator=torch.Generator().manual_seed(1))
    for given in (values, values[:, order]):
        found = stable_topk(given, 9, largest=False)
        assert found.tolist() == [first_of(row, 9, False) for row in given.tolist()]


def test_topk_of_values_without_ties_is_the_usual_one():
    values = torch.randn(4, 1000, generator=torch.Generator().manual_seed(0))
    for largest in (True, False):
        assert torch.equal(stable_topk(values, 50, largest=largest), values.topk(50, dim=-1, largest=largest).indices)


def test_topk_of_unusual_numbers():
    values = torch.tensor([0.0, -0.0, math.inf, -math.inf, 1e-40, -1e-40, math.inf, 3e38, -3e38])
    assert stable_topk(values, 9).tolist() == [2, 6, 7, 4, 0, 1, 5, 8, 3]
    assert stable_topk(values, 9, largest=False).tolist() == [3, 8, 5, 0, 1, 4, 7, 2, 6]
    assert stable_topk(values.bfloat16()[:3], 2).tolist() == [2, 0]
    assert stable_topk(torch.zeros(3, 0), 0).shape == (3, 0)


def suppressed(boxes, scores, groups, threshold):
    """NMS as it is defined, one box after the other."""
    overlap, groups = pairwise_iou(boxes.double(), boxes.double()).tolist(), groups.tolist()
    left = []
    for i in first_of(scores.tolist(), len(scores), True):
        if not any(groups[i] == groups[j] and overlap[i][j] > threshold for j in left):
            left.append(i)
    return left


def crowd(count, seed=0):
    """Boxes on a coarse grid: many are equal, many overlap by exactly the same."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, 12, (count, 2), generator=generator) * 5.0
    boxes = torch.cat([corner, corner + torch.randint(1, 5, (count, 2), generator=generator) * 10.0], dim=1)
    return boxes, tied(count, kinds=3, seed=seed), torch.randint(0, 4, (count,), generator=generator)


@pytest.mark.parametrize("count", [1, 60, 1400])
@pytest.mark.parametrize("threshold", [0.5, 0.7])
def test_nms_by_score_then_by_index(count, threshold, threads):
    """Both of torchvision's ways: few boxes are shifted apart by group, many are taken group by group."""
    boxes, scores, groups = crowd(count)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(1))
    for own in (torch.arange(count), order):
        given = boxes[own], scores[own], groups[own]
        assert stable_nms(*given, threshold).tolist() == suppressed(*given, threshold)


def test_nms_of_groups_is_that_of_each_group_alone():
    """Whatever the shift, and however high the number of the group."""
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(900, 2, generator=generator) * 600
    boxes = torch.cat([corner, corner + 20 + torch.rand(900, 2, generator=generator) * 80], dim=1)
    scores, groups = torch.rand(900, generator=generator), torch.randint(0, 80, (900,), generator=generator)
    found = stable_nms(boxes, scores, groups, 0.3)
    alone = [own[nms(boxes[own], scores[own], 0.3)] for own in ((groups == g).nonzero().flatten() for g in range(80))]
    assert sorted(found.tolist()) == sorted(torch.cat(alone).tolist()) and len(found) < 890
    assert bool((scores[found].diff() < 0).all())


def test_nms_of_nothing():
    nothing = torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64)
    assert stable_nms(*nothing, 0.5).tolist() == []


def truth(*boxes):
    rows = torch.tensor(boxes, dtype=torch.float32)
    return Targets(rows, torch.zeros(len(rows), dtype=torch.int64), torch.zeros(len(rows), dtype=torch.bool))


def test_atss_looks_at_the_first_of_anchors_at_the_same_distance(threads):
    """An object between four cells: of the anchors as far away as the ninth, those with a lower index are seen."""
    strides, counts = (8, 16), [1024, 256]
    anchors = torch.cat([place_anchors(base_anchors(s, [4.0], [1.0]), 256 // s, 256 // s, s) for s in strides])
    boxes = [(100.0, 100, 140, 140), (36.0, 44, 76, 84)]
    found = ATSS()(anchors, counts, truth(*boxes)).tolist()
    centres, expected = (anchors[:, :2] + anchors[:, 2:]) / 2, {}
    for number, box in enumerate(torch.tensor(boxes)):
        distance = (centres - (box[:2] + box[2:]) / 2).square().sum(dim=1).tolist()
        looked = first_of(distance[:1024], 9, False) + [1024 + i for i in first_of(distance[1024:], 9, False)]
        overlap = pairwise_iou(box[None], anchors[looked])[0]
        for i, value in zip(looked, overlap.tolist()):
            inside = min(*(centres[i] - box[:2]).tolist(), *(box[2:] - centres[i]).tolist()) > 0.01
            if inside and value >= float(overlap.mean() + overlap.std()):
                expected[i] = number
    assert {i: a for i, a in enumerate(found) if a != NEGATIVE} == expected and len(expected) > 2


def test_the_first_of_the_nearest_points_is_chosen(threads):
    points = place_points(64, 64, 8, within=0.0)
    boxes = [(84.0, 84, 124, 124), (20.0, 36, 60, 76)]  # in the middle of four points each
    found = NearestPoints(count=2)(points, torch.full((4096,), 8.0), truth(*boxes)).tolist()
    expected = {}
    for number, box in enumerate(torch.tensor(boxes)):
        distance = (points - (box[:2] + box[2:]) / 2).norm(dim=1).tolist()
        expected |= dict.fromkeys(first_of(distance, 2, False), number)
    assert {i: a for i, a in enumerate(found) if a != NEGATIVE} == expected and len(expected) == 4


def test_dense_predictions_full_of_ties(threads):
    """Logits of few values: which candidates, proposals and detections are left is a matter of their places alone."""
    head = RetinaHead(3, 4, [8, 16], RetinaOptions(width=4, depth=1))
    shapes = [(40, 64), (20, 32)]
    cls = [tied(1, 27, *shape, kinds=3, seed=i) * 8 for i, shape in enumerate(shapes)]
    outputs = DenseOutputs(cls, [torch.zeros(1, 36, *shape) for shape in shapes], None, [(320, 512)])
    (found,) = head.proposals(outputs, outputs.sizes)
    (boxes,) = head.decode(outputs, outputs.sizes)
    for chosen in (found, boxes):
        rows = list(zip((-chosen.scores).tolist(), *(getattr(chosen.cells, k).tolist() for k in ("level", "y", "x"))))
        assert rows == sorted(rows) and len(set(chosen.scores.tolist())) < len(chosen) / 10
    expected, start = [], 0
    for logits, (height, width) in zip(cls, shapes):
        best = logits.permute(0, 2, 3, 1).reshape(-1, 3).amax(dim=1)
        expected += [start + i for i in first_of(best.tolist(), 2000, True)]
        start += height * width * 9
    cells = head.cells(outputs)
    index = {key: i for i, key in enumerate(zip(*(getattr(cells, k).tolist() for k in ("level", "y", "x", "anchor"))))}
    keys = zip(*(getattr(found.cells, k).tolist() for k in ("level", "y", "x", "anchor")))
    assert {index[key] for key in keys} <= set(expected)
