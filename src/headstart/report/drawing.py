"""Boxes with their names on an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from headstart.report.colours import LIGHT, Colour, class_colour, ink_on
from headstart.report.font import font_for, shorten, text_width

if TYPE_CHECKING:
    from torch import Tensor

    from headstart.structures import Detections

GREY = (150, 150, 158)
SHADE = (20, 20, 24, 150)
"""Half-transparent dark edge."""

Rectangle = tuple[float, float, float, float]


@dataclass(frozen=True)
class Drawn:
    """Boxes to draw: boxes (N, 4) xyxy pixels of the image, labels (N,), scores (N,) or None, ignored (N,) or None."""

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray | None = None
    ignored: np.ndarray | None = None

    @staticmethod
    def of(detections: Detections, *, threshold: float = 0.3, most: int = 50) -> Drawn:
        """The best detections of at least this score, at most `most`; they are already in pixels of the image."""
        boxes, scores, labels = (_numpy(part) for part in (detections.boxes, detections.scores, detections.labels))
        best = np.argsort(-scores, kind="stable")[:most]
        return Drawn(boxes[best], labels[best], scores[best]).above(threshold)

    def above(self, threshold: float) -> Drawn:
        """The boxes of at least this score; all of them where there are no scores."""
        if self.scores is None:
            return self
        kept = self.scores >= threshold
        ignored = None if self.ignored is None else self.ignored[kept]
        return Drawn(self.boxes[kept], self.labels[kept], self.scores[kept], ignored)


@dataclass(frozen=True)
class Style:
    """Sizes in pixels of the picture that is drawn on."""

    line: int
    text: int

    @staticmethod
    def of(height: int, width: int) -> Style:
        """For a picture of this height and width in pixels."""
        side = max(height, width)
        return Style(line=max(3, round(side / 220)), text=min(max(12, round(side / 32)), 44))


def draw_boxes(
    image: np.ndarray, drawn: Drawn, classes: Sequence[str], *, shortest: int = 480, missed: np.ndarray | None = None
) -> np.ndarray:
    """The image (H, W, 3) uint8 with boxes, names and scores, as a new array.

    A picture whose longer side is below `shortest` is enlarged to it, so that names stay readable; 0 keeps the size.
    Ignored boxes are grey, `missed` (M, 4) ones dashed. Raises ValueError for an image of another shape or dtype, or
    a label without a class.
    """
    height, width = check_image(image).shape[:2]
    return paint(image, drawn, classes, max(1.0, shortest / max(height, width)), missed)


def paint(
    image: np.ndarray, drawn: Drawn, classes: Sequence[str], scale: float, missed: np.ndarray | None = None
) -> np.ndarray:
    """`draw_boxes` at a given scale: (H, W, 3) becomes (scale * H, scale * W, 3), rounded.

    The picture is resized first, so that lines and letters stay sharp.
    """
    _check_labels(drawn.labels, len(classes))
    height, width = (max(1, round(side * scale)) for side in check_image(image).shape[:2])
    canvas = Image.fromarray(image)
    if canvas.size != (width, height):
        canvas = canvas.resize((width, height), Image.Resampling.LANCZOS)
    pen, style = ImageDraw.Draw(canvas, "RGBA"), Style.of(height, width)
    limit = (width - 1, height - 1)
    for box in [] if missed is None else missed:
        _dashed(pen, _place(box, scale, limit), style)
    order = np.argsort(drawn.scores, kind="stable") if drawn.scores is not None else np.arange(len(drawn.labels))
    places = {int(k): _place(drawn.boxes[k], scale, limit) for k in order}
    for k, place in places.items():
        _outline(pen, place, _colour(drawn, k), style)
    taken: list[Rectangle] = []
    for k in reversed(places):  # the best detection chooses its place first
        _chip(pen, places[k], _name(drawn, k, classes), _colour(drawn, k), style, taken, (width, height))
    return np.asarray(canvas)


def check_image(image: np.ndarray) -> np.ndarray:
    """The image itself if it is (H, W, 3) uint8, else ValueError."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(f"expected an image (H, W, 3) of uint8, found {tuple(image.shape)} of {image.dtype}")
    return image


def _check_labels(labels: np.ndarray, count: int) -> None:
    if len(labels) and not (labels.min() >= 0 and labels.max() < count):
        raise ValueError(f"labels must be in 0..{count - 1}, found {labels.min()}..{labels.max()}")


def _colour(drawn: Drawn, index: int) -> Colour:
    ignored = drawn.ignored is not None and bool(drawn.ignored[index])
    return GREY if ignored else class_colour(int(drawn.labels[index]))


def _name(drawn: Drawn, index: int, classes: Sequence[str]) -> str:
    name = classes[int(drawn.labels[index])]
    return name if drawn.scores is None else f"{name} {drawn.scores[index]:.2f}"


def _place(box: np.ndarray, scale: float, limit: tuple[int, int]) -> Rectangle:
    left, top, right, bottom = (float(side) * scale for side in box)
    x, y = limit
    left, top = min(max(left, 0.0), x), min(max(top, 0.0), y)
    return left, top, min(max(right, left), x), min(max(bottom, top), y)


def _outline(pen: ImageDraw.ImageDraw, place: Rectangle, colour: Colour, style: Style) -> None:
    left, top, right, bottom = place
    # A dark edge on both sides of the line shows it on any background.
    pen.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=SHADE, width=style.line + 2)
    pen.rectangle(place, outline=colour, width=style.line)


def _dashed(pen: ImageDraw.ImageDraw, place: Rectangle, style: Style) -> None:
    left, top, right, bottom = place
    dash = 4 * style.line
    lines = [(at, y, min(at + dash, right), y) for y in (top, bottom) for at in np.arange(left, right, 2 * dash)]
    lines += [(x, at, x, min(at + dash, bottom)) for x in (left, right) for at in np.arange(top, bottom, 2 * dash)]
    for line in lines:
        pen.line(line, fill=SHADE, width=style.line + 1)
    for line in lines:
        pen.line(line, fill=LIGHT, width=style.line - 1)


def _chip(
    pen: ImageDraw.ImageDraw,
    place: Rectangle,
    name: str,
    colour: Colour,
    style: Style,
    taken: list[Rectangle],
    size: tuple[int, int],
) -> None:
    """The name on a filled label, where it covers the least of the labels before it."""
    margin = max(2, style.text // 5)
    name = shorten(name, style.text, size[0] - 2 * margin)
    wide, high = text_width(name, style.text) + 2 * margin, style.text + 2 * margin
    left, top, right, bottom = place
    corners = [
        (left, top - high),
        (left, bottom),
        (right - wide, top - high),
        (right - wide, bottom),
        (left, top),
        (right - wide, bottom - high),
    ]
    spots = []
    for x, y in corners:
        x, y = min(max(x, 0.0), size[0] - wide), min(max(y, 0.0), size[1] - high)
        spots.append((x, y, x + wide, y + high))
    spot = min(spots, key=lambda candidate: sum(_shared(candidate, other) for other in taken))
    taken.append(spot)
    pen.rectangle(spot, fill=colour, outline=SHADE)
    middle = (spot[0] + margin, (spot[1] + spot[3]) / 2)
    pen.text(middle, name, fill=ink_on(colour), font=font_for(name, style.text), anchor="lm")


def _shared(first: Rectangle, second: Rectangle) -> float:
    wide = min(first[2], second[2]) - max(first[0], second[0])
    high = min(first[3], second[3]) - max(first[1], second[1])
    return max(wide, 0.0) * max(high, 0.0)


def _numpy(values: Tensor) -> np.ndarray:
    values = values.detach().cpu()
    return (values.float() if values.is_floating_point() else values).numpy()
