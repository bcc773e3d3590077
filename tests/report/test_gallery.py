"""Detectors side by side."""

import numpy as np
import pytest
from PIL import Image

from headstart.report.gallery import Drawn, Row, comparison, save_picture

CLASSES = ("cat", "dog")
BOX = [10, 10, 60, 60]


def row(height=64, width=64, names=("ground truth", "teacher", "head"), found=True, caption=""):
    image = np.full((height, width, 3), 120, np.uint8)
    full, empty = Drawn(np.array([BOX], float), np.array([0])), Drawn(np.zeros((0, 4)), np.zeros(0, int))
    return Row(image, {name: full if found or name == "ground truth" else empty for name in names}, caption)


def test_columns_and_rows():
    one = comparison([row()], CLASSES, cell=200)
    two = comparison([row(), row()], CLASSES, cell=200)
    assert one.dtype == np.uint8 and one.shape[2] == 3
    assert one.shape[1] == two.shape[1] > 600
    assert two.shape[0] - one.shape[0] > 200


def test_rows_of_any_shape_fit_their_cells():
    picture = comparison([row(64, 640), row(2000, 100), row(1, 1)], CLASSES, cell=120)
    assert picture.shape[1] == comparison([row()], CLASSES, cell=120).shape[1]
    assert picture.shape[0] < 600


def test_what_was_missed_shows_only_against_the_ground_truth():
    missed = comparison([row(found=False)], CLASSES)
    assert not np.array_equal(missed, comparison([row(found=False)], CLASSES, truth=None))
    other = comparison([row(found=False)], CLASSES, truth="no such column")
    np.testing.assert_array_equal(other, comparison([row(found=False)], CLASSES, truth=None))


def test_headings_captions_and_footer_take_room():
    plain = comparison([row(names=("head",))], CLASSES, truth=None)
    for richer in (
        comparison([row(names=("head",))], CLASSES, truth=None, notes={"head": "AP 20.0"}),
        comparison([row(names=("head",), caption="7.jpg")], CLASSES, truth=None),
        comparison([row(names=("head",))], CLASSES, truth=None, footer="score at least 0.3"),
    ):
        assert richer.shape[0] > plain.shape[0] and richer.shape[1] == plain.shape[1]


def test_long_headings_stay_in_their_column():
    plain = comparison([row(names=("a" * 300, "b"))], CLASSES, cell=100, notes={"b": "x" * 400}, footer="y" * 900)
    assert plain.shape[1] < 250


@pytest.mark.parametrize("rows, message", [([], "at least one image"), ([row(), row(names=("head",))], "every row")])
def test_rows_that_do_not_fit_together(rows, message):
    with pytest.raises(ValueError, match=message):
        comparison(rows, CLASSES)


@pytest.mark.parametrize("name, tolerance", [("a.png", 0), ("deep/b.PNG", 0), ("c.jpg", 12)])
def test_save(tmp_path, name, tolerance):
    picture = comparison([row()], CLASSES)
    save_picture(tmp_path / name, picture)
    with Image.open(tmp_path / name) as stored:
        assert np.abs(np.asarray(stored).astype(int) - picture).mean() <= tolerance
    assert [p.name for p in (tmp_path / name).parent.iterdir()] == [name.split("/")[-1]]


def test_an_ending_without_a_format(tmp_path):
    with pytest.raises(ValueError, match=r"use \.png or \.jpg"):
        save_picture(tmp_path / "picture.xyz", comparison([row()], CLASSES))
    assert not list(tmp_path.iterdir())
