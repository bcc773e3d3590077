"""Which picture a name means."""

import pytest

from data.data_folders import picture
from headstart.data.locate import Pictures, spellings
from headstart.data.tree import walk


@pytest.fixture
def pictures(tmp_path):
    for name in ("train/x/a.jpg", "train/y/a.jpg", "val/x/b.jpg", "only.png"):
        picture(tmp_path / name)
    return Pictures(walk(tmp_path))


@pytest.mark.parametrize(
    ("name", "near", "path"),
    [
        ("a.jpg", ["train/x"], "train/x/a.jpg"),
        ("../y/a.jpg", ["train/x"], "train/y/a.jpg"),
        ("y/a.jpg", [""], "train/y/a.jpg"),
        ("a.jpg", [""], None),
        ("/disk/x/a.jpg", [""], "train/x/a.jpg"),
        ("pics\\only.PNG", [""], "only.png"),
        ("nothing.jpg", [""], None),
    ],
)
def test_names(pictures, name, near, path):
    assert pictures.find(name, near) == path


def test_a_picture_of_another_split_is_not_taken(pictures):
    assert pictures.find("b.jpg", [""], "train") is None
    assert pictures.find("b.jpg", [""], "val") == "val/x/b.jpg"
    assert pictures.find("val/b.jpg", [""]) == "val/x/b.jpg" and pictures.find("train/b.jpg", [""]) is None


def test_the_folder_of_most_names(pictures):
    assert (
        pictures.base(["a.jpg"], "train", "") == "train/x" and pictures.base(["x/a.jpg", "y/a.jpg"], "", "") == "train"
    )
    assert pictures.base(["z.jpg"], "train", "") is None


def test_spellings():
    assert spellings("a b.jpg") == ["a b.jpg"]
    assert spellings("c:\\x\\a%20b.jpg") == ["c:\\x\\a%20b.jpg", "/x/a%20b.jpg", "c:\\x\\a b.jpg", "/x/a b.jpg"]
