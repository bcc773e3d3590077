"""What stands in a COCO json: its lists, its ids in every form that programs write, and its categories."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple, Self

from headstart.data.problems import Problems
from headstart.data.raw import plural, short, whole
from headstart.data.text import peek, read_json
from headstart.errors import UserError


class Annotation(NamedTuple):
    """What is used of an annotation; the values may still be anything."""

    id: object
    image_id: object
    category_id: object
    bbox: object
    iscrowd: object

    @classmethod
    def of(cls, entry: dict) -> Self:
        """Without the rest: outlines take ten times the memory of a box."""
        return cls(*(entry.get(key) for key in cls._fields))


class CocoJson(NamedTuple):
    """The lists of a file, whose entries may still be anything."""

    images: list[object]
    annotations: list[object]
    categories: list[object]


def looks_like_coco(file: Path) -> bool:
    """Whether a json file has images, and annotations or categories, as far as its beginning and end show."""
    text = peek(file)
    if not text.lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n").startswith(b"{"):
        return False
    keys = set(re.findall(rb'"(images|annotations|categories|file_name|image_id|bbox|category_id)"\s*:', text))
    images = not keys.isdisjoint((b"images", b"file_name"))
    return images and not keys.isdisjoint((b"annotations", b"image_id", b"bbox", b"categories"))


def load_coco(file: Path) -> CocoJson:
    """The three lists. Raises UserError for a file that is no COCO json."""
    try:
        content = read_json(file, _keep)
    except ValueError as error:
        raise UserError(f"{file} is not a readable json file: {short(error, 240)}; export it once more.") from None
    if not isinstance(content, dict):
        raise UserError(
            f"{file} should be a COCO json with images, annotations and categories, found {_kind(content)}; "
            "give a COCO export (results of a detector are none)."
        )
    lists = {"images": content.get("images"), "annotations": content.get("annotations", [])}
    lists["categories"] = content.get("categories")
    found = [entries for entries in lists.values() if isinstance(entries, list)]
    for key, entries in lists.items():
        if not isinstance(entries, list):
            raise UserError(
                f"{file} should be a COCO json, but has no list {key!r}; found {short(list(content))}. "
                "Export it as COCO once more, or take it out of the folder."
            )
    return CocoJson(*found)


def _kind(content: object) -> str:
    return "a list" if isinstance(content, list) else short(content)


def _keep(entry: dict) -> object:
    return Annotation.of(entry) if "image_id" in entry and entry.keys().isdisjoint(("images", "file_name")) else entry


class Ids:
    """Reads ids: 7, 7.0, "7" and "7.0" are one. Where no image id is a whole number, text ids are taken as they are."""

    def __init__(self, content: CocoJson):
        ids = [entry.get("id") for entry in content.images if isinstance(entry, dict)]
        self._text = bool(ids) and all(isinstance(key, str) and whole(key) is None for key in ids)
        self._converted = 0
        self._unlike = ""

    def image(self, value: object) -> int | str | None:
        """The id of an image; None for what is none."""
        if self._text:
            return value.strip() or None if isinstance(value, str) else None
        return self.category(value)

    def category(self, value: object) -> int | None:
        """The id of a category; None for what is none."""
        if type(value) is int and abs(value) < 2**63:
            return value
        found = whole(value)
        if found is not None:
            self._converted += 1
            self._unlike = self._unlike or repr(value)
        return found

    def notes(self) -> list[str]:
        """What was not taken literally."""
        lines = ["image ids are text, so images are numbered from 0 in their order."] if self._text else []
        if self._converted:
            lines.append(f"{plural(self._converted, 'id')} such as {self._unlike} were read as whole numbers.")
        return lines


def read_categories(
    file: Path, content: CocoJson, shown: str, ids: Ids, problems: Problems
) -> tuple[dict[int, int], list[str]]:
    """Category id -> class number, and the names. Two ids of one name are listed; skipping lets them share a class."""
    found: dict[int, tuple[str, object]] = {}
    words = _written(file, content)
    for entry, word in zip(content.categories, words):
        category = entry if isinstance(entry, dict) else {}
        key = ids.category(category.get("id"))
        if key is None or not word:
            problems.add(shown, f"category {short(entry)} needs an integer id and a name", "class")
        elif key in found:
            problems.add(shown, f"category id {key} is given twice ({found[key][0]!r} and {word!r})", "class")
        else:
            found[key] = (word, category.get("supercategory"))
    _drop_roboflow_heading(found, content.annotations)
    names: list[str] = []
    numbers: dict[int, int] = {}
    for key in sorted(found):
        name = found[key][0]
        if name in names:
            problems.add(shown, f"category id {key} has the name {name!r} of another category", "class")
        else:
            names.append(name)
        numbers[key] = names.index(name)
    return numbers, names


def _written(file: Path, content: CocoJson) -> list[str]:
    """The name of each category as the word that stands in the file; "" for none."""
    names = [entry.get("name") if isinstance(entry, dict) else None for entry in content.categories]
    if any(isinstance(name, float) for name in names):  # 1e3 and 1000.0 are one number, but two names
        again = read_json(file, lambda entry: None if "image_id" in entry else entry, words=True)
        listed = again["categories"] if isinstance(again, dict) else []
        names = [entry.get("name") if isinstance(entry, dict) else None for entry in listed]
    texts = [str(name).lower() if isinstance(name, bool) else name for name in names]
    return [str(name).strip() if isinstance(name, str | int) else "" for name in texts]


def _drop_roboflow_heading(found: dict[int, tuple[str, object]], annotations: list[object]) -> None:
    """Roboflow writes the project's name as category 0 above all others; it is no class unless something uses it."""
    others = [group for key, (_, group) in found.items() if key != 0]
    if 0 in found and others and all(group == found[0][0] for group in others):
        used = any(isinstance(a, Annotation) and whole(a.category_id) == 0 for a in annotations)
        if not used:
            del found[0]
