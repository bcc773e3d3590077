"""One walk: links are followed but not in circles, what is hidden is passed over and counted."""

import pytest

from data.data_folders import picture
from headstart.data import tree
from headstart.data.tree import walk
from headstart.errors import UserError


def test_what_lies_where(tmp_path):
    for name in ("b/a.jpg", "b-c/A.JPEG", "a.png"):
        picture(tmp_path / name)
    for name in ("x.JSON", "b/y.json", "b/readme"):
        (tmp_path / name).write_text("x")
    found = walk(tmp_path)
    assert found.pictures == ["a.png", "b/a.jpg", "b-c/A.JPEG"]
    assert found.files == {".json": ["b/y.json", "x.JSON"], "": ["b/readme"]} and found.notes() == ()


def test_links(tmp_path):
    picture(tmp_path / "out" / "a.jpg")
    root = tmp_path / "root"
    (root / "in").mkdir(parents=True)
    (root / "in" / "up").symlink_to(root)
    (root / "in" / "out").symlink_to(tmp_path / "out")
    (tmp_path / "out" / "round").symlink_to(root)
    (root / "self").symlink_to(root / "self")
    (root / "gone.jpg").symlink_to(root / "nothing.jpg")
    (root / "one.jpg").symlink_to(tmp_path / "out" / "a.jpg")
    assert walk(root).pictures == ["gone.jpg", "in/out/a.jpg", "one.jpg"]


def test_hidden_files(tmp_path):
    for name in ("._a.jpg", "a/._b.jpg", "a/__MACOSX/c.jpg", "a/__MACOSX/d.jpg", ".git/e.jpg", ".cache/x.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text("x")
    found = walk(tmp_path)
    assert found.pictures == [] and found.hidden == ["._a.jpg", "a/._b.jpg", "a/__MACOSX"]
    assert found.notes() == ("passed over 3 hidden files or folders with images: ._a.jpg and 2 more.",)


def test_a_whole_disk_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tree, "MOST", 2)
    for name in "abc":
        picture(tmp_path / f"{name}.jpg")
    with pytest.raises(UserError, match="more than 2 files; give the folder of the data set"):
        walk(tmp_path)
