"""What is wrong with pictures is found when the data is opened: by name, by kind, with counts."""

import pytest

from data.data_folders import annotation, coco, picture
from headstart.data.discover import open_dataset
from headstart.errors import UserError


@pytest.fixture
def root(tmp_path):
    return coco(tmp_path, [annotation(1, 3, [1, 2, 5, 5])], images=12)


def test_each_kind_of_damage_is_named(root):
    train = root / "train"
    whole = picture(root / "a.png").read_bytes()
    (train / "2.jpg").write_bytes(whole[:80])
    (train / "3.jpg").write_bytes(b"")
    (train / "4.jpg").write_bytes(b"some text")
    (train / "5.jpg").unlink()
    picture(train / "6.jpg", width=30, height=40)
    (train / "7.jpg").write_bytes(whole)
    with pytest.raises(UserError) as caught:
        open_dataset(root, "train")
    lines = [line.split(maxsplit=1) for line in str(caught.value).splitlines()[1:-1]]
    assert dict(lines) == {
        "train/2.jpg": "not a readable image: damaged (a PNG cut short)",
        "train/3.jpg": "not a readable image: empty",
        "train/4.jpg": "not a readable image: no picture (text)",
        "train/5.jpg": "the image file does not exist",
        "train/6.jpg": "is 30 x 40 px, but its annotations say 40 x 30 (were they drawn without the EXIF turn?)",
    }
    told = []
    dataset = open_dataset(root, "train", bad_data="skip", report=told.append)
    assert dataset.ids == [1, 7, 8, 9, 10, 11, 12] and len(dataset.digests) == 7
    assert "left out 5 images" in told[0]


def test_what_is_used_all_the_same_is_said_in_a_line(root):
    for name in ("2.jpg", "3.jpg"):
        file = root / "train" / name
        file.write_bytes(file.read_bytes()[:-2])
    told = []
    assert len(open_dataset(root, "train", report=told.append)) == 12
    wanted = "2 images are used, though the last bytes of the file are missing: train/2.jpg and 1 more."
    assert [line.split(": ", 1)[1] for line in told if "though" in line] == [wanted]


def test_many_are_counted_by_kind(tmp_path):
    root = coco(tmp_path, [annotation(1, 3, [1, 2, 5, 5])], images=40)
    for i in range(2, 27):
        (root / "train" / f"{i}.jpg").write_bytes(b"" if i % 2 else b"text of 24 bytes and more")
    with pytest.raises(UserError) as caught:
        open_dataset(root, "train")
    lines = str(caught.value).splitlines()
    assert "  ... and 5 more" in lines
    assert lines[lines.index("  ... and 5 more") + 1 : -1] == [
        "  13 x not a readable image: no picture",
        "  12 x not a readable image: empty",
    ]
