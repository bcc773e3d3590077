"""Image files: what is read and what is not, and folders of them."""

import os

import pytest

from data.data_folders import picture
from headstart.data.images import find_pictures, read_image, read_size
from headstart.errors import UserError


def test_pixels_and_size(tmp_path):
    file = picture(tmp_path / "a.png")
    assert read_image(file).shape == (3, 30, 40) and read_size(file) == (30, 40)


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp"])
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.6])
def test_files_cut_short_are_named(tmp_path, suffix, kept):
    file = picture(tmp_path / f"a.{suffix}")
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content))])
    for read in (read_image, read_size):
        with pytest.raises(UserError, match=r"a\.\w+ cannot be decoded: .*repair it or remove it"):
            read(file)


def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    for name in ("pipe.jpg", "folder.jpg", "zero.jpg"):
        with pytest.raises(UserError, match=f"{name} cannot be decoded: not a regular file"):
            read_image(tmp_path / name)
    for name, reason in (("no.jpg", "it does not exist"), ("a.png/b.png", "cannot be opened .Not a directory")):
        picture(tmp_path / "a.png")
        with pytest.raises(UserError, match=reason):
            read_image(tmp_path / name)


def test_pictures_of_a_folder(tmp_path):
    """Linked folders count, each once; a link to what is above ends nothing."""
    inside, elsewhere = tmp_path / "inside", tmp_path / "elsewhere"
    for file in (inside / "b" / "2.jpg", inside / "1.PNG", elsewhere / "3.bmp"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (inside / "notes.txt").touch()
    (inside / "linked").symlink_to(elsewhere)
    (inside / "b" / "again").symlink_to(inside)
    (elsewhere / "twice").symlink_to(elsewhere)
    assert find_pictures(inside) == [inside / "1.PNG", inside / "b" / "2.jpg", inside / "linked" / "3.bmp"]
