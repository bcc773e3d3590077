"""A picture is decoded when it is new or has changed, and not again; what is kept of it is never trusted blindly."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from data.data_folders import annotation, coco, picture
from headstart.data import remembered
from headstart.data.discover import open_dataset
from headstart.data.inspection import inspect_files
from headstart.data.remembered import cache_folder, inspect_folder


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pictures"


@pytest.fixture
def decoded(monkeypatch):
    """The names of the files that were decoded since it was last cleared."""
    names = []

    def inspect(files, progress=None):
        names.extend(Path(file).name for file in files)
        return inspect_files(files, progress)

    monkeypatch.setattr(remembered, "inspect_files", inspect)
    return names


def same(a, b):
    return (
        a.sizes.tolist() == b.sizes.tolist()
        and a.digests.tolist() == b.digests.tolist()
        and (a.errors, a.remarks) == (b.errors, b.remarks)
    )


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "data"
    for i in range(6):
        picture(root / f"{i}.png", width=20 + i)
    (root / "2.png").write_bytes((root / "2.png").read_bytes()[:60])
    (root / "3.png").write_bytes((root / "3.png").read_bytes()[:-8])
    return root


NAMES = [f"{i}.png" for i in range(6)]


def test_only_what_is_new_or_has_changed_is_decoded(folder, decoded):
    first = inspect_folder(folder, [*NAMES, "no.png"])
    assert decoded == [*NAMES, "no.png"] and first.errors == {2: "damaged (a PNG cut short)", 6: "it does not exist"}
    decoded.clear()
    assert same(inspect_folder(folder, [*NAMES, "no.png"]), first) and decoded == ["no.png"]
    decoded.clear()
    picture(folder / "1.png", width=50)
    os.utime(folder / "4.png", ns=(1, 1))
    again = inspect_folder(folder, NAMES[::-1])
    assert decoded == ["4.png", "1.png"] and again.sizes[4].tolist() == [30, 50] and list(again.errors) == [3]
    assert again.remarks == {2: "the last bytes of the file are missing"}
    decoded.clear()
    inspect_folder(folder, NAMES)
    assert decoded == []


def test_two_splits_share_what_is_remembered_and_what_is_gone_is_forgotten(folder, decoded, place):
    inspect_folder(folder, NAMES[:3])
    (folder / "0.png").unlink()
    inspect_folder(folder, NAMES[3:])
    decoded.clear()
    inspect_folder(folder, NAMES[1:])
    assert decoded == []
    old = remembered._load(next(place.glob("*.npz")), print)
    assert sorted(old.names) == NAMES[1:]


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\3\4", None])
def test_a_damaged_file_costs_a_line(folder, decoded, place, content):
    first = inspect_folder(folder, NAMES)
    (file,) = place.glob("*.npz")
    bytes_ = bytearray(file.read_bytes())
    bytes_[len(bytes_) // 2] ^= 1
    file.write_bytes(bytes_ if content is None else content)
    decoded.clear()
    told = []
    assert same(inspect_folder(folder, NAMES, told.append), first) and decoded == NAMES
    assert len(told) == 1 and str(file) in told[0] and "so all pictures are checked again" in told[0]
    told.clear()
    inspect_folder(folder, NAMES, told.append)
    assert told == []


def test_another_version_is_not_read(folder, decoded, monkeypatch):
    inspect_folder(folder, NAMES)
    decoded.clear()
    monkeypatch.setattr(remembered, "VERSION", "0")
    told = []
    inspect_folder(folder, NAMES, told.append)
    assert decoded == NAMES and told == []


def test_a_place_that_cannot_be_written_costs_a_line(folder, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "file"))
    told = []
    found = inspect_folder(folder, NAMES, told.append)
    assert len(found.sizes) == 6 and len(told) == 1
    assert "cannot be remembered: Not a directory" in told[0] and "HEADSTART_CACHE" in told[0]


def test_where_it_lies(tmp_path, monkeypatch):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("HEADSTART_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    if sys.platform == "linux":
        assert cache_folder() == tmp_path / "xdg" / "headstart"


def test_names_that_are_not_utf8(tmp_path, decoded):
    name = os.fsdecode(b"\xff\xfe.png")
    picture(tmp_path / "data" / name)
    for _ in range(2):
        assert inspect_folder(tmp_path / "data", [name]).sizes.tolist() == [[30, 40]]
    assert decoded == [name]


def test_rights_are_asked_for_again(folder, decoded, monkeypatch):
    """What the file itself is not to blame for is not remembered."""
    from headstart.data import inspection
    from headstart.data.unreadable import UnreadableError

    def refuse(file):
        raise UnreadableError("cannot be opened (Permission denied)", lasting=False)

    with monkeypatch.context() as patch:
        patch.setattr(inspection, "read_bytes", refuse)
        assert len(inspect_folder(folder, NAMES).errors) == 6
    decoded.clear()
    assert list(inspect_folder(folder, NAMES).errors) == [2] and decoded == NAMES


def test_how_far_it_is(folder, monkeypatch):
    monkeypatch.setattr(remembered, "SAY_EVERY", 0.0)
    told = []
    inspect_folder(folder, NAMES, told.append)
    assert told == ["data: 6 of 6 pictures checked; this is done once and remembered."]


def test_several_processes_check_a_folder_once(folder, place):
    """The others wait for the first and read what it has found out."""
    code = (
        "import sys; from pathlib import Path; from headstart.data import remembered as r; old = r._inspect\n"
        "def inspect(*a): print('decoded', len(a[2])); old(*a)\n"
        "r._inspect = inspect; print(r.inspect_folder(Path(sys.argv[1]), sys.argv[2:]).sizes.sum())"
    )
    command = [sys.executable, "-c", code, str(folder), *NAMES]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = sorted(process.communicate()[0].split("\n") for process in running)
    total = str(inspect_folder(folder, NAMES).sizes.sum())
    assert printed == sorted([["decoded 6", total, ""], [total, ""]])


def test_a_data_set_has_the_checksums(tmp_path, decoded):
    root = coco(tmp_path / "set", [annotation(1, 3, [1, 2, 5, 5])], images=3)
    first = open_dataset(root, "train", report=str)
    assert len(decoded) == 3 and str(first.digests.dtype) == "uint64" and len(set(first.digests.tolist())) == 1
    picture(root / "train" / "2.jpg", quality=50)
    second = open_dataset(root, "train", report=str)
    assert len(decoded) == 4 and (first.digests == second.digests).tolist() == [True, False, True]
    moved = tmp_path / "moved"
    root.rename(moved)
    assert open_dataset(moved, "train", report=str).digests.tolist() == second.digests.tolist()
