"""COCO's numbers, on cases computed by hand and against pycocotools."""

import contextlib
import io
import json

import numpy as np
import pytest

from evaluation.scoring_cases import Annotated, batch_of, found, random_scene
from headstart.evaluation.coco import METRICS, CocoScorer, coco_dictionary, coco_numbers, coco_rows

BOX = [10, 10, 60, 60]


def by_pycocotools(truth, rows):
    """The 12 numbers (-1 undefined, fractions) of pycocotools."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        ground = COCO()
        ground.dataset = json.loads(json.dumps(truth))
        ground.createIndex()
        result = COCO()
        result.dataset = {**ground.dataset, "annotations": rows}
        result.createIndex()
        evaluator = COCOeval(ground, result, "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator.stats


def rows_as_annotations(rows):
    keys = ("image_id", "bbox", "area", "score", "category_id")
    values = [(int(r[0]), r[1:5], r[3] * r[4], r[5], int(r[6])) for r in rows.tolist()]
    return [{"id": number, **dict(zip(keys, row))} for number, row in enumerate(values, 1)]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("case", ["usual", "no detections", "no objects", "neither"])
def test_agrees_with_pycocotools(seed, case):
    dataset, detections = random_scene(seed)
    if case in ("no objects", "neither"):
        dataset.truth = {image: ([], [], []) for image in dataset.truth}
    if case in ("no detections", "neither"):
        detections = {image: found() for image in detections}
    scorer = CocoScorer(dataset)
    for image, detection in detections.items():
        scorer.update(batch_of([image]), [detection])
    numbers = scorer.compute()
    expected = by_pycocotools(coco_dictionary(dataset), rows_as_annotations(coco_rows(scorer.table())))
    for name, value in zip(METRICS, expected, strict=True):
        assert numbers[name] == (None if value == -1 else pytest.approx(100 * value, abs=1e-9)), name
    if case == "usual":
        assert 5 < numbers["AP"] < 95
        assert any(ignored for *_, flags in dataset.truth.values() for ignored in flags)
    assert numbers["per_class"]["class 4"] == {"AP": None, "AP50": None}


def test_a_perfect_detector_has_100_and_unknown_sizes_none():
    dataset = Annotated({5: ([BOX], [1], [False]), 9: ([], [], [])})
    scorer = CocoScorer(dataset)
    scorer.update(batch_of([5, 9]), [found([BOX], [0.9], [1]), found()])
    numbers = scorer.compute()
    assert numbers["AP"] == numbers["AP50"] == numbers["AP_M"] == pytest.approx(100)
    assert numbers["AP_S"] is None and numbers["AP_L"] is None
    assert numbers["per_class"] == {
        "cat": {"AP": None, "AP50": None},
        "dog": {"AP": pytest.approx(100), "AP50": pytest.approx(100)},
        "owl": {"AP": None, "AP50": None},
    }
    assert numbers["images"] == 2
    json.dumps(numbers, allow_nan=False)


def test_an_ignored_box_costs_nothing():
    dataset = Annotated({1: ([BOX, [100, 100, 180, 180]], [0, 0], [False, True])})
    scorer = CocoScorer(dataset)
    scorer.update(batch_of([1]), [found([[110, 110, 170, 170], BOX], [0.95, 0.9], [0, 0])])
    assert scorer.compute()["AP"] == pytest.approx(100)
    dataset.truth[1] = ([BOX, [100, 100, 180, 180]], [0, 0], [False, False])
    strict = CocoScorer(dataset)
    strict.update(batch_of([1]), [found([[110, 110, 170, 170], BOX], [0.95, 0.9], [0, 0])])
    assert strict.compute()["AP"] < 60


def test_resized_images_are_scored_in_stored_pixels():
    dataset = Annotated({1: ([BOX], [0], [False])})
    scorer = CocoScorer(dataset)
    scorer.update(batch_of([1], size=(400, 600)), [found([[20, 20, 120, 120]], [0.9], [0])])
    assert scorer.compute()["AP"] == pytest.approx(100)


def test_an_image_that_comes_twice_counts_once():
    dataset = Annotated({1: ([BOX], [0], [False]), 2: ([BOX], [0], [False])})
    scorer = CocoScorer(dataset)
    scorer.update(batch_of([1, 2]), [found([BOX], [0.5], [0])] * 2)
    scorer.update(batch_of([2]), [found([BOX, BOX, BOX], [0.9, 0.9, 0.9], [0, 0, 0])])
    assert len(scorer.table()) == 2
    assert scorer.compute()["AP"] == pytest.approx(100)


def test_the_next_update_after_a_score_begins_a_new_round():
    dataset = Annotated({1: ([BOX], [0], [False])})
    scorer = CocoScorer(dataset)
    scorer.update(batch_of([1]), [found([BOX], [0.9], [0])])
    assert scorer.compute()["AP"] == scorer.compute()["AP"] == pytest.approx(100)
    scorer.update(batch_of([1]), [found()])
    assert scorer.compute()["AP"] == 0


def test_a_part_of_the_images_needs_to_be_asked_for():
    dataset = Annotated({1: ([BOX], [0], [False]), 2: ([BOX], [0], [False])})
    scorer = CocoScorer(dataset)
    scorer.update(batch_of([2]), [found([BOX], [0.9], [0])])
    with pytest.raises(ValueError, match=r"1 of the 2 images.*partial=True"):
        scorer.compute()
    part = CocoScorer(dataset, partial=True)
    part.update(batch_of([2]), [found([BOX], [0.9], [0])])
    numbers = part.compute()
    assert numbers["AP"] == pytest.approx(100) and numbers["images"] == 1


def test_an_unknown_image_id_in_the_array_is_named():
    truth = coco_dictionary(Annotated({1: ([BOX], [0], [False])}))
    with pytest.raises(ValueError, match="image id 4"):
        coco_numbers(truth, np.array([[4, 0, 0, 5, 5, 0.5, 1]]))
