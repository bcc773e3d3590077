"""The one way to print: names and messages may come from files of others, and must not steer the terminal."""

from __future__ import annotations

import sys
import unicodedata
from typing import TextIO

KEPT = "\n\t"
"""Control characters that a message may have."""

UNSAFE = ("Cc", "Cs", "Zl", "Zp")
"""Unicode's categories of what is shown as its number: control characters, halves of pairs (bytes of a file name that
are no UTF-8), separators of lines and paragraphs."""

TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that change the direction of the text after them."""


def printable(text: str) -> str:
    r"""The text with everything in it that would steer a terminal as an escape: ESC becomes `\x1b`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(escaped(character) if _is_unsafe(character) else character for character in text)


def say(text: str = "", *, stream: TextIO | None = None, end: str = "\n") -> None:
    """Prints a line, `printable`, on standard output or another stream.

    What the stream's encoding lacks becomes a question mark.
    """
    stream = stream or sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    shown = printable(text).encode(encoding, "replace").decode(encoding)
    print(shown, file=stream, end=end, flush=True)


def _is_unsafe(character: str) -> bool:
    if character in KEPT:
        return False
    return unicodedata.category(character) in UNSAFE or character in TURNING


def escaped(character: str) -> str:
    """A character as its number."""
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte of a file name that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
