"""What a data.yaml says: class names, places of images, key points."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headstart.data.locate import spellings
from headstart.data.raw import SPLITS, short, whole
from headstart.data.text import read_yaml
from headstart.data.tree import Tree
from headstart.data.yolo_labels import KeyPoints
from headstart.errors import UserError

NOTHING = ("", "null", "~", "none")
"""What stands in a yaml file for no value."""


@dataclass(frozen=True)
class YoloSplit:
    """What data.yaml says of a split.

    file    the yaml file
    base    the folder from which places count
    names   label number in the label files -> class name
    places  one or several folders of images or lists of them
    points  kpt_shape, if the labels carry key points
    """

    file: Path
    base: Path
    names: dict[int, str]
    places: list[str]
    points: KeyPoints | None = None


def class_names(content: Mapping[str, object], file: Path) -> dict[int, str]:
    """`names` of a yaml file. Raises UserError for all but a list of different words, or words under numbers."""
    names = content.get("names")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise UserError(f"{file} needs `names`, a list of the class names, found {short(names)}.")
    labels = [label for key in names if (label := whole(key)) is not None and label >= 0]
    if len(set(labels)) < len(names):
        raise UserError(f"{file}: the keys of `names` must be whole numbers from 0, found {short(list(names))}.")
    texts = [name.strip() if isinstance(name, str) else "" for name in names.values()]
    if "" in texts:
        wrong = short(list(names.values())[texts.index("")])
        raise UserError(f"{file}: each of `names` must be one word or text, found {wrong or 'an empty one'}.")
    doubled = sorted({name for name in texts if texts.count(name) > 1})
    if doubled:
        raise UserError(f"{file}: `names` has {', '.join(doubled)} twice.")
    if says(content.get("nc")) and whole(content["nc"]) != len(names):
        raise UserError(f"{file}: nc says {short(content['nc'])} classes, but `names` has {len(names)}; correct one.")
    return dict(zip(labels, texts))


def settings_file(tree: Tree, given: Path | None) -> tuple[Path | None, dict[str, object]]:
    """The yaml file that describes the data, and what it says. Raises UserError for one that is meant but broken."""
    if given is not None:
        return (given, _load(given)) if given.suffix.lower() in (".yaml", ".yml") else (None, {})
    files = sorted(tree.with_suffix(".yaml", ".yml"), key=lambda file: (file.count("/"), file))
    if "data.yaml" in files:
        return tree.root / "data.yaml", _load(tree.root / "data.yaml")
    found: list[tuple[str, dict[str, object]]] = []
    for file in files:
        try:
            content = _load(tree.root / file)
        except UserError:
            if posixpath.basename(file) == "data.yaml":
                raise
            continue
        if "names" in content and any(says(content.get(name)) for names in SPLITS.values() for name in names):
            found.append((file, content))
    depth = min((file.count("/") for file, _ in found), default=0)
    found = [one for one in found if one[0].count("/") == depth]
    found = [one for one in found if posixpath.basename(one[0]) == "data.yaml"] or found
    if len(found) > 1:
        listed = ", ".join(file for file, _ in found)
        raise UserError(f"{tree.root} has several yaml files that describe data ({listed}); give one of them as PATH.")
    return (tree.root / found[0][0], found[0][1]) if found else (None, {})


def _load(file: Path) -> dict[str, object]:
    try:
        content = read_yaml(file)
    except ValueError as error:
        raise UserError(f"{file} is not a readable yaml file: {error}.") from None
    return {str(key): value for key, value in content.items()} if isinstance(content, dict) else {}


def says(value: object) -> bool:
    """Whether a value of the yaml file is one: not empty, null or the like."""
    return bool(value) and not (isinstance(value, str) and value.strip().lower() in NOTHING)


def key_points(content: Mapping[str, object], file: Path) -> KeyPoints | None:
    """`kpt_shape`. Raises UserError for all but two sensible numbers."""
    shape = content.get("kpt_shape")
    if not says(shape):
        return None
    numbers = [whole(value) for value in shape] if isinstance(shape, list) else []
    count, width = numbers if len(numbers) == 2 else (None, None)
    if not count or count < 1 or width not in (2, 3):
        raise UserError(f"{file}: kpt_shape must be [number of key points, 2 or 3], found {short(shape)}.")
    return KeyPoints(count, width)


def read_split(
    content: Mapping[str, object], split: str, word: str, file: Path, names: dict[int, str], points: KeyPoints | None
) -> YoloSplit:
    """The places under the key `word`. Raises UserError for what can be no places."""
    places = content[word]
    places = places if isinstance(places, list) else [places]
    texts = [place for place in places if isinstance(place, str)]
    base = content.get("path")
    base = base if says(base) else "."
    if not isinstance(base, str) or len(texts) < len(places):
        raise UserError(f"{file}: path and {split} must be folders or lists of them, found {short(places)}.")
    return YoloSplit(file, file.parent / spellings(base)[-1], names, texts, points)
