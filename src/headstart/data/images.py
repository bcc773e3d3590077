"""Image files: which they are, their bytes, and their pixels as uint8 RGB."""

from __future__ import annotations

import os
import stat
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.data.unreadable import MISSING, UnreadableError
from headstart.errors import UserError

if TYPE_CHECKING:  # folders are recognised before torch is imported, see early.py
    from torch import Tensor

    from headstart.structures import Size

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")

LARGEST_FILE = 2**31
"""Most bytes of a file that is read."""


def is_image(file: Path) -> bool:
    """Whether the name of a file ends like that of an image, in upper or lower case."""
    return file.suffix.lower() in SUFFIXES


def read_image(file: Path) -> Tensor:
    """The picture as uint8 (3, H, W) RGB, upright; see `headstart.data.decode.decode` for the rule.

    Raises UserError naming the file and the reason if it cannot be read.
    """
    from headstart.data.decode import decode

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return decode(read_bytes(file)).pixels
    except UnreadableError as reason:
        raise UserError(
            f"the image {file} cannot be decoded: {reason}; repair it or remove it from the data set."
        ) from None


def read_size(file: Path) -> Size:
    """(height, width) of the upright picture. It is decoded, so a damaged one has none: see `read_image` for errors."""
    height, width = read_image(file).shape[1:]
    return height, width


def read_bytes(file: Path) -> bytearray:
    """The content of a regular file. Raises UnreadableError for anything else: nobody waits for a pipe or a device."""
    try:
        about = file.stat()
        if not stat.S_ISREG(about.st_mode):
            raise UnreadableError("not a regular file (a folder, a pipe or a device)", lasting=False)
        if about.st_size > LARGEST_FILE:
            raise UnreadableError(f"too large ({about.st_size} bytes; at most {LARGEST_FILE} are read)")
        data = bytearray(about.st_size)
        with file.open("rb", buffering=0) as stream:
            view, found = memoryview(data), 0
            while found < len(data) and (more := stream.readinto(view[found:])):
                found += more
    except FileNotFoundError:
        raise UnreadableError(MISSING, lasting=False) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UnreadableError(f"cannot be opened ({reason or error})", lasting=False) from None
    view.release()
    del data[found:]
    return data


def find_pictures(folder: Path) -> list[Path]:
    """The image files below a folder, sorted. Links are followed, but no folder is entered twice.

    Raises OSError for a folder that cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise error

    found: list[Path] = []
    entered: set[tuple[int, int]] = set()
    for place, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        about = Path(place).stat()
        if (about.st_dev, about.st_ino) in entered:
            folders.clear()
            continue
        entered.add((about.st_dev, about.st_ino))
        folders.sort()
        found += [file for name in files if is_image(file := Path(place) / name)]
    return sorted(found)
