"""The random choice of what is trained: how many, which, in which order."""

import pytest
import torch

from headstart.assign.max_iou import IGNORED, NEGATIVE
from headstart.assign.sample import RegionSampler, choose
from headstart.structures import CellIndex, Detections, Targets


def answers(objects, background, ignored=0):
    """An assigner's answer: so many of each kind, shuffled."""
    rows = [0] * objects + [NEGATIVE] * background + [IGNORED] * ignored
    return torch.tensor(rows)[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))]


@pytest.mark.parametrize(
    ("objects", "background", "expected"),
    [
        (100, 1000, (16, 48)),  # both compete
        (5, 1000, (5, 59)),  # background fills up
        (100, 10, (16, 10)),  # objects do not
        (0, 1000, (0, 64)),
        (3, 4, (3, 4)),
        (0, 0, (0, 0)),
    ],
)
def test_counts(objects, background, expected):
    matched = answers(objects, background, ignored=50)
    chosen = choose(matched, 64, 0.25)
    assert (len(chosen[0]), len(chosen[1])) == expected
    assert (matched[chosen[0]] >= 0).all() and (matched[chosen[1]] == NEGATIVE).all()
    for rows in chosen:
        assert (rows.diff() > 0).all()


def test_the_choice_is_random_only_where_more_compete_than_fit():
    def chosen(matched, seed):
        torch.manual_seed(seed)
        return [rows.tolist() for rows in choose(matched, 64, 0.25)]

    few, many = answers(5, 40), answers(5, 1000)
    assert chosen(few, 0) == chosen(few, 1)
    assert chosen(many, 0) == chosen(many, 0) != chosen(many, 1)
    state = torch.get_rng_state()
    choose(few, 64, 0.25)
    assert torch.equal(state, torch.get_rng_state())


def test_everyone_has_the_same_chance():
    torch.manual_seed(0)
    matched = answers(0, 40)
    hits = torch.zeros(40)
    for _ in range(400):
        hits[choose(matched, 10, 0.5)[1]] += 1
    assert hits.min() > 60 and hits.max() < 140


def found(*boxes):
    rows = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    index = torch.arange(len(rows))
    return Detections(rows, torch.rand(len(rows)), torch.zeros_like(index), CellIndex(index, index, index, index))


def truth(*boxes, labels, ignored=()):
    rows = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    marks = torch.tensor([i in ignored for i in range(len(rows))], dtype=torch.bool)
    return Targets(rows, torch.tensor(labels, dtype=torch.int64), marks)


FAR, NEAR, HIT = (70, 70, 80, 80), (0, 0, 10, 19), (0, 0, 10, 11)


def test_order_labels_and_cells():
    """Ground truths first, without a cell; then the proposals that match, then background; ascending within each."""
    regions = RegionSampler()(found(FAR, HIT, NEAR, FAR), truth((0, 0, 10, 10), (40, 40, 60, 60), labels=[2, 0]), 3)
    assert regions.labels.tolist() == [2, 0, 2, 2, 3, 3]
    assert regions.cells.level.tolist() == [-1, -1, 1, 2, 0, 3]
    assert regions.boxes[2].tolist() == list(HIT)
    assert regions.matched[:4].tolist() == [[0, 0, 10, 10], [40, 40, 60, 60], [0, 0, 10, 10], [0, 0, 10, 10]]
    assert torch.equal(regions.matched[4:], regions.boxes[4:])


def test_ground_truths_compete_like_any_object():
    torch.manual_seed(0)
    boxes = [(20 * i, 0, 20 * i + 10, 10) for i in range(30)]
    regions = RegionSampler(count=16, fraction=0.25)(found(*boxes), truth(*boxes, labels=[1] * 30), 3)
    assert (regions.labels == 1).sum() == 4 and len(regions) == 4


def test_proposals_in_ignored_boxes_are_left_out():
    targets = truth((0, 0, 10, 10), (60, 60, 90, 90), labels=[1, 0], ignored=[1])
    regions = RegionSampler()(found(FAR, HIT, (200, 200, 210, 210)), targets, 3)
    assert regions.labels.tolist() == [1, 1, 3] and regions.cells.level.tolist() == [-1, 1, 2]


def test_matches_beyond_an_ignored_box_keep_their_own_truth():
    targets = truth((60, 60, 90, 90), (0, 0, 10, 10), labels=[0, 2], ignored=[0])
    regions = RegionSampler()(found(HIT), targets, 3)
    assert regions.labels.tolist() == [2, 2] and regions.matched.tolist() == [[0, 0, 10, 10]] * 2


@pytest.mark.parametrize("proposals", [(), (FAR,)])
@pytest.mark.parametrize("boxes", [(), (HIT,)])
def test_with_nothing_on_either_side(proposals, boxes):
    regions = RegionSampler()(found(*proposals), truth(*boxes, labels=[1] * len(boxes)), 3)
    assert regions.labels.tolist() == [1] * len(boxes) + [3] * len(proposals)
    assert regions.boxes.shape == regions.matched.shape == (len(boxes) + len(proposals), 4)
