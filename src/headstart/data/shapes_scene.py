"""Draws one scene of the demo set `shapes`: background, clutter, figures that hide each other, camera flaws."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

from headstart.data.shapes_figures import DISTRACTORS, FIGURES, Figure

SUPERSAMPLE = 4
LEAST_VISIBLE = 0.45
"""Every figure keeps at least this part of its area in view: what would hide more is not placed."""


@dataclass(frozen=True)
class Scene:
    """What makes a picture hard.

    most         figures in it
    distractors  at most so many forms that belong to no class
    smallest     radius of a figure over half the picture's side; up to 0.6, drawn evenly on the log scale
    usual_hue    probability that a figure has its class's own colour
    """

    most: int
    distractors: int
    smallest: float
    usual_hue: float


CROWDED = Scene(most=8, distractors=2, smallest=0.24, usual_hue=0.9)
OPEN = Scene(most=4, distractors=0, smallest=0.3, usual_hue=1.0)

LARGEST = 0.6

HALF = [value // 2 for value in range(256)]


def draw_scene(rng: Generator, size: int, scene: Scene = CROWDED) -> tuple[Image.Image, np.ndarray, np.ndarray]:
    """One picture (size x size, RGB), the boxes (M, 4) xyxy px of its figures, and their class numbers (M,).

    A box holds the whole figure inside the picture, hidden parts included. M is at most `scene.most`, and 0 in one
    picture of fifteen.
    """
    canvas = draw_background(rng, size)
    count = 0 if rng.random() < 1 / 15 else int(rng.integers(1, scene.most + 1))
    owner = np.full((size, size), -1, np.int16)
    areas: list[int] = []
    boxes: list[list[int]] = []
    labels: list[int] = []
    names = list(FIGURES)
    for is_distractor in rng.permutation([False] * count + [True] * int(rng.integers(0, scene.distractors + 1))):
        label = int(rng.integers(len(DISTRACTORS) if is_distractor else len(names)))
        figure = DISTRACTORS[label](rng) if is_distractor else FIGURES[names[label]](rng)
        placed = _place(rng, figure, size, owner, areas, scene.smallest)
        if placed is None:
            continue
        mask, left, top, solid, box = placed
        hue = None if is_distractor or rng.random() > scene.usual_hue else label / len(names)
        _paint(rng, canvas, mask, left, top, hue)
        owner[box[1] : box[3], box[0] : box[2]][solid] = -1 if is_distractor else len(labels)
        if not is_distractor:
            areas.append(int(solid.sum()))
            boxes.append(box)
            labels.append(label)
    return _photograph(rng, canvas), np.array(boxes, np.float64).reshape(-1, 4), np.array(labels, np.int64)


def draw_background(rng: Generator, size: int) -> Image.Image:
    """A gradient between muted colours with cloudy texture, strokes and soft spots."""
    hue = rng.random()
    tones = [_colour(hue + rng.uniform(-0.12, 0.12), rng.uniform(0.1, 0.5), rng.uniform(0.25, 0.9)) for _ in range(4)]
    corners = Image.fromarray(np.array(tones, np.uint8).reshape(2, 2, 3)).resize((size, size), Image.Resampling.BICUBIC)
    grid = int(rng.integers(4, 20))
    cloud = rng.normal(0, rng.uniform(4, 22), (grid, grid, 1)) + rng.normal(0, 4, (grid, grid, 3))
    cloud = np.clip(cloud + 128, 0, 255).astype(np.uint8)
    texture = np.asarray(Image.fromarray(cloud).resize((size, size), Image.Resampling.BICUBIC), np.int16) - 128
    pixels = np.clip(np.asarray(corners, np.int16) + texture, 0, 255).astype(np.uint8)
    canvas = Image.fromarray(pixels).resize((2 * size, 2 * size), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(canvas, "RGBA")
    for _ in range(rng.integers(0, 9)):
        ends = [tuple(p) for p in rng.uniform(-0.2, 1.2, (int(rng.integers(2, 4)), 2)) * 2 * size]
        ink = (*_colour(rng.random(), rng.uniform(0.1, 0.7), rng.uniform(0.1, 0.95)), int(rng.integers(60, 200)))
        pen.line(ends, fill=ink, width=max(1, round(2 * size * rng.uniform(0.003, 0.02))), joint="curve")
    for _ in range(rng.integers(0, 5)):
        x, y = rng.uniform(0, 1, 2) * 2 * size
        rx, ry = rng.uniform(0.01, 0.12, 2) * 2 * size
        ink = (*_colour(rng.random(), rng.uniform(0.1, 0.6), rng.uniform(0.2, 0.9)), int(rng.integers(30, 110)))
        pen.ellipse((x - rx, y - ry, x + rx, y + ry), fill=ink)
    return canvas.reduce(2)


def _place(rng: Generator, figure: Figure, size: int, owner: np.ndarray, areas: list[int], smallest: float):
    """A figure at a place where it hides no other by more than is allowed; None if a few tries found no such place.

    owner  (size, size) int16: number of the figure that each pixel shows, -1 for none;  areas  of the figures, in px
    Returned: mask (0..255), its left and top, which pixels of the box it fills (h, w) bool, and the box xyxy px.
    """
    radius = size * 0.5 * np.exp(rng.uniform(np.log(smallest), np.log(LARGEST)))
    mask = _mask(rng, figure, radius)
    half_w, half_h = mask.width / 2, mask.height / 2
    for _ in range(6):
        x, y = rng.uniform(0.35 * half_w, size - 0.35 * half_w), rng.uniform(0.35 * half_h, size - 0.35 * half_h)
        left, top = round(x - half_w), round(y - half_h)
        covered = _cover(mask, left, top, size)
        if covered is None:
            continue
        solid, box = covered
        below = owner[box[1] : box[3], box[0] : box[2]][solid]
        touched = np.unique(below[below >= 0])
        if all((owner == i).sum() - (below == i).sum() >= LEAST_VISIBLE * areas[i] for i in touched):
            return mask, left, top, solid, box
    return None


def _cover(mask: Image.Image, left: int, top: int, size: int):
    """Which pixels of the picture the mask fills: bool (h, w) and the tight box [x1, y1, x2, y2]; None if too few."""
    pixels = np.asarray(mask) > 127
    total = pixels.sum()
    x1, y1, x2, y2 = max(left, 0), max(top, 0), min(left + mask.width, size), min(top + mask.height, size)
    inside = pixels[y1 - top : y2 - top, x1 - left : x2 - left]
    if inside.sum() < max(12, 0.65 * total):
        return None
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    inside = inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return inside, [x1 + columns[0], y1 + rows[0], x1 + columns[-1] + 1, y1 + rows[-1] + 1]


def _mask(rng: Generator, figure: Figure, radius: float) -> Image.Image:
    """The figure turned, stretched and sheared a little, as a smooth 0..255 mask of about 2 * radius pixels."""
    turn = rng.uniform(0, 2 * np.pi)
    rotate = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    stretch = np.array([[rng.uniform(0.78, 1.0), rng.uniform(-0.12, 0.12)], [0, rng.uniform(0.78, 1.0)]])
    warp = radius * SUPERSAMPLE * rotate @ stretch
    polygons = [(points @ warp.T, filled) for points, filled in figure]
    outline = np.concatenate([points for points, filled in polygons if filled])
    low, high = outline.min(0), outline.max(0)
    cells = np.maximum(2, np.ceil((high - low) / SUPERSAMPLE).astype(int) + 1)
    mask = Image.new("L", (int(cells[0]) * SUPERSAMPLE, int(cells[1]) * SUPERSAMPLE))
    pen = ImageDraw.Draw(mask)
    for points, filled in polygons:
        pen.polygon([tuple(p) for p in points - low + SUPERSAMPLE / 2], fill=255 if filled else 0)
    return mask.reduce(SUPERSAMPLE)


def _paint(
    rng: Generator, canvas: Image.Image, mask: Image.Image, left: int, top: int, hue: float | None = None
) -> None:
    """Fills the mask with a texture on the canvas, often with a soft shadow below and a darker rim.

    The first colour lies near `hue` (0..1), if there is one.
    """
    area = (max(left, 0), max(top, 0), min(left + mask.width, canvas.width), min(top + mask.height, canvas.height))
    beneath = np.asarray(canvas.crop(area), np.float32).reshape(-1, 3).mean(0)
    if rng.random() < 0.6:
        reach = max(1, round(0.05 * max(mask.size)))
        shadow = mask.filter(ImageFilter.GaussianBlur(reach)).point(HALF)
        canvas.paste((10, 10, 20), (left + reach, top + reach), shadow)
    first = _contrasting(rng, beneath, hue)
    second = _contrasting(rng, beneath)
    patch = Image.fromarray(_texture(rng, mask.width, mask.height, first, second))
    canvas.paste(patch, (left, top), mask)
    if rng.random() < 0.3 and min(mask.size) >= 16:
        inner = mask.filter(ImageFilter.MinFilter(3))
        rim = Image.fromarray(np.asarray(mask) - np.minimum(np.asarray(inner), np.asarray(mask)))
        canvas.paste(tuple(int(c * 0.45) for c in first), (left, top), rim)


def _texture(rng: Generator, width: int, height: int, first: tuple, second: tuple) -> np.ndarray:
    """A patch uint8 (height, width, 3) mixing two colours: plain, shaded, striped, chequered, dotted or grainy."""
    kind = rng.integers(7)
    if kind <= 1:
        return np.full((height, width, 3), first, np.uint8)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    turn = rng.uniform(0, 2 * np.pi)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    period = max(3.0, rng.uniform(0.15, 0.45) * max(width, height))
    if kind == 2:
        mix = (u - u.min()) / max(1e-6, float(np.ptp(u)))
    elif kind == 3:
        mix = np.clip(0.5 + 2 * np.sin(2 * np.pi * u / period), 0, 1)
    elif kind == 4:
        mix = np.clip(0.5 + 3 * np.sin(2 * np.pi * u / period) * np.sin(2 * np.pi * v / period), 0, 1)
    elif kind == 5:
        mix = np.clip(2 * np.cos(2 * np.pi * u / period) + 2 * np.cos(2 * np.pi * v / period) - 1.5, 0, 1)
    else:
        mix = np.clip(rng.normal(0.35, 0.3, u.shape), 0, 1)
    strength = rng.uniform(0.35, 0.9)
    colours = np.array(first, np.float32), np.array(second, np.float32)
    mixed = colours[0] + strength * mix[..., None].astype(np.float32) * (colours[1] - colours[0])
    return np.clip(mixed, 0, 255).astype(np.uint8)


def _photograph(rng: Generator, canvas: Image.Image) -> Image.Image:
    """What a camera adds: sometimes blur; contrast, brightness and a little noise."""
    if rng.random() < 0.25:
        canvas = canvas.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.9) * max(1.0, canvas.width / 256)))
    gain, shift = rng.uniform(0.75, 1.1), rng.uniform(-18, 18)
    pixels = (np.asarray(canvas, np.float32) - 128) * np.float32(gain) + np.float32(128 + shift)
    pixels += rng.standard_normal(pixels.shape, np.float32) * np.float32(rng.uniform(1, 9))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _contrasting(rng: Generator, beneath: np.ndarray, hue: float | None = None) -> tuple[int, int, int]:
    """A lively colour, of any hue or near the given one, that is seen against what lies beneath."""
    for _ in range(8):
        tone = rng.random() if hue is None else hue + rng.normal(0, 0.03)
        colour = _colour(tone, rng.uniform(0.35, 0.95), rng.uniform(0.3, 1.0))
        if sum(abs(c - float(b)) for c, b in zip(colour, beneath)) > 144:
            break
    return colour


def _colour(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    r, g, b = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return int(255 * r), int(255 * g), int(255 * b)
