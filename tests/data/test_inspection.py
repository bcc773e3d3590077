"""Many files are decoded apart from this process: nothing that stands in one of them ends it."""

import hashlib
import os
import signal

import numpy as np
import pytest

from data.data_folders import picture
from headstart.data import inspection
from headstart.data.inspection import inspect_files


@pytest.fixture(params=[True, False], ids=["processes", "threads"])
def either(request, monkeypatch):
    monkeypatch.setattr(inspection, "FORKS", request.param and inspection.FORKS)


def digest(file) -> int:
    return int.from_bytes(hashlib.blake2b(file.read_bytes(), digest_size=8).digest(), "little")


def test_sizes_checksums_and_what_is_wrong(either, tmp_path):
    files = [picture(tmp_path / f"{i}.png", width=10 + i) for i in range(70)]
    files[3] = tmp_path / "no.png"
    files[4].write_bytes(files[4].read_bytes()[:60])
    files[5].write_bytes(files[5].read_bytes()[:-8])
    told = []
    found = inspect_files([str(file) for file in files], lambda done, total: told.append((done, total)))
    assert found.errors == {3: "it does not exist", 4: "damaged (a PNG cut short)"} and found.fleeting == {3}
    assert found.remarks == {5: "the last bytes of the file are missing"}
    wanted = [(0, 0) if i in (3, 4) else (30, 10 + i) for i in range(70)]
    assert found.sizes.tolist() == [list(size) for size in wanted]
    assert found.digests.tolist() == [0 if i == 3 else digest(file) for i, file in enumerate(files)]
    assert told == [(64, 70), (70, 70)]


def test_no_files(either):
    assert len(inspect_files([]).sizes) == 0


@pytest.mark.skipif(not inspection.FORKS, reason="guarded by processes on Linux alone")
def test_a_file_that_ends_its_decoder_is_named_and_the_rest_is_done(tmp_path, monkeypatch):
    files = [str(picture(tmp_path / f"{i}.png", width=10 + i)) for i in range(40)]
    deadly = {files[0]: signal.SIGSEGV, files[7]: signal.SIGKILL, files[39]: signal.SIGABRT}
    before = inspection.inspect_file

    def inspect(file, complaints):
        if file in deadly:
            os.kill(os.getpid(), deadly[file])
        return before(file, complaints)

    monkeypatch.setattr(inspection, "inspect_file", inspect)
    monkeypatch.setattr(inspection, "_processors", lambda: 3)
    monkeypatch.setattr(inspection, "FILES_EACH", 4)
    found = inspect_files(files)
    assert found.errors == {
        0: "damaged (it ends the decoder: SIGSEGV)",
        7: "its decoder was killed (not enough memory?)",
        39: "damaged (it ends the decoder: SIGABRT)",
    }
    assert found.fleeting == {7}
    assert found.sizes[:, 1].tolist() == [0 if i in (0, 7, 39) else 10 + i for i in range(40)]
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.skipif(not inspection.FORKS, reason="guarded by processes on Linux alone")
def test_processes_end_when_this_one_is_interrupted(tmp_path):
    files = [str(picture(tmp_path / f"{i}.png")) for i in range(70)]

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        inspect_files(files, interrupt)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.skipif(not inspection.FORKS, reason="libjpeg is heard in processes of its own only")
def test_damage_that_libjpeg_passes_over_is_noticed(tmp_path, capfd):
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    from PIL import Image

    Image.fromarray(noise).save(tmp_path / "whole.jpg", quality=90)
    whole = (tmp_path / "whole.jpg").read_bytes()
    middle = len(whole) // 2
    contents = {
        "whole": whole,
        "short": whole[:middle] + whole[-2:],
        "long": whole[:-2] + b"\x55" * 40 + whole[-2:],
    }
    for name, content in contents.items():
        (tmp_path / f"{name}.jpg").write_bytes(content)
    found = inspect_files([str(tmp_path / f"{name}.jpg") for name in contents])
    assert found.errors == {1: "damaged (JPEG: premature end of data segment)"}
    assert list(found.remarks) == [2]
    assert found.remarks[2].startswith("bytes were passed over (JPEG: ") and "extraneous bytes" in found.remarks[2]
    assert capfd.readouterr().err == ""
