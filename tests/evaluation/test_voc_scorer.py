"""VOC's average precision on cases worked out by hand."""

import numpy as np
import pytest

from evaluation.scoring_cases import Annotated, batch_of, found, random_scene
from headstart.evaluation.voc import VocScorer, average_precision, matches, pair_iou

A, B, C, FAR = [10, 10, 60, 60], [100, 100, 150, 150], [200, 20, 280, 80], [0, 150, 40, 200]


def score(truth, detections, **options):
    scorer = VocScorer(Annotated(truth), **options)
    for image, detection in detections.items():
        scorer.update(batch_of([image]), [detection])
    return scorer.compute()


def test_hit_miss_hit():
    # 3 objects; true, false, true: precision 1, 1/2, 2/3 at recall 1/3, 1/3, 2/3
    numbers = score({1: ([A, B, C], [0, 0, 0], [False] * 3)}, {1: found([A, FAR, B], [0.9, 0.8, 0.7], [0, 0, 0])})
    assert numbers["VOC_AP"] == pytest.approx(100 * (1 / 3 + 1 / 3 * 2 / 3))
    assert numbers["VOC_AP11"] == pytest.approx(100 * (4 * 1 + 3 * 2 / 3) / 11)
    assert numbers["per_class"]["cat"]["VOC_AP"] == numbers["VOC_AP"]
    assert numbers["per_class"]["dog"] == {"VOC_AP": None, "VOC_AP11": None}


def test_a_second_detection_of_an_object_is_a_mistake():
    numbers = score({1: ([A, B], [0, 0], [False] * 2)}, {1: found([A, A, B], [0.9, 0.8, 0.7], [0, 0, 0])})
    assert numbers["VOC_AP"] == pytest.approx(100 * (1 / 2 + 1 / 2 * 2 / 3))


def test_a_difficult_object_neither_counts_nor_costs():
    numbers = score({1: ([A, B], [0, 0], [True, False])}, {1: found([A, A, B], [0.9, 0.8, 0.7], [0, 0, 0])})
    assert numbers["VOC_AP"] == pytest.approx(100)
    assert score({1: ([A], [0], [True])}, {1: found([A], [0.9], [0])})["VOC_AP"] is None


def test_another_image_or_class_does_not_match():
    truth = {1: ([A], [0], [False]), 2: ([B], [1], [False])}
    assert score(truth, {1: found([B], [0.9], [0]), 2: found([B], [0.9], [0])})["VOC_AP"] == 0
    numbers = score(truth, {1: found([A], [0.9], [0]), 2: found([A], [0.9], [1])})
    assert [numbers["per_class"][name]["VOC_AP"] for name in ("cat", "dog", "owl")] == [pytest.approx(100), 0, None]
    assert numbers["VOC_AP"] == pytest.approx(50)


@pytest.mark.parametrize("right, expected", [(30, 100), (29, 0)])
def test_half_an_overlap_is_enough(right, expected):
    numbers = score({1: ([[10, 10, 50, 20]], [0], [False])}, {1: found([[10, 10, right, 20]], [0.9], [0])})
    assert numbers["VOC_AP"] == pytest.approx(expected)


@pytest.mark.parametrize("truth", [{}, {1: ([A], [0], [False])}, {1: ([], [], [])}])
def test_nothing_found(truth):
    numbers = score(truth, {image: found() for image in truth})
    assert numbers["VOC_AP"] == (0 if any(boxes for boxes, *_ in truth.values()) else None)


def test_recall_of_three_tenths_is_reached_by_three_of_ten():
    area, points = average_precision(np.array([True, True, True]), 10)
    assert area == pytest.approx(0.3) and points == pytest.approx(4 / 11)


def test_only_some_images():
    truth = {1: ([A], [0], [False]), 2: ([A], [0], [False])}
    assert score(truth, {2: found([A], [0.5], [0])}, partial=True)["VOC_AP"] == pytest.approx(100)


def loop_reference(dataset, detections, label):
    """The devkit's algorithm, one detection after the other; area under the curve in 0..1."""
    rows = [
        (float(s), image, b.numpy().astype(float))
        for image, d in sorted(detections.items())
        for b, s, k in zip(d.boxes.clamp(0), d.scores, d.labels)
        if k == label
    ]
    rows.sort(key=lambda row: -row[0])
    used, hits = set(), []
    truth = {
        image: [(k, np.array(b), i) for k, (b, c, i) in enumerate(zip(*t)) if c == label]
        for image, t in dataset.truth.items()
    }
    wanted = sum(not ignored for objects in truth.values() for *_, ignored in objects)
    for _, image, box in rows:
        box = np.minimum(box, (300, 200, 300, 200))
        best, chosen = -1.0, None
        for k, other, ignored in truth[image]:
            overlap = pair_iou(box[None], other[None])[0]
            if overlap > best:
                best, chosen = overlap, (k, ignored)
        if chosen is None or best < 0.5:
            hits.append(False)
        elif not chosen[1]:
            hits.append((image, chosen[0]) not in used)
            used.add((image, chosen[0]))
    if not wanted:
        return None
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return sum(precision[k:].max() for k, hit in enumerate(hits) if hit) / wanted


@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_a_plain_loop(seed):
    dataset, detections = random_scene(seed)
    scorer = VocScorer(dataset)
    for image, detection in detections.items():
        scorer.update(batch_of([image]), [detection])
    per_class = scorer.compute()["per_class"]
    for label, name in enumerate(dataset.classes):
        expected = loop_reference(dataset, detections, label)
        assert per_class[name]["VOC_AP"] == (None if expected is None else pytest.approx(100 * expected))


def test_matches_prefers_the_first_of_equal_overlaps_and_skips_images_without_objects():
    objects, images = np.array([A, A, B], float), np.array([1, 1, 3])
    best, overlap = matches(np.array([A, A, A], float), np.array([3, 1, 2]), objects, images)
    assert best.tolist() == [2, 0, -1]
    assert overlap.tolist() == [0, 1, 0]
