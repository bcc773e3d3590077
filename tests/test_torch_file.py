import pickle
import subprocess
import sys

import pytest
import torch

from headstart.errors import UserError
from headstart.torch_file import DEEPEST, load_torch


def legacy(content: bytes) -> bytes:
    """A file of torch's old format whose object is this pickle."""
    info = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    parts = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, info)]
    return b"".join([*parts, content, pickle.dumps([], 2)])


def test_a_tuple_as_deep_as_the_stack_is_refused_and_the_process_lives(tmp_path):
    """As the key of a mapping, its hash would be taken by recursion in C."""
    file = tmp_path / "deep.pth"
    file.write_bytes(legacy(b"\x80\x02}()" + b"\x85" * 300_000 + b"K\x01u."))
    code = (
        "import sys\nfrom pathlib import Path\nfrom headstart.torch_file import load_torch\n"
        "from headstart.errors import UserError\n"
        "try: load_torch(Path(sys.argv[1]), 'The file', 'Save it again')\n"
        "except UserError as error: print(error)"
    )
    ended = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip().endswith(f"deep.pth holds tuples more than {DEEPEST} deep. Save it again.")


@pytest.mark.parametrize(
    "content",
    [
        legacy(b"\x80\x02)" + b"\x85" * (DEEPEST + 1) + b"."),
        # by way of the memo: put, get, put ...
        legacy(b"\x80\x02)" + b"".join(b"\x85q%c0h%c" % (n % 200, n % 200) for n in range(DEEPEST + 1)) + b"."),
        # two and three at a time
        legacy(b"\x80\x02)" + b"K\x01\x86" * 400 + b"K\x01K\x02\x87" * 400 + b"\x85" * 300 + b"."),
        # by marks
        legacy(b"\x80\x02" + b"(" * (DEEPEST + 2) + b"t" * (DEEPEST + 2) + b"."),
    ],
)
def test_depth_is_counted_however_it_is_made(content, tmp_path):
    file = tmp_path / "deep.pth"
    file.write_bytes(content)
    with pytest.raises(UserError, match="tuples more than"):
        load_torch(file, "The file", "Save it again")


@pytest.mark.parametrize("zipped", [True, False])
def test_ordinary_files_are_read(zipped, tmp_path):
    content = {"state": {f"w{n}": torch.full((2, 3), float(n)) for n in range(50)}, "more": [(1, (2, (3,)))] * 3000}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    found = load_torch(tmp_path / "w.pth", "The file", "Save it again")
    assert found["more"] == content["more"] and torch.equal(found["state"]["w7"], content["state"]["w7"])


@pytest.mark.parametrize(
    "content",
    [b"", b"root:x:0:0", b"PK\x03\x04", b"\x80\x02h\x07.", b"\x80\x02\x85\x85.", b"\x80\x02\xff.", b"\x80\x02}"],
)
def test_what_is_none_ends_in_a_sentence(content, tmp_path):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(UserError, match=r"The file .*w\.pth cannot be read: .*\. Save it again\.$"):
        load_torch(tmp_path / "w.pth", "The file", "Save it again")
