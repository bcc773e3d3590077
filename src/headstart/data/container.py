"""What surrounds the pixels in JPEG and PNG files: their size, their checksums, where they end."""

from __future__ import annotations

import zlib

from headstart.data.unreadable import UnreadableError
from headstart.structures import Size

END_OF_JPEG = b"\xff\xd9"

PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
"""The chunks of a PNG that its pixels depend on. All others are left out before it is decoded."""

END_OF_PNG = b"\0\0\0\0IEND\xaeB`\x82"

CODED = range(0xC0, 0xD0)
"""Second bytes of the JPEG markers of a frame header; of these, `NO_FRAME` are others."""

NO_FRAME = (0xC4, 0xC8, 0xCC)


def jpeg_frame(data: bytearray) -> tuple[Size, int] | None:
    """(height, width) from the frame header, before any turn, and its place; None if there is none before the pixels.

    What precedes the place may hold a small picture with headers and an end of its own.
    """
    position = 2
    while position + 9 <= len(data):
        if data[position] != 0xFF:
            position += 1  # bytes between segments, which decoders pass over
            continue
        marker = data[position + 1]
        if marker in (0x00, 0x01, 0xFF, *range(0xD0, 0xD9)):  # filling, or a marker without content
            position += 1 if marker == 0xFF else 2
            continue
        if marker in CODED and marker not in NO_FRAME:
            height, width = (int.from_bytes(data[position + at : position + at + 2]) for at in (5, 7))
            return (height, width), position
        if marker in (0xD9, 0xDA):
            return None
        position += 2 + int.from_bytes(data[position + 2 : position + 4])
    return None


def keep_pixels_of_png(data: bytearray) -> tuple[bytes, bytes | None, str]:
    """The PNG with nothing but what its pixels depend on, its EXIF block or None, and a remark ("" if it is whole).

    Raises UnreadableError if a checksum of these parts is wrong, or the pixels are cut short.
    """
    view = memoryview(data)
    kept, exif, position = [bytes(view[:8])], None, 8
    while position + 12 <= len(view):
        length, name = int.from_bytes(view[position : position + 4]), bytes(view[position + 4 : position + 8])
        end = position + 12 + length
        if not name.isalpha():
            raise UnreadableError("damaged (a PNG with bytes between its chunks)")
        if name == b"IEND":
            return b"".join([*kept, END_OF_PNG]), exif, ""
        if end > len(view):
            break
        sound = zlib.crc32(view[position + 4 : end - 4]) == int.from_bytes(view[end - 4 : end])
        if not sound and name[:1].isupper():
            raise UnreadableError(f"damaged (the checksum of the PNG's chunk {name.decode()} is wrong)")
        if name in PIXEL_CHUNKS:
            kept.append(bytes(view[position:end]))
        elif name == b"eXIf" and sound:
            exif = bytes(view[position + 8 : end - 4])
        position = end
    if bytes(view[position + 4 : position + 8]) == b"IDAT":
        raise UnreadableError("damaged (a PNG cut short)")
    return b"".join([*kept, END_OF_PNG]), exif, "the last bytes of the file are missing"
