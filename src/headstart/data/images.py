"""Image files: their size from the header alone, and their pixels as uint8 RGB with the EXIF turn applied."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from headstart.errors import UserError

if TYPE_CHECKING:  # folders are recognised before torch is imported, see early.py
    from torch import Tensor

    from headstart.structures import Size

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")

ORIENTATION = 0x0112
"""The EXIF tag of the camera's orientation; values 5 to 8 exchange height and width."""

END_MARKS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
"""Bytes near the end of a complete file, by format."""

BROKEN = (OSError, ValueError, SyntaxError, EOFError, KeyError, IndexError, TypeError, OverflowError, MemoryError)
"""What Pillow raises for files that are no picture or a damaged one."""

FAST = (".jpg", ".jpeg", ".png")
"""Files for torchvision's decoder. It reads WebP and GIF too, but does not apply the EXIF turn of a WebP."""


def is_image(file: Path) -> bool:
    """Whether the name of a file ends like that of an image, in upper or lower case."""
    return file.suffix.lower() in SUFFIXES


def read_size(file: Path) -> Size:
    """Height and width in pixels, EXIF orientation applied, from the header, without decoding pixels.

    A JPEG or PNG without its end mark is decoded to make sure, so a copy that was broken off is found here; a TIFF
    is always decoded.
    Raises UserError with the reason (the caller names the file).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file) as image:
                # The plain method: that of PNG files would decode the pixels to look for EXIF behind them.
                turned = Image.Image.getexif(image).get(ORIENTATION, 1) in (5, 6, 7, 8)
                if image.format == "TIFF" or not _ends_well(file, image.format):
                    image.load()
                    # Pillow turns a TIFF itself while loading it.
                    turned = turned and image.format != "TIFF"
                width, height = image.size
    except FileNotFoundError:
        raise UserError("the image file does not exist") from None
    except (*BROKEN, Image.DecompressionBombError) as error:
        raise UserError(f"not a readable image ({_brief(error)})") from None
    return (width, height) if turned else (height, width)


def read_sizes(files: Sequence[Path]) -> list[Size | UserError]:
    """`read_size` of many files by a few threads; where it fails, its UserError in place of the size."""

    def attempt(file: Path) -> Size | UserError:
        try:
            return read_size(file)
        except UserError as error:
            return error

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(attempt, files, chunksize=64))


def read_image(file: Path) -> Tensor:
    """The picture as uint8 (3, H, W) RGB, EXIF turn applied.

    Grey and palette pictures become RGB, transparency is dropped (the colours below it are kept), 16 bits keep their
    upper 8, CMYK is converted, of an animation the first picture is taken. JPEG and PNG are decoded by torchvision;
    the other formats, and what it cannot decode, by Pillow. Raises UserError naming the file if neither can.
    """
    import torch
    from torchvision.io import ImageReadMode, decode_image

    if file.suffix.lower() not in FAST:
        return _read_with_pillow(file)
    try:
        pixels = decode_image(str(file), mode=ImageReadMode.RGB, apply_exif_orientation=True)
    except (RuntimeError, ValueError):
        return _read_with_pillow(file)
    if pixels.dtype == torch.uint16:
        pixels = (pixels.to(torch.int32) >> 8).to(torch.uint8)
    return pixels[0] if pixels.ndim == 4 else pixels


def _read_with_pillow(file: Path) -> Tensor:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file) as image:
                image = ImageOps.exif_transpose(image)
                if image.mode.startswith("I"):
                    values = np.asarray(image).astype(np.int64)
                    image = Image.fromarray((values >> 8 if values.max() > 255 else values).astype(np.uint8))
                pixels = np.array(image.convert("RGB"))
    except (*BROKEN, Image.DecompressionBombError) as error:
        raise UserError(
            f"the image {file} cannot be decoded ({_brief(error)}); repair it or remove it from the data set."
        ) from None
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _ends_well(file: Path, kind: str | None) -> bool:
    mark = END_MARKS.get(kind or "")
    if mark is None:
        return True
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - 4096))
        return mark in stream.read()


def _brief(error: BaseException) -> str:
    text = str(error).split("\n")[0]
    return text.replace(" %r", "").split(": '")[0].split(" '/")[0].split(" <")[0][:80] or type(error).__name__
