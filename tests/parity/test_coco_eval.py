"""COCO numbers against pycocotools 2.0.7: crowds, sparse ids, a class without ground truth."""

import copy
import json

import numpy as np
import pytest

from headstart.evaluation.coco import METRICS, coco_curves, coco_numbers


@pytest.fixture
def case(reference):
    arrays = reference("coco_eval")
    return arrays, json.loads(str(arrays["gt_json"]))


def test_the_twelve_numbers(case):
    arrays, truth = case
    numbers = coco_numbers(truth, arrays["dets"])
    np.testing.assert_allclose([numbers[name] for name in METRICS], 100 * arrays["stats"], rtol=0, atol=1e-10)


def test_the_curves(case):
    arrays, truth = case
    curves = coco_curves(truth, arrays["dets"])
    np.testing.assert_array_equal(curves.categories, arrays["category_ids"])
    np.testing.assert_allclose(curves.precision[..., 0, 2], arrays["precision_areaall_max100"], atol=1e-12)
    np.testing.assert_allclose(curves.scores[..., 0, 2], arrays["scores_areaall_max100"], atol=1e-12)
    np.testing.assert_allclose(curves.recall, arrays["recall"], atol=1e-12)


def test_each_class(case):
    arrays, truth = case
    names = {category["id"]: category["name"] for category in truth["categories"]}
    per_class = coco_numbers(truth, arrays["dets"])["per_class"]
    assert list(per_class) == [names[i] for i in arrays["category_ids"]]
    for category, (ap, ap50) in zip(arrays["category_ids"], arrays["per_class_ap_ap50"], strict=True):
        mine = per_class[names[int(category)]]
        if np.isnan(ap):
            assert mine == {"AP": None, "AP50": None}
        else:
            assert mine["AP"] == pytest.approx(100 * ap, abs=1e-10)
            assert mine["AP50"] == pytest.approx(100 * ap50, abs=1e-10)


def test_the_input_is_left_alone(case):
    arrays, truth = case
    before, rows = copy.deepcopy(truth), arrays["dets"].copy()
    coco_numbers(truth, arrays["dets"])
    assert truth == before
    np.testing.assert_array_equal(arrays["dets"], rows)
