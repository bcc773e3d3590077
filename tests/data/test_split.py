"""A validation split that is made: the same on every machine, fair to every class, copies on one side."""

import json
from collections import Counter
from functools import partial

import numpy as np
import pytest

from data.data_folders import annotation, coco, picture, voc, voc_xml, yolo
from headstart.data import discover
from headstart.data.coco import read_coco
from headstart.data.discover import open_dataset, open_folder
from headstart.data.raw import Layout, RawIndex
from headstart.data.split import choose_validation, read_split, split_name, splits_of_run
from headstart.data.tree import walk
from headstart.errors import UserError


def names_of(dataset):
    return sorted(dataset.file(index).name for index in range(len(dataset)))


def choose(labels, share=0.2, seed=0, groups=None, names=None):
    groups = np.arange(len(labels)) if groups is None else np.array(groups)
    return choose_validation(labels, groups, names or [f"{n}.jpg" for n in range(len(labels))], share, seed)


@pytest.fixture
def folder(tmp_path):
    """Twenty different pictures with a training split only: 16 with a cat, four of these and two more with a dog."""
    cats = [annotation(i, 3, [1, 1, 5 + i, 5]) for i in range(1, 17)]
    root = coco(tmp_path / "set", cats + [annotation(i, 7, [2, 2, 9, 9]) for i in (1, 2, 3, 4, 17, 18)], images=20)
    for i in range(1, 21):
        picture(root / "train" / f"{i}.jpg", quality=75 + i)
    return root


@pytest.fixture
def undivided(folder, monkeypatch):
    """The same without any split, as a reader gives it."""
    read = partial(read_coco, walk(folder), "all", "annotations/instances_train.json")
    layout = Layout("COCO", {"all": read}, "add it")
    monkeypatch.setattr(discover, "FINDERS", [lambda root: layout])
    return folder


def test_the_same_seed_gives_the_same_images_in_any_order():
    generator = np.random.default_rng(0)
    labels = [set(generator.integers(0, 5, generator.integers(0, 4)).tolist()) for _ in range(200)]
    names = [f"{n}.jpg" for n in range(200)]
    first = choose(labels)
    order = generator.permutation(200)
    shuffled = choose([labels[i] for i in order], names=[names[i] for i in order])
    assert {names[i] for i in np.flatnonzero(first)} == {names[order[i]] for i in np.flatnonzero(shuffled)}
    assert not np.array_equal(first, choose(labels, seed=1))


def test_the_choice_is_what_it_was():
    """Whoever made a split with an earlier version gets the same images."""
    assert np.flatnonzero(choose([{0}] * 10 + [{1}] * 5 + [set()] * 5)).tolist() == [2, 7, 12, 18]


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_every_class_has_its_share(share):
    generator = np.random.default_rng(1)
    labels = [{k for k, likely in enumerate((0.7, 0.3, 0.1, 0.03)) if generator.random() < likely} for _ in range(1000)]
    chosen = choose(labels, share)
    assert abs(chosen.mean() - share) < 0.015
    total = Counter(k for own in labels for k in own or {"empty"})
    val = Counter(k for own, here in zip(labels, chosen) for k in (own if here else ()) or ({"empty"} if here else ()))
    for k, count in total.items():
        assert abs(val[k] - share * count) <= max(2, 0.1 * share * count), k


def test_a_class_of_two_images_is_on_both_sides():
    labels = [{0}] * 50 + [{0, 1}] * 2 + [{0, 2}] * 3 + [{3}]
    for seed in range(5):
        chosen = choose(labels, 0.1, seed)
        for k in (1, 2):
            assert 0 < sum(chosen[i] for i, own in enumerate(labels) if k in own) < sum(k in own for own in labels)
        assert not chosen[-1], "the only image of a class is for training"


def test_rare_classes_that_share_images_still_reach_both_sides():
    """Class 2 is only in images of the classes 0 and 1, which alone would be content otherwise."""
    labels = [{0, 2}, {1, 2}, {0}, {1}, {0}, {1}]
    for seed in range(10):
        chosen = choose(labels, 0.34, seed)
        assert {bool(chosen[0]), bool(chosen[1])} == {True, False}


def test_one_class_is_divided_exactly():
    assert [choose([{0}] * 1000, share).sum() for share in (0.1, 0.2, 0.25)] == [100, 200, 250]
    assert choose([set()] * 100).sum() == 20


def test_groups_stay_together():
    groups = [n // 3 for n in range(60)]
    chosen = choose([{n % 2} for n in range(60)], groups=groups).reshape(20, 3)
    assert (chosen.all(1) | ~chosen.any(1)).all() and chosen[:, 0].sum() == 4


def test_a_folder_with_a_training_split_only(folder):
    train, val = (open_dataset(folder, split, share=0.2, report=str) for split in ("train", "val"))
    assert len(train) + len(val) == 20 and 4 <= len(val) <= 5
    assert not set(names_of(train)) & set(names_of(val))
    assert all(dataset.boxes_per_class()[1] > 0 for dataset in (train, val)), "dogs on both sides"
    assert (train.split, val.split, val.name) == ("train", "val", "set")
    again = open_dataset(folder, "val", share=0.2, classes=["dog"], report=str)
    assert names_of(again) == names_of(val), "the chosen classes do not change the split"
    other = open_dataset(folder, "val", share=0.2, split_seed=1, report=str)
    assert names_of(other) != names_of(val)


def test_a_folder_that_is_not_divided(undivided):
    train, val = (open_dataset(undivided, split, share=0.25, report=str) for split in ("train", "val"))
    assert len(train) + len(val) == 20 == len(open_dataset(undivided, "all", report=str))
    with pytest.raises(
        UserError,
        match=r"not divided into training and validation images: found 20 images with 22 boxes .*--split 0\.2",
    ):
        open_dataset(undivided, "val")


def test_a_folder_that_was_opened_is_read_once(undivided, monkeypatch):
    reads = []
    layout = discover.FINDERS[0](undivided)
    read = layout.splits["all"]
    counted = Layout("COCO", {"all": lambda problems: (reads.append(1), read(problems))[1]}, "")
    monkeypatch.setattr(discover, "FINDERS", [lambda root: counted])
    opened = open_folder(undivided, share=0.2)
    train, val = (open_dataset(opened, split, report=str) for split in ("train", "val"))
    made = opened.whole.divided.made
    assert reads == [1] and (made.train, made.val) == (len(train), len(val))


def test_every_format_can_be_divided(tmp_path):
    voc(tmp_path / "voc", {"train": {f"{n}": voc_xml([("dog", 5, 6, 14 + n, 17)]) for n in range(10)}})
    yolo(tmp_path / "yolo", {"train": {f"{n}": f"1 0.5 0.5 0.{n + 1} 0.3" for n in range(9)}})
    for name, images in (("voc", 10), ("yolo", 9)):
        for number, file in enumerate(sorted((tmp_path / name).rglob("*.jpg"))):
            picture(file, quality=70 + number)
        parts = [open_dataset(tmp_path / name, split, share=0.2, report=str) for split in ("train", "val")]
        assert [len(part) for part in parts] == [images - 2, 2]


def test_copies_stay_on_one_side_and_are_counted(tmp_path):
    root = tmp_path / "set"
    names = [f"p{n}_jpg.rf.{n}{k}{'a' * 30}.jpg" for n in range(8) for k in range(3)] + ["q1.jpg", "q2.jpg"]
    listed = [{"id": i, "file_name": name, "width": 40, "height": 30} for i, name in enumerate(names, 1)]
    coco(root, [], images=0)
    content = {"images": listed, "categories": [{"id": 3, "name": "cat"}]}
    content["annotations"] = [annotation(i, 3, [1, 1, 5, 5]) for i in range(1, 27)]
    (root / "annotations" / "instances_train.json").write_text(json.dumps(content))
    for number, name in enumerate(names):
        picture(root / "train" / name, quality=70 + min(number, 24))  # q1 and q2 are the same picture
    opened = open_folder(root, share=0.3)
    sides = [names_of(open_dataset(opened, split, report=str)) for split in ("train", "val")]
    for source in [f"p{n}_jpg" for n in range(8)] + ["q"]:
        assert [any(name.startswith(source) for name in side) for side in sides].count(True) == 1, source
    made = opened.whole.divided.made
    assert (made.groups, made.copies) == (9, 26)
    assert made.sentence() == (
        f"split 0.3 (seed 0): {made.train} images train, {made.val} validate; "
        "9 groups of copies stay on one side (26 images)."
    )


def test_problems_are_those_of_the_part_that_is_opened(folder):
    bad = folder / "train" / names_of(open_dataset(folder, "val", share=0.2, report=str))[0]
    bad.write_text("no image")
    train, val = (open_dataset(folder, split, share=0.2, bad_data="skip", report=str) for split in ("train", "val"))
    assert not train.problems and [problem.file for problem in val.problems] == [f"train/{bad.name}"]


@pytest.mark.parametrize("share", [0, 1, -0.5, 20, float("nan")])
def test_shares_that_are_none(folder, share):
    with pytest.raises(UserError, match=r"between 0 and 1 such as 0\.2, found"):
        open_dataset(folder, "train", share=share)


def test_folders_that_are_not_divided_further(tmp_path):
    coco(tmp_path / "both", [])
    coco(tmp_path / "both", [], split="val")
    with pytest.raises(UserError, match=r"both \(COCO\) has a validation split, .*leave it out; --val-split"):
        open_dataset(tmp_path / "both", "train", share=0.2)
    coco(tmp_path / "test", [], split="test")
    with pytest.raises(UserError, match="no training images to divide, only test"):
        open_dataset(tmp_path / "test", "train", share=0.2)


@pytest.mark.parametrize("images, found", [(1, "1 image;"), (2, "2 images, which belong together;")])
def test_a_side_that_would_be_empty(tmp_path, images, found):
    root = coco(tmp_path, [annotation(1, 3, [1, 1, 5, 5])], images=images)
    with pytest.raises(UserError, match=rf"--split 0\.2 would leave a side empty: .* has {found} add images"):
        open_dataset(root, "train", share=0.2)


def test_what_the_option_split_of_val_means():
    assert read_split("test") == ("test", None) and read_split("valid") == ("val", None)
    assert read_split("0.2") == read_split(0.2) == ("val", 0.2) and split_name("all") == "all"
    with pytest.raises(UserError, match="split must be train or val or test or all, found 'tset'; did you mean 'test'"):
        read_split("tset")
    with pytest.raises(UserError, match="between 0 and 1"):
        read_split("2")


def test_the_splits_of_a_run():
    def layout(*names):
        return Layout("COCO", dict.fromkeys(names, lambda problems: RawIndex([], [])), "add it")

    assert splits_of_run("d", layout("train", "val", "test"), None, True) == ("train", "val")
    assert splits_of_run("d", layout("train", "val", "test"), "test", True) == ("train", "test")
    assert splits_of_run("d", layout("train", "val"), "valid", True) == ("train", "val")
    assert splits_of_run("d", layout("train"), None, False) == ("train", None)
    assert splits_of_run("d", layout("all"), None, False) == ("all", None)
    with pytest.raises(UserError, match=r"only train and test: --val-split test .*--split 0\.2 lets a fifth"):
        splits_of_run("d", layout("train", "test"), None, True)
    with pytest.raises(UserError, match=r"d is not divided into training and validation images: .*--split 0\.2"):
        splits_of_run("d", layout("all"), "test", True)
