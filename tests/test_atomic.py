import os
import stat

import pytest

from headstart.atomic import atomically


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
