"""Text files of annotations, read whole in the encoding that they are in."""

from __future__ import annotations

import codecs
import json
import re
import stat
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import yaml

from headstart.data.raw import short
from headstart.strict_yaml import StrictLoader

LARGEST = 2**32
"""Most bytes of a json or xml file."""

LARGEST_LIST = 2**28
"""Most bytes of a text file: labels, or names of images."""

LARGEST_YAML = 2**22
"""Most bytes of a yaml file, which is read about a hundred times more slowly than json."""

PEEKED = 2**16
"""Bytes at the beginning and the end of a file that tell what it is."""

WIDER = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "big5": "cp950",
    "iso8859-1": "cp1252",
}
"""Encodings that files declare, and those that they are written in by programs: the same with more characters."""

DECLARED = re.compile(rb"""^\s*<\?xml[^>]{0,200}?\bencoding\s*=\s*["']([\w.:-]{1,40})["']""")

SAVE_AS_UTF8 = "save it as UTF-8, for instance with `iconv -f ENCODING -t UTF-8`, ENCODING being the one it is in"


class WordLoader(StrictLoader):
    """Every plain value is the word that was written: a class may be called no, 010 or null."""


WordLoader.yaml_implicit_resolvers = {}


def read_bytes(file: Path, limit: int = LARGEST) -> bytes:
    """The content of a regular file. Raises ValueError with the reason (the caller names the file)."""
    try:
        about = file.stat()
        if not stat.S_ISREG(about.st_mode):
            raise ValueError("it is not a regular file but a folder, a pipe or a device")
        if about.st_size <= limit:
            with file.open("rb") as stream:
                data = stream.read(limit + 1)
            if len(data) <= limit:
                return data
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from None
    raise ValueError(f"it is larger than {limit // 2**20} MB")


def peek(file: Path) -> bytes:
    """The beginning and the end of a file, without zeros (UTF-16 becomes readable enough); nothing if it has none."""
    try:
        about = file.stat()
        if not stat.S_ISREG(about.st_mode):
            return b""
        with file.open("rb") as stream:
            start = stream.read(PEEKED)
            stream.seek(max(len(start), about.st_size - PEEKED))
            return (start + stream.read(PEEKED)).replace(b"\0", b"")
    except OSError:
        return b""


def read_text(file: Path, limit: int = LARGEST_LIST) -> str:
    """The text of a file, by its byte order mark, else UTF-16 or UTF-32 by the place of zeros, else UTF-8.

    Raises ValueError with the reason (the caller names the file).
    """
    return _decode(read_bytes(file, limit), "")


def read_lines(file: Path) -> list[str]:
    """The lines of a text file without blanks around them, empty ones included. Raises ValueError with the reason."""
    return [line.strip() for line in re.split(r"\r\n|\r|\n", read_text(file))]


def read_json(file: Path, hook: Callable[[dict], object] | None = None, *, words: bool = False) -> object:
    """The value of a json file; `hook` may replace each object. With `words`, numbers are the text that was written.

    Raises ValueError with the reason.
    """
    text = read_text(file, LARGEST)
    kind = str if words else None
    try:
        return json.loads(text, object_hook=hook, parse_int=kind, parse_float=kind, parse_constant=kind)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_yaml(file: Path) -> object:
    """The value of a yaml file with every plain value as text. Raises ValueError with the reason."""
    text = read_text(file, LARGEST_YAML)
    try:
        return yaml.load(text, Loader=WordLoader)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (yaml.YAMLError, TypeError) as error:  # TypeError: a list as a key
        raise ValueError(short(" ".join(str(error).split()), 200)) from None


def read_xml(file: Path) -> ElementTree.Element:
    """The root of an xml file in its declared encoding, any that Python knows. Raises ValueError with the reason."""
    data = read_bytes(file)
    found = DECLARED.match(data[:1000])
    text = _decode(data, found[1].decode() if found else "")
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(str(error)) from None


def _decode(data: bytes, declared: str) -> str:
    """Raises ValueError with the reason and the remedy."""
    encoding = json.detect_encoding(data[:4])
    if declared and encoding == "utf-8":
        try:
            encoding = codecs.lookup(declared).name
            encoding = WIDER.get(encoding, encoding)
            # What is declared as UTF-16 but has a readable declaration is not UTF-16.
            return data.decode("utf-8" if encoding.startswith(("utf-16", "utf-32")) else encoding)
        except LookupError:
            raise ValueError(f"its encoding {declared} is unknown; {SAVE_AS_UTF8}, and declare UTF-8") from None
        except UnicodeDecodeError:
            encoding = "utf-8"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        byte, said = data[error.start], f"{declared} as it declares" if declared else encoding.upper()
        raise ValueError(f"byte 0x{byte:02x} at position {error.start} is not {said}; {SAVE_AS_UTF8}") from None
