"""The typeface of the pictures."""

from __future__ import annotations

from bisect import bisect_left
from functools import lru_cache

from PIL import ImageFont

_WIDER = ("NotoSansCJK-Regular.ttc", "NotoSans-Regular.ttf", "DejaVuSans.ttf", "Arial Unicode.ttf", "arial.ttf")

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@lru_cache(maxsize=64)
def font_for(text: str, size: int) -> Font:
    """Pillow's own face, the same on every machine; for names beyond Latin letters one of the system's, if there is."""
    if not all(ord(letter) < 256 or letter == "…" for letter in text):
        for name in _WIDER:
            try:
                return ImageFont.truetype(name, size)
            except OSError:
                continue
    return ImageFont.load_default(size)


def text_width(text: str, size: int) -> float:
    """Width of one line in pixels."""
    return font_for(text, size).getlength(text)


def shorten(text: str, size: int, width: float) -> str:
    """The text, cut with an ellipsis to fit the width."""
    if text_width(text, size) <= width:
        return text
    kept = bisect_left(range(1, len(text) + 1), True, key=lambda count: text_width(text[:count] + "…", size) > width)
    return text[:kept].rstrip() + "…"
