"""Several detectors on the same images, side by side in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from headstart.atomic import atomically
from headstart.report.drawing import Drawn, check_image, draw_boxes, paint
from headstart.report.font import font_for, shorten
from headstart.report.tally import tally

__all__ = ["Drawn", "Row", "comparison", "draw_boxes", "save_picture"]

PAPER, INK, FAINT = (250, 250, 248), (28, 28, 32), (112, 112, 120)
TALLEST = 1.25
"""A cell is at most this much higher than wide."""


@dataclass(frozen=True)
class Row:
    """One image (H, W, 3) uint8 and what each column draws on it."""

    image: np.ndarray
    columns: dict[str, Drawn]
    caption: str = ""


def comparison(
    rows: Sequence[Row],
    classes: Sequence[str],
    *,
    truth: str | None = "ground truth",
    notes: dict[str, str] | None = None,
    footer: str = "",
    cell: int = 360,
) -> np.ndarray:
    """One picture (H, W, 3) uint8: a row per image, a column per detector, with headings.

    truth   the column of the ground truth; in the others, objects that were missed are dashed, and a line below counts
            what was found and what is wrong. None, or a name that no row has, leaves both out.
    notes   a line under the heading of a column, such as its AP; footer: a line at the bottom; cell: width in pixels

    Raises ValueError without rows, for rows of different columns, and for what `draw_boxes` refuses.
    """
    if not rows:
        raise ValueError("a comparison needs at least one image")
    names = list(rows[0].columns)
    for row in rows:
        if list(row.columns) != names or not names:
            raise ValueError(f"every row needs the columns {names}, found {list(row.columns)}")
    gap, text = max(8, cell // 22), max(12, cell // 24)
    bands = [_band(row, classes, truth, cell, gap, text) for row in rows]
    header = _header(names, notes or {}, cell, gap, text)
    parts = [header, *bands, *([_footer(footer, header.width, gap, text)] if footer else [])]
    page = Image.new("RGB", (header.width, sum(part.height for part in parts)), PAPER)
    top = 0
    for part in parts:
        page.paste(part, (0, top))
        top += part.height
    return np.asarray(page)


def save_picture(path: Path | str, picture: np.ndarray) -> None:
    """Write a picture (H, W, 3) uint8 in one step, in the format of the path's ending (.png, .jpg ...).

    Raises ValueError for an ending that names no format.
    """
    kind = Image.registered_extensions().get(Path(path).suffix.lower())
    if kind is None:
        raise ValueError(f"{path}: the ending names no picture format; use .png or .jpg")
    image = Image.fromarray(check_image(picture))
    with atomically(path) as partial:
        image.save(partial, kind, **({"quality": 92} if kind == "JPEG" else {}))


def _header(names: list[str], notes: dict[str, str], cell: int, gap: int, text: int) -> Image.Image:
    large = round(text * 1.4)
    height = gap + large + (text + gap // 2 if notes else 0) + gap
    part = Image.new("RGB", (gap + len(names) * (cell + gap), height), PAPER)
    pen = ImageDraw.Draw(part)
    for column, name in enumerate(names):
        left = gap + column * (cell + gap)
        _line(pen, (left, gap), name, large, INK, cell)
        _line(pen, (left, gap + large + gap // 2), notes.get(name, ""), text, FAINT, cell)
    return part


def _band(row: Row, classes: Sequence[str], truth: str | None, cell: int, gap: int, text: int) -> Image.Image:
    """One image in all columns, and the line below it."""
    height, width = check_image(row.image).shape[:2]
    scale = min(cell / width, TALLEST * cell / height)
    wanted = row.columns.get(truth) if truth is not None else None
    lined = bool(row.caption) or wanted is not None
    pictures, lines = [], []
    for name, drawn in row.columns.items():
        compare = wanted is not None and name != truth
        result = tally(drawn, wanted) if compare and wanted is not None else None
        pictures.append(paint(row.image, drawn, classes, scale, None if result is None else result.missed))
        lines.append(row.caption if result is None else str(result))
    tall = pictures[0].shape[0]
    part = Image.new("RGB", (gap + len(pictures) * (cell + gap), tall + gap + (text + gap // 2 if lined else 0)), PAPER)
    pen = ImageDraw.Draw(part)
    for column, (picture, line) in enumerate(zip(pictures, lines, strict=True)):
        left = gap + column * (cell + gap)
        part.paste(Image.fromarray(picture), (left + (cell - picture.shape[1]) // 2, 0))
        _line(pen, (left, tall + gap // 3), line, text, FAINT, cell)
    return part


def _footer(footer: str, width: int, gap: int, text: int) -> Image.Image:
    part = Image.new("RGB", (width, text + 2 * gap), PAPER)
    _line(ImageDraw.Draw(part), (gap, gap // 2), footer, text, FAINT, width - 2 * gap)
    return part


def _line(pen: ImageDraw.ImageDraw, at: tuple[int, int], words: str, size: int, ink: tuple, width: int) -> None:
    words = shorten(words, size, width)
    pen.text(at, words, fill=ink, font=font_for(words, size))
