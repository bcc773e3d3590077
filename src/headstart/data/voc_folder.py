"""The xml files of a VOC folder, each read once, and the pictures that they belong to."""

from __future__ import annotations

import posixpath
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath

from headstart.data.locate import common_start, spellings
from headstart.data.raw import find_split, short
from headstart.data.text import read_xml
from headstart.data.tree import Tree


@dataclass
class VocFolder:
    """The xml files of a tree, each read once, and the pictures by the stems of their names.

    files  the xml files, in the order of the tree
    """

    tree: Tree
    files: list[str]
    trees: dict[str, ElementTree.Element | str] = field(default_factory=dict)

    def read(self, file: str) -> ElementTree.Element | str:
        """The root of an xml file, or why it cannot be read."""
        if file not in self.trees:
            try:
                self.trees[file] = read_xml(self.tree.root / file)
            except ValueError as error:
                self.trees[file] = f"is not readable xml ({short(error, 240)})"
        return self.trees[file]

    @cached_property
    def classes(self) -> list[str]:
        """The names that occur in any xml file, sorted."""
        roots = [root for file in self.files if not isinstance(root := self.read(file), str)]
        return sorted({name for root in roots for element in root.iter("object") if (name := child(element, "name"))})

    @cached_property
    def pictures(self) -> dict[str, list[str]]:
        """Stem -> the pictures with that name."""
        found: dict[str, list[str]] = defaultdict(list)
        for path in self.tree.pictures:
            found[PurePosixPath(path).stem].append(path)
        return found

    @cached_property
    def stems(self) -> dict[str, set[str]]:
        """Folder of xml files -> the stems of their names."""
        found: dict[str, set[str]] = {}
        for file in self.files:
            found.setdefault(posixpath.dirname(file), set()).add(PurePosixPath(file).stem)
        return found

    def picture(self, file: str) -> str | None:
        """The picture of an xml file: of the same name, the nearest; else the one that it names as <filename>.

        One that belongs to another split, or to another VOC folder beside its own, is none.
        """
        root = self.read(file)
        listed = "" if isinstance(root, str) else child(root, "filename")
        stems = [posixpath.splitext(one)[0] for one in spellings(posixpath.basename(file)) + _ends(listed)]
        for stem in dict.fromkeys(stems):
            if found := [path for path in self.pictures.get(stem, ()) if self._may_belong(file, path)]:
                return max(found, key=lambda path: (*_nearness(file, path), posixpath.basename(path) in _ends(listed)))
        return None

    def _may_belong(self, file: str, path: str) -> bool:
        split, other = (find_split(f"{posixpath.dirname(one)}/_") for one in (file, path))
        homes = {posixpath.dirname(folder) for folder in self.stems} - {posixpath.dirname(posixpath.dirname(file)), ""}
        return not (split and other and split[0] != other[0]) and not any(path.startswith(f"{h}/") for h in homes)


def child(element: ElementTree.Element, path: str) -> str:
    """The text of an element below, without blanks around it; "" for none. Capital letters in the tags are accepted."""
    text = element.findtext(path)
    if text is None:
        for step in path.split("/"):
            found = next((one for one in element if str(one.tag).lower() == step), None)
            if found is None:
                return ""
            element = found
        text = element.text
    return (text or "").strip()


def _ends(name: str) -> list[str]:
    return [posixpath.basename(one) for one in spellings(name)] if name else []


def _nearness(file: str, path: str) -> tuple[int, bool]:
    """How many folders the paths have in common at the beginning and the end; whether the picture's is a usual one."""
    a, b = file.split("/")[:-1], path.split("/")[:-1]
    common = common_start(a, b) + common_start(a[::-1], b[::-1])
    return common, "JPEGImages" in b or "images" in [folder.lower() for folder in b]
