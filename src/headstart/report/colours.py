"""A colour for every class, as far apart in hue as possible, and the ink that is readable on it."""

from __future__ import annotations

from functools import cache
from math import cos, radians, sin

Colour = tuple[int, int, int]
"""Red, green, blue in 0..255."""

GOLDEN_ANGLE = 137.508
DARK, LIGHT = (20, 20, 24), (255, 255, 255)

_LIGHTNESS = (0.74, 0.62, 0.84)
_FIRST_HUE = 28.0


@cache
def class_colour(label: int) -> Colour:
    """The colour of a class: hues turn by the golden angle, so neighbouring labels differ most.

    After eight classes the lightness changes, because hues alone would come too close.
    """
    return from_oklch(_LIGHTNESS[label // 8 % len(_LIGHTNESS)], 0.17, _FIRST_HUE + GOLDEN_ANGLE * label)


def from_oklch(lightness: float, chroma: float, hue: float) -> Colour:
    """sRGB of an OKLCH colour (lightness 0..1, hue in degrees), with the chroma lowered until it can be shown.

    Source: Ottosson, "A perceptual color space for image processing" (2020), the published matrices.
    """
    while True:
        a, b = chroma * cos(radians(hue)), chroma * sin(radians(hue))
        long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
        medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
        short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
        linear = (
            4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
            -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
            -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
        )
        if chroma <= 0 or all(-1e-6 <= value <= 1 + 1e-6 for value in linear):
            red, green, blue = (round(255 * _encode(min(max(value, 0.0), 1.0))) for value in linear)
            return red, green, blue
        chroma = max(chroma - 0.005, 0.0)


def ink_on(colour: Colour) -> Colour:
    """Dark or light ink, whichever has the higher contrast (WCAG) on the colour."""
    dark, light, ground = (luminance(c) for c in (DARK, LIGHT, colour))
    return DARK if (ground + 0.05) ** 2 >= (dark + 0.05) * (light + 0.05) else LIGHT


def luminance(colour: Colour) -> float:
    """Relative luminance, 0 (black) to 1 (white)."""
    red, green, blue = (_decode(value / 255) for value in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _encode(linear: float) -> float:
    return 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055


def _decode(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
