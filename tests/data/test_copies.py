"""Files of the same bytes and Roboflow's versions, found by opening as few files as possible."""

from pathlib import Path

import numpy as np

from headstart.data import copies
from headstart.data.copies import join_groups, roboflow_name, same_bytes, same_digests, same_source


def write(folder, **contents):
    files = []
    for name, content in contents.items():
        files.append(folder / name)
        files[-1].write_bytes(content)
    return files


def watch(monkeypatch):
    """The names of the files whose ends, and which as a whole, are read."""
    opened = {"_tail": [], "_digest": []}
    for name, seen in opened.items():
        real = getattr(copies, name)
        monkeypatch.setattr(copies, name, lambda file, real=real, seen=seen: (seen.append(file.name), real(file))[1])
    return opened


def test_only_files_of_equal_size_are_opened_and_only_equal_ends_are_read_on(tmp_path, monkeypatch):
    long = b"x" * 5000
    files = write(tmp_path, a=long, b=b"y" + long[1:], c=long, d=b"z" * 5000, e=b"alone", f=b"", g=b"")
    opened = watch(monkeypatch)
    assert same_bytes([*files, tmp_path / "missing"]) == [[0, 2]]
    assert opened == {"_tail": ["a", "b", "c", "d"], "_digest": ["a", "b", "c"]}


def test_checksums_that_are_known():
    assert same_digests(np.array([7, 0, 2**64 - 1, 7, 0, 2**64 - 1], np.uint64)) == [[0, 3], [2, 5]]


def test_roboflow_names():
    one, two, other = (
        "cell_jpg.rf.0a1b2c3d4e5f60718293a4b5c6d7e8f9.jpg",
        "cell_jpg.rf.1" + "b" * 31 + ".jpg",
        "cell.jpg",
    )
    assert roboflow_name(Path(one)) == "cell_jpg" and roboflow_name(Path(other)) is None
    assert roboflow_name(Path("v1.rf.jpg")) is None
    assert same_source([Path("train") / one, Path(other), Path("valid") / two]) == [[0, 2]]


def test_groups_that_overlap_are_one():
    assert join_groups(6, [[4, 5], [1, 2], [2, 4]]).tolist() == [0, 1, 1, 3, 1, 1]
