"""Dialects of YOLO's label lines: which numbers are a box, a polygon, corners or key points."""

import pytest

from data.data_folders import yolo
from headstart.data.discover import open_dataset
from headstart.errors import UserError

BOX = [[15, 7.5, 25, 22.5]]
POSE2 = "0 .5 .5 .25 .5 .45 .45 .55 .55"
POSE3 = "0 .5 .5 .25 .5 .45 .45 1 .55 .55 2 0 0 0"
POLYGON = "0 .1 .2 .3 .2 .3 .4 .1 .4"


def opened(root, *lines, **settings):
    said = []
    dataset = open_dataset(yolo(root, {"train": {"a": "\n".join(lines)}}, **settings), "train", report=said.append)
    return dataset.annotations(0)[0].round(3).tolist(), "\n".join(said)


@pytest.mark.parametrize(
    ("line", "shape"), [(POSE2, [2, 2]), (POSE3, [3, 3]), ("0 .5 .5 .25 .5 .45 .45 1", [1, 3]), (POSE2, ["2", "2"])]
)
def test_kpt_shape_says_it(tmp_path, line, shape):
    boxes, said = opened(tmp_path, line, "0 .5 .5 .25 .5", kpt_shape=shape)
    assert boxes == BOX * 2 and "key point" not in said


def test_other_numbers_than_kpt_shape_says(tmp_path):
    with pytest.raises(UserError, match="expected 5 or, with 3 key points, 14 numbers, found 9"):
        opened(tmp_path, POSE2, kpt_shape=[3, 3])


@pytest.mark.parametrize(("line", "shape"), [(POSE2, "[2, 2]"), (POSE3, "[3, 3]")])
def test_key_points_are_told_by_their_values(tmp_path, line, shape):
    boxes, said = opened(tmp_path, line, line, "0 .5 .5 .25 .5")
    assert boxes == BOX * 3 and f"kpt_shape: {shape}" in said


def test_five_points_with_visibility(tmp_path):
    """As long as a polygon of 9 points is not: 20 numbers. And 4 points, 17 numbers, as a polygon of 8 is."""
    for count in (4, 5):
        line = "0 .5 .5 .25 .5 " + " ".join(["0.5 0.5 2"] * count)
        assert opened(tmp_path / str(count), line)[0] == BOX


@pytest.mark.parametrize(
    ("lines", "box"),
    [
        ([POLYGON], [4, 6, 12, 12]),
        (["0 .5 .5 .52 .5 .52 .53 .5 .53"], [20, 15, 20.8, 15.9]),
        (["0 .5 .2 .7 .4 .5 .6 .3 .4"], [12, 6, 28, 18]),
        (["0 .1 .2 .3 .2 .3 .4", "0 .4 .4 .5 .4 .5 .5 .4 .5"], [4, 6, 12, 12]),
        (["0 .1 .1 .3 .1 .3 .2 .3 .3 .2 .3 .1 .3 .1 .2 .1 .15"], [4, 3, 12, 9]),
    ],
)
def test_polygons_and_corners_stay_what_they_are(tmp_path, lines, box):
    boxes, said = opened(tmp_path, *lines)
    assert boxes[0] == pytest.approx(box, abs=1e-3) and "kpt_shape" not in said
    assert ("four corners" in said) == (len(lines[0].split()) == 9)
