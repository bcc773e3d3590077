"""Encodings: what can be read is read, for the rest the cause and the remedy are said. And nobody waits for a pipe."""

import os

import pytest

from data.data_folders import voc, voc_xml, yolo
from headstart.data.discover import open_dataset
from headstart.data.text import read_bytes, read_json, read_lines, read_text, read_xml, read_yaml
from headstart.errors import UserError

CAR = "\u8f66"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_marks_and_zeros_tell_the_encoding(tmp_path, encoding):
    file = tmp_path / "a"
    file.write_bytes(f'["a{CAR}", 1]'.encode(encoding))
    assert read_json(file) == [f"a{CAR}", 1] and read_yaml(file) == [f"a{CAR}", "1"]
    assert read_lines(file) == [f'["a{CAR}", 1]']


@pytest.mark.parametrize(
    ("declared", "written"),
    [
        ("gb2312", "gb2312"),
        ("GBK", "gbk"),
        ("gb2312", "gbk"),
        ("utf-8", "utf-8"),
        ("", "utf-8"),
        ("UTF-16", "utf-16"),
        ("utf-16", "utf-8"),
        ("gb2312", "utf-8-sig"),
        ("big5", "big5"),
        ("shift_jis", "cp932"),
    ],
)
def test_xml_in_its_declared_encoding(tmp_path, declared, written):
    word = "\u9f8d" if written == "gbk" and declared == "gb2312" else "\u4e2d"
    head = f'<?xml version="1.0" encoding="{declared}"?>' if declared else ""
    (tmp_path / "a.xml").write_bytes((head + f"<a><b>{word}</b></a>").encode(written))
    assert read_xml(tmp_path / "a.xml").findtext("b") == word


def test_latin_names(tmp_path):
    (tmp_path / "a.xml").write_bytes('<?xml version="1.0" encoding="ISO-8859-1"?><a>r\xf6d \u20ac</a>'.encode("cp1252"))
    assert read_xml(tmp_path / "a.xml").text == "r\xf6d \u20ac"


def test_what_cannot_be_read_is_said_with_a_remedy(tmp_path):
    root = voc(tmp_path / "voc", {"train": {"a": voc_xml([(CAR, 5, 6, 15, 18)])}})
    (root / "Annotations" / "a.xml").write_bytes(voc_xml([(CAR, 5, 6, 15, 18)]).encode("gbk"))
    with pytest.raises(
        UserError, match=r"a\.xml +is not readable xml \(byte 0xb3 at .* is not UTF-8; save it as UTF-8"
    ):
        open_dataset(root, "train")
    (root / "Annotations" / "a.xml").write_text("<?xml version='1.0' encoding='klingon'?><annotation/>")
    with pytest.raises(UserError, match=r"its encoding klingon is unknown; save it as UTF-8"):
        open_dataset(root, "train")
    root = yolo(tmp_path / "yolo", {"train": {"a": "0 0.5 0.5 0.5 0.2"}})
    (root / "data.yaml").write_bytes(f"train: images/train\nnames: [{CAR}]\n".encode("gbk"))
    with pytest.raises(UserError, match=r"data\.yaml is not a readable yaml file: byte 0xb3 .*save it as UTF-8"):
        open_dataset(root, "train")


def test_yaml_is_words(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("[no, yes, 010, 1e3, 2020-01-01, null, ~, 0x1f, 1_000, 12:30:45, .5, 'a', True]")
    words = ["no", "yes", "010", "1e3", "2020-01-01", "null", "~", "0x1f", "1_000", "12:30:45", ".5", "a", "True"]
    assert read_yaml(file) == words


@pytest.mark.parametrize("text", ["? [a, b]\n: c", "{a: 1, a: 2}", "[" * 3000, "a: &a [*a]\nb: *c", "a: b: c", "\0"])
def test_strange_yaml_has_a_reason(tmp_path, text):
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(UserError, match="not a readable yaml file") as caught:
        open_dataset(tmp_path, "train")
    assert len(str(caught.value)) < 600


def test_a_yaml_bomb_makes_no_long_message(tmp_path):
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi")]
    (tmp_path / "data.yaml").write_text("\n".join([*lines, "names: *i", "train: x"]))
    with pytest.raises(UserError) as caught:
        open_dataset(tmp_path, "train")
    assert len(str(caught.value)) < 1000


def test_pipes_devices_and_limits(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero", tmp_path):
        with pytest.raises(ValueError, match="not a regular file"):
            read_text(tmp_path / path)
    (tmp_path / "a").write_bytes(b"x" * 100)
    assert len(read_bytes(tmp_path / "a", 100)) == 100
    with pytest.raises(ValueError, match="larger than 0 MB"):
        read_bytes(tmp_path / "a", 99)


@pytest.mark.parametrize("place", ["/dev/zero", "pipe"])
def test_a_list_that_is_no_file(tmp_path, place):
    root = yolo(tmp_path, {"train": {"a": "0 0.5 0.5 0.5 0.2"}}, train=place)
    os.mkfifo(root / "pipe")
    with pytest.raises(UserError, match="is not a readable list of images: it is not a regular file"):
        open_dataset(root, "train")


def test_a_pipe_in_place_of_a_json_or_a_picture(tmp_path):
    os.mkfifo(tmp_path / "instances_train.json")
    with pytest.raises(UserError, match="none of the known formats"):
        open_dataset(tmp_path, "train")
    root = yolo(tmp_path / "set", {"train": {"a": "0 0.5 0.5 0.5 0.2"}})
    os.mkfifo(root / "images" / "train" / "b.jpg")
    said = []
    assert len(open_dataset(root, "train", report=said.append)) == 1
    assert any("passed over 1 pipe or device: images/train/b.jpg" in line for line in said)
