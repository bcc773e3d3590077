"""The figures of the demo set `shapes`: ten classes as polygons on the unit disc, and distractors that are no class.

A figure is a list of (points, filled): polygons (P, 2) inside radius 1, drawn in order, the unfilled ones cut holes.
Each function below that takes a generator draws one figure, with random proportions where the figure has any.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

Figure = list[tuple[np.ndarray, bool]]


def arc(radius: float, start: float, stop: float, count: int = 40) -> np.ndarray:
    """Points (count, 2) on a circle around the origin, angles in turns."""
    angle = 2 * np.pi * np.linspace(start, stop, count)
    return radius * np.stack([np.cos(angle), np.sin(angle)], 1)


def regular(corners: int) -> np.ndarray:
    """The corners (corners, 2) of a regular polygon of radius 1."""
    return arc(1.0, 0, 1, corners + 1)[:-1]


def disc(rng: Generator) -> Figure:
    return [(regular(40), True)]


def ring(rng: Generator) -> Figure:
    return [(regular(40), True), (regular(40) * rng.uniform(0.45, 0.68), False)]


def crescent(rng: Generator) -> Figure:
    bite = regular(40) * rng.uniform(0.8, 0.95) + np.array([rng.uniform(0.42, 0.6), 0.0])
    return [(regular(40), True), (bite, False)]


def triangle(rng: Generator) -> Figure:
    return [(regular(3), True)]


def square(rng: Generator) -> Figure:
    return [(regular(4), True)]


def hexagon(rng: Generator) -> Figure:
    return [(regular(6), True)]


def star(rng: Generator) -> Figure:
    points = regular(10)
    points[1::2] *= rng.uniform(0.38, 0.5)
    return [(points, True)]


def cross(rng: Generator) -> Figure:
    arm = rng.uniform(0.24, 0.36)
    corner = np.array([[1, arm], [arm, arm], [arm, 1]])
    turn = np.array([[0, 1], [-1, 0]])
    quarters = [corner @ np.linalg.matrix_power(turn, k) for k in range(4)]
    return [(np.concatenate(quarters) / np.hypot(1, arm), True)]


def arrow(rng: Generator) -> Figure:
    shaft, neck = rng.uniform(0.16, 0.28), rng.uniform(-0.05, 0.2)
    half = np.array([[0.98, 0], [neck, 0.7], [neck, shaft], [-0.95, shaft]])
    return [(np.concatenate([half, half[:0:-1] * [1, -1]]), True)]


def heart(rng: Generator) -> Figure:
    t = 2 * np.pi * np.linspace(0, 1, 48, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return [(np.stack([x, -y - 2.5], 1) / 17.5, True)]


def blob(rng: Generator) -> Figure:
    angle = 2 * np.pi * np.linspace(0, 1, 40, endpoint=False)
    radius = 0.7 + sum(rng.uniform(0, 0.14) * np.cos(k * angle + rng.uniform(0, 6.3)) for k in (2, 3, 5))
    return [(np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1), True)]


def bar(rng: Generator) -> Figure:
    half = rng.uniform(0.12, 0.3)
    return [(np.array([[-0.95, -half], [0.95, -half], [0.95, half], [-0.95, half]]), True)]


def half_disc(rng: Generator) -> Figure:
    return [(arc(1.0, 0, 0.5), True)]


def angle_piece(rng: Generator) -> Figure:
    t = rng.uniform(0.25, 0.5)
    return [
        (np.array([[-0.8, -0.8], [0.8, -0.8], [0.8, t - 0.8], [t - 0.8, t - 0.8], [t - 0.8, 0.8], [-0.8, 0.8]]), True)
    ]


FIGURES: dict[str, Callable[[Generator], Figure]] = {
    "disc": disc,
    "ring": ring,
    "crescent": crescent,
    "triangle": triangle,
    "square": square,
    "hexagon": hexagon,
    "star": star,
    "cross": cross,
    "arrow": arrow,
    "heart": heart,
}

DISTRACTORS: list[Callable[[Generator], Figure]] = [blob, bar, half_disc, angle_piece]
