import os
import stat

import pytest

from headstart.atomic import atomically, remove_partials


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "last.ckpt"
    with atomically(path) as partial:
        partial.write_text("old")
    with pytest.raises(RuntimeError), atomically(path) as partial:
        partial.write_text("half of the ne")
        raise RuntimeError
    assert path.read_text() == "old"
    with atomically(str(path)) as partial:
        partial.write_text("new")
    assert [p.name for p in path.parent.iterdir()] == ["last.ckpt"]
    assert path.read_text() == "new"


def test_the_file_has_the_usual_rights_whoever_wrote_it(tmp_path):
    plain, path = tmp_path / "plain", tmp_path / "secret"
    plain.touch()
    with atomically(path) as partial:
        partial.unlink()
        os.close(os.open(partial, os.O_CREAT | os.O_WRONLY, 0o600))
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_the_unfinished_file_is_never_one_that_is_there_already(tmp_path, monkeypatch):
    """A link of its name, laid by somebody else, is not followed."""
    (tmp_path / "victim").write_text("precious")
    monkeypatch.setattr("headstart.atomic.secrets.token_hex", lambda count: "0" * 2 * count)
    link = tmp_path / f".last.ckpt.{'0' * 16}.partial"
    link.symlink_to(tmp_path / "victim")
    with pytest.raises(FileExistsError), atomically(tmp_path / "last.ckpt") as partial:
        partial.write_text("mine")
    assert (tmp_path / "victim").read_text() == "precious" and link.is_symlink()


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path):
    left = [
        ".last.ckpt.0123456789abcdef.partial",
        ".run.yaml.4711.partial",
        ".student.safetensors.12.part",
        ".tmpAb12xY",
    ]
    kept = [".hidden", "notes.partial", ".tmp", "last.ckpt", ".git"]
    for name in (*left, *kept):
        (tmp_path / name).touch()
    remove_partials(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(kept)
    remove_partials(tmp_path / "nowhere")
