"""Every class has a colour of its own, and its name can be read on it."""

import pytest

from headstart.report.colours import DARK, LIGHT, class_colour, from_oklch, ink_on, luminance


def test_twenty_classes_have_twenty_colours_that_differ():
    colours = [class_colour(label) for label in range(20)]
    for k, colour in enumerate(colours):
        assert all(sum(abs(a - b) for a, b in zip(colour, other)) > 30 for other in colours[:k]), k


@pytest.mark.parametrize("label", [*range(24), 79, 1202])
def test_ink_is_readable(label):
    colour = class_colour(label)
    ink = ink_on(colour)
    assert ink in (DARK, LIGHT)
    lighter, darker = sorted((luminance(colour), luminance(ink)), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) >= 4.5


def test_the_colour_space():
    assert from_oklch(1.0, 0.0, 0.0) == (255, 255, 255)
    assert from_oklch(0.0, 0.0, 0.0) == (0, 0, 0)
    red, green, blue = from_oklch(0.628, 0.2577, 29.23)  # sRGB red, by the source's table
    assert red >= 250 and green <= 20 and blue <= 20
