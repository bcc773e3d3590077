"""The pictures that `predict` is asked about: which they are, whether they can be read, and names for drawn ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from headstart.data.images import find_pictures, is_image
from headstart.data.inspection import Findings, inspect_files
from headstart.errors import UserError

CHECKED_AT_A_TIME = 256
"""So many images are checked, then so many are searched for objects."""


def find_images(source: Path) -> Iterator[Path]:
    """The image itself, or every image below a folder, links followed. Raises UserError if there is none."""
    if source.is_file():
        if not is_image(source):
            raise UserError(f"{source} is not an image file that can be read (.jpg, .png, ...).")
        yield source
        return
    if not source.exists():
        raise UserError(f"{source} does not exist: expected an image or a folder of images.")
    if not source.is_dir():
        raise UserError(f"{source} is a pipe or a device: expected an image or a folder of images.")
    found = find_pictures(source)
    if not found:
        raise UserError(f"{source} has no image in it (.jpg, .png, ...).")
    yield from found


def checked(files: Sequence[Path]) -> Iterator[tuple[Path, str, str]]:
    """Each file, why it cannot be read ("" if it can), and what is remarkable about it, some files at a time.

    Decoding is tried apart from this process, as when data is opened: a file that ends the decoder ends nothing else.
    """
    for first in range(0, len(files), CHECKED_AT_A_TIME):
        some = files[first : first + CHECKED_AT_A_TIME]
        found: Findings = inspect_files([str(file) for file in some])
        for number, file in enumerate(some):
            yield file, found.errors.get(number, ""), found.remarks.get(number, "")


def picture_names(files: Sequence[Path]) -> dict[Path, str]:
    """A name for each drawn image, numbered where two files have the same."""
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for file in files:
        name, number = f"{file.stem}.jpg", 2
        while name in taken:
            name, number = f"{file.stem}-{number}.jpg", number + 1
        taken.add(name)
        names[file] = name
    return names
