"""One rule that turns the bytes of a picture into uint8 RGB, whatever kind of file they are.

The kind is told by the first bytes, not by the name. JPEG is decoded by torchvision's libjpeg-turbo, all else, and what
that refuses, by Pillow: a damaged PNG makes torchvision's decoder end the process. For sound files of 8 bits both give
the same values.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from PIL import Image, ImageCms, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

from headstart.data.container import END_OF_JPEG, jpeg_frame, keep_pixels_of_png
from headstart.data.unreadable import UnreadableError

LARGEST = 2**28
"""Most pixels of a picture (16384 x 16384). Decoding takes about 8 bytes of memory for each, of floats 20."""

MISSING_AT_MOST = 0.05
"""A JPEG without its last bytes is used if they decide no more than this part of its pixels."""

ORIENTATION = 0x0112
"""The EXIF tag of the camera's orientation; values 5 to 8 exchange height and width."""

BITS_PER_SAMPLE = 258
"""The TIFF tag of the number of bits of a value."""

DARK = 4096
"""A picture of 16 bits whose values are all below this keeps less than 4 of them: it was made with 12 bits or fewer."""

Turn = Callable[[np.ndarray], np.ndarray]

TURNS: dict[int, Turn] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: pixels[::-1].transpose(1, 0, 2),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: lambda pixels: pixels[:, ::-1].transpose(1, 0, 2),
}
"""EXIF orientation -> what makes a picture (H, W, 3) upright."""

STRANGERS = {
    b"version https://git-lfs": "a pointer of Git LFS, fetch the files with `git lfs pull`",
    b"\0\5\x16\7": "a shadow file of macOS, not a picture",
    b"%PDF": "PDF",
    b"<": "a web page or other text",
    b"{": "text",
}
"""First bytes of what is often found under the name of a picture -> what it is."""


@dataclass(frozen=True)
class Decoded:
    """A picture: pixels (3, H, W) uint8 RGB, and what is remarkable about it ("" if nothing)."""

    pixels: Tensor
    remark: str = ""


def decode(data: bytearray) -> Decoded:
    """The picture that the bytes of a file hold, upright by its EXIF orientation (that of XMP is not looked at).

    - 8 bits: the values. 1 bit: 0 and 255. Grey becomes three equal channels, a palette its colours.
    - Transparency is dropped; the colours below it stay.
    - 16 bits: the upper 8 (value // 256). Floats and 32 bits: see `_scale`.
    - CMYK: red = (255 - cyan) (255 - black) / 255; in a JPEG the values are taken as stored inverted, as Adobe and
      browsers do. LAB is converted to sRGB.
    - Of an animation or a file of several pages the first picture.
    - A JPEG or PNG without its last bytes is used if they decide at most 5 % of the pixels (JPEG) or none (PNG).

    Raises UnreadableError for everything else.
    """
    if not data:
        raise UnreadableError("empty")
    head = bytes(data[:16])
    try:
        if head.startswith(b"\xff\xd8\xff"):
            return _decode_jpeg(data)
        if head.startswith(b"\x89PNG\r\n\x1a\n"):
            content, exif, remark = keep_pixels_of_png(data)
            return _decode_with_pillow(PngImageFile, content, exif=exif, remark=remark)
        return _decode_with_pillow(_kind(head), data)
    except MemoryError:
        raise UnreadableError("not enough memory for its pixels", lasting=False) from None


def demand_size(width: int, height: int) -> None:
    """Raises UnreadableError for a picture of more than `LARGEST` pixels."""
    if width * height > LARGEST:
        raise UnreadableError(
            f"too large ({width} x {height} px; at most {LARGEST} pixels, such as 16384 x 16384, are read: "
            "cut it into tiles or make it smaller)"
        )


def _kind(head: bytes) -> type[ImageFile.ImageFile]:
    """Pillow's reader for a file that begins so."""
    if head.startswith((b"GIF87a", b"GIF89a")):
        return GifImageFile
    if head.startswith(b"BM"):
        return BmpImageFile
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return WebPImageFile
    if head.startswith((b"MM\0*", b"II*\0", b"MM\0+", b"II+\0")):
        return TiffImageFile
    if len(head) > 2 and head[:1] == b"P" and head[1:2] in b"123456" and head[2:3] in b" \t\r\n#":
        return PpmImageFile
    if head[4:8] == b"ftyp":
        raise UnreadableError("no picture of a kind that is read (HEIC, AVIF or a film: convert it to JPEG or PNG)")
    found = next((name for start, name in STRANGERS.items() if head.startswith(start[:16])), "")
    if not found and (head.isascii() and head.decode().replace("\n", " ").replace("\r", " ").isprintable()):
        found = "text"
    if not found and not any(head):
        found = "it begins with zeros"
    raise UnreadableError(f"no picture ({found or f'it begins with the bytes {head[:6].hex(chr(32))}'})")


def _decode_jpeg(data: bytearray) -> Decoded:
    frame = jpeg_frame(data)
    if frame is None:
        raise UnreadableError("damaged (a JPEG without a readable header)")
    (height, width), place = frame
    demand_size(width, height)
    if not height or not width:
        raise UnreadableError("damaged (a JPEG of no size)")
    try:
        content = torch.frombuffer(data, dtype=torch.uint8)
        pixels = decode_jpeg(content, mode=ImageReadMode.RGB, apply_exif_orientation=True)
        return Decoded(cast(Tensor, pixels))  # of a list of files it would be a list
    except RuntimeError:
        pass
    if END_OF_JPEG in data[place:]:
        return _decode_with_pillow(JpegImageFile, data)
    return _decode_without_end(data, width * height)


def _decode_without_end(data: bytearray, pixels: int) -> Decoded:
    """A JPEG whose last bytes are missing.

    What the missing bytes would have decided is what differs when something else is put in their place. The zeros
    that a broken download leaves at the end are no bytes of the picture.
    """
    body = bytes(data).rstrip(b"\0\xff")
    other = np.random.default_rng(0).integers(0, 255, 1024 + pixels // 4, dtype=np.uint8).tobytes()  # no 255
    first = _decode_with_pillow(JpegImageFile, body + END_OF_JPEG)
    second = _decode_with_pillow(JpegImageFile, body + other + END_OF_JPEG)
    missing = (first.pixels != second.pixels).any(0).float().mean().item()
    if missing > MISSING_AT_MOST:
        raise UnreadableError(f"damaged (a JPEG cut short, {missing:.0%} of it is missing)")
    return Decoded(first.pixels, "the last bytes of the file are missing")


def _decode_with_pillow(
    kind: type[ImageFile.ImageFile], data: bytes | bytearray, *, exif: bytes | None = None, remark: str = ""
) -> Decoded:
    try:
        # The reader itself, not Image.open: that has a limit of its own, and would try readers that run programs.
        with kind(io.BytesIO(data)) as image:
            demand_size(*image.size)
            for key in ("xmp", "XML:com.adobe.xmp"):  # Pillow would turn a TIFF by it
                image.info.pop(key, None)
            image.load()
            turn = None if kind is TiffImageFile else TURNS.get(_orientation(exif or image.info.get("exif")))
            values, dark = _values(image)
    except (UnreadableError, MemoryError):
        raise
    except Image.DecompressionBombError:  # a limit inside its readers of TIFF and WebP, lower than ours
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise UnreadableError(
            f"too large (of TIFF and WebP at most {limit} pixels are read: cut it into tiles or make it a PNG)"
        ) from None
    except Exception as error:  # there is hardly a kind that Pillow does not raise for some damaged file
        if "unknown pixel mode" in str(error) or "unknown data organization" in str(error):
            raise UnreadableError(f"no picture of a kind that is read ({_brief(error)}: convert it to PNG)") from None
        raise UnreadableError(f"damaged ({_brief(error)})") from None
    if turn is not None:
        values = np.ascontiguousarray(turn(values))
    return Decoded(torch.from_numpy(values).permute(2, 0, 1), remark or dark)


def _values(image: ImageFile.ImageFile) -> tuple[np.ndarray, str]:
    """(H, W, 3) uint8 RGB of a loaded picture, and a remark."""
    remark, picture = "", image
    if image.mode.startswith("I;16") or (image.mode == "I" and _bits(image) == 16):
        values = np.asarray(image)
        if values.min(initial=0) < 0:
            raise UnreadableError("values that cannot be shown (negative ones: convert it to 8 bits)")
        if 0 < values.max(initial=0) < DARK:
            remark = f"16 bits but no value above {DARK - 1}, so dark"
        picture = Image.fromarray((values >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        picture = Image.fromarray(_scale(np.asarray(image)))
    elif image.mode == "LAB":
        picture = ImageCms.profileToProfile(
            image, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    return np.array((picture or image).convert("RGB")), remark


def _bits(image: ImageFile.ImageFile) -> int:
    """How many bits the values of a picture of Pillow's mode "I" have in the file."""
    if isinstance(image, TiffImageFile):
        return int(image.tag_v2.get(BITS_PER_SAMPLE, (32,))[0])
    return 16  # PNG and PGM have no more


def _scale(values: np.ndarray) -> np.ndarray:
    """Floats or 32-bit integers (H, W) as uint8: files do not say what is white, so their largest value does.

    At most 1 (floats): 255 * value, rounded. At most 255: the value, rounded. At most 65535: value // 256.
    Raises UnreadableError for anything larger, negative or not finite.
    """
    low, high = values.min(initial=0), values.max(initial=0)
    if not (low >= 0 and high <= 65535):  # also for NaN
        raise UnreadableError(
            f"values that cannot be shown ({low:g} to {high:g}; floats from 0 to 1, 255 or 65535 are read: "
            "convert it to 8 bits)"
        )
    if high > 255:
        return (values // 256).astype(np.uint8)
    scaled = values * 255.0 if high <= 1 and values.dtype.kind == "f" else values
    return np.rint(scaled).astype(np.uint8)


def _orientation(exif: bytes | None) -> int:
    """The camera's orientation, 1 to 8; 1 where there is none or it cannot be read."""
    if not exif:
        return 1
    tags = Image.Exif()
    try:
        tags.load(exif)
        found = tags.get(ORIENTATION, 1)
    except Exception:  # as above
        return 1
    return found if isinstance(found, int) else 1


def _brief(error: BaseException) -> str:
    text = str(error).split("\n")[0]
    return text.replace(" %r", "").split(": '")[0].split(" '/")[0].split(" <")[0][:80] or type(error).__name__
