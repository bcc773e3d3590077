"""The demo set: the same for the same seed, whole or not at all, and true to its annotations."""

import json
import shutil

import numpy as np
import pytest

from headstart.data.discover import open_dataset
from headstart.data.shapes import make_shapes
from headstart.data.shapes_figures import FIGURES
from headstart.data.shapes_scene import OPEN, draw_scene
from headstart.errors import UserError


def contents(folder):
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def test_same_seed_same_bytes(tmp_path):
    first = contents(make_shapes(tmp_path / "a", train=6, val=3, size=64))
    assert first == contents(make_shapes(tmp_path / "b", train=6, val=3, size=64)) and len(first) == 12
    longer = contents(make_shapes(tmp_path / "c", train=8, val=3, size=64))
    assert all(longer[name] == first[name] for name in first if name.endswith(".jpg")), "a longer set begins the same"
    other = contents(make_shapes(tmp_path / "d", train=6, val=3, size=64, seed=1))
    assert all(other[name] != first[name] for name in first if name.endswith(".jpg"))
    assert first["train/000000.jpg"] != first["val/000000.jpg"]


def test_an_identical_set_is_kept_and_another_replaced(tmp_path):
    folder = make_shapes(tmp_path / "a", train=2, val=1, size=32)
    stamp = (folder / "train" / "000000.jpg").stat().st_mtime_ns
    make_shapes(folder, train=2, val=1, size=32)
    assert (folder / "train" / "000000.jpg").stat().st_mtime_ns == stamp
    make_shapes(folder, train=3, val=1, size=40)
    assert len(list((folder / "train").iterdir())) == 3
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"], "no draft is left behind"


def test_other_peoples_files_are_never_touched(tmp_path):
    (tmp_path / "a").mkdir()
    make_shapes(tmp_path / "a", train=1, val=1, size=32)
    (tmp_path / "a" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds other files \(notes\.txt\)"):
        make_shapes(tmp_path / "a", train=2, val=1, size=32)
    assert (tmp_path / "a" / "notes.txt").read_text() == "mine"
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="is a file"):
        make_shapes(tmp_path / "file", train=1, val=1, size=32)


def test_an_interrupted_drawing_leaves_nothing(tmp_path, monkeypatch):
    calls = iter(range(3))
    monkeypatch.setattr("headstart.data.shapes.draw_scene", lambda *given: [draw_scene(*given), next(calls)][0])
    with pytest.raises(StopIteration):
        make_shapes(tmp_path / "a", train=5, val=1, size=32)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [{"train": 0}, {"val": -1}, {"size": 8}, {"seed": -1}])
def test_impossible_numbers(tmp_path, wrong):
    with pytest.raises(UserError, match=f"{next(iter(wrong))} must be at least"):
        make_shapes(tmp_path / "a", **wrong)


@pytest.mark.parametrize("size", [32, 97, 256])
def test_any_size_opens_without_a_problem(tmp_path, size):
    folder = make_shapes(tmp_path / "a", train=12, val=2, size=size)
    dataset = open_dataset(folder, "train", report=str)
    assert dataset.classes == tuple(FIGURES) and len(dataset.classes) >= 8
    assert dataset[0].image.shape == (3, size, size) and not dataset.problems


def test_open_scenes_hold_few_large_figures(tmp_path):
    scenes = [draw_scene(np.random.default_rng([9, i]), 96, OPEN) for i in range(60)]
    counts = np.array([len(boxes) for _, boxes, _ in scenes])
    assert (counts == 0).any() and counts.max() == 4
    crowded, few = (make_shapes(tmp_path / "a", train=2, val=1, size=64, crowded=value) for value in (True, False))
    assert crowded == few and json.loads((few / "shapes.json").read_text())["crowded"] is False


def test_scenes_are_varied():
    scenes = [draw_scene(np.random.default_rng([9, i]), 96) for i in range(120)]
    counts = np.array([len(boxes) for _, boxes, _ in scenes])
    labels = np.concatenate([labels for _, _, labels in scenes])
    sides = np.concatenate([(boxes[:, 2:] - boxes[:, :2]).max(1) for _, boxes, _ in scenes]) / 96
    assert (counts == 0).any() and counts.max() >= 6 and 3 < counts.mean() < 5
    assert set(labels.tolist()) == set(range(len(FIGURES))) and np.bincount(labels).min() > 15
    assert sides.min() < 0.18 and sides.max() > 0.45
    for _, boxes, _ in scenes:
        assert (boxes >= 0).all() and (boxes <= 96).all() and (boxes[:, 2:] - boxes[:, :2] >= 2).all()


def test_a_box_holds_its_figure():
    """Against a scene of one lonely figure drawn on black: the box is exactly where something is."""
    from PIL import Image

    from headstart.data import shapes_scene

    rng = np.random.default_rng(0)
    for label, figure in enumerate(FIGURES.values()):
        owner = np.full((80, 80), -1, np.int16)
        mask, left, top, solid, box = shapes_scene._place(rng, figure(rng), 80, owner, [], 0.24)
        canvas = Image.new("L", (80, 80))
        canvas.paste(255, (left, top), mask)
        rows, columns = np.nonzero(np.asarray(canvas) > 127)
        assert [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] == box, label
        assert solid.sum() == len(rows)


def test_settings_are_written(tmp_path):
    folder = make_shapes(tmp_path / "deep" / "er", train=1, val=1, size=32, seed=4)
    assert json.loads((folder / "shapes.json").read_text())["seed"] == 4
    (folder / "shapes.json").write_text("{")
    assert json.loads((make_shapes(folder, train=1, val=1, size=32) / "shapes.json").read_text())["seed"] == 0
    shutil.rmtree(folder)
