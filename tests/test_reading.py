import os
import sys

import pytest

from headstart.errors import UserError
from headstart.reading import LARGEST_TEXT, read_text, reading, reason


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes")
def test_a_pipe_is_refused_before_it_is_opened(tmp_path):
    os.mkfifo(tmp_path / "r.yaml")
    with pytest.raises(UserError, match=r"The recipe .*r\.yaml is a pipe or a device, not a regular file\. Give one\."):
        read_text(tmp_path / "r.yaml", "The recipe", "Give one")


def test_what_is_no_file_is_named(tmp_path):
    with pytest.raises(UserError, match="is a folder, not a file"):
        read_text(tmp_path, "The recipe", "Give one")
    with pytest.raises(UserError, match=r"does not exist\. Give one"):
        read_text(tmp_path / "none", "The recipe", "Give one")
    with pytest.raises(UserError, match="cannot be opened: File name too long"):
        read_text(tmp_path / ("n" * 5000), "The recipe", "Give one")
    with pytest.raises(UserError, match="cannot be opened"):
        read_text("a\0b", "The recipe", "Give one")


def test_a_text_has_a_limit_and_an_encoding(tmp_path):
    file = tmp_path / "t"
    file.write_bytes(b"ab\xff")
    with pytest.raises(UserError, match=r"it is not UTF-8 text \(byte 3\)"):
        read_text(file, "The list", "Give one")
    file.write_bytes(b"a" * (LARGEST_TEXT + 1))
    with pytest.raises(UserError, match="is larger than 512 kB"):
        read_text(file, "The list", "Give one")
    file.write_text("größer")
    assert read_text(file, "The list", "Give one") == "größer"


def test_any_exception_becomes_a_sentence_and_a_sentence_stays(tmp_path):
    file = tmp_path / "t"
    file.touch()
    named = r"The list .*t cannot be read: KeyError 'a'\. Give another\."
    with pytest.raises(UserError, match=named), reading(file, "The list", "Give another"):
        {}["a"]
    with pytest.raises(UserError, match=r"^mine$"), reading(file, "The list", "Give another"):
        raise UserError("mine")
    with pytest.raises(KeyboardInterrupt), reading(file, "The list", "Give another"):
        raise KeyboardInterrupt


def test_reasons_are_short():
    assert reason(RecursionError()) == "it is nested too deeply"
    assert reason(MemoryError()) == "it does not fit into memory"
    assert (
        reason(RuntimeError("Weights only load failed.\nUnsupported operand 149. More advice"))
        == "Unsupported operand 149"
    )
    assert len(reason(ValueError("x" * 10_000))) == 120
    assert reason(EOFError()) == "EOFError"
