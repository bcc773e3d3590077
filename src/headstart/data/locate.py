"""Which picture of the folder an annotation means, however its name was written on another machine."""

from __future__ import annotations

import os
import posixpath
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from urllib.parse import unquote

from headstart.data.raw import find_split, is_file, plural
from headstart.data.tree import Tree, first_of

USUAL = ("images", "jpegimages", "image", "imgs", "img", "data", "default")
"""Names of folders of pictures: preferred where the same pictures lie in several folders."""


class Pictures:
    """The pictures of a tree by their names, and by the ends of their paths.

    guessed  listed name -> path, where only the end of the path fitted
    outside  paths that were accepted although they lie outside the folder
    """

    def __init__(self, tree: Tree):
        self.tree = tree
        self.guessed: dict[str, str] = {}
        self.outside: list[str] = []
        self._known = frozenset(tree.pictures)
        self._irregular = frozenset(tree.irregular)

    def find(self, name: str, near: Sequence[str], split: str = "") -> str | None:
        """The path of the picture that is meant; None if there is none, or several equally good ones.

        near   folders, relative to the root, in which it is looked for first, the best first
        split  what a picture found elsewhere may not contradict: one in a folder of another split is not taken
        Names may have Windows separators, be percent-encoded, URLs, or absolute paths of another machine.
        """
        if near and (path := f"{near[0]}/{name}" if near[0] else name) in self._known:
            return path
        names = spellings(name)
        for spelled in names:
            for folder in near:
                path = posixpath.normpath(posixpath.join(folder, spelled))
                if path in self._known:
                    return path
                if (path.startswith(("../", "/"))) and (found := self._elsewhere(path)):
                    return found
        for spelled in names:
            if path := self._by_tail(spelled, near, split):
                self.guessed[name] = path
                return path
        return None

    def is_irregular(self, path: str) -> bool:
        """Whether a pipe or a device lies there."""
        return path in self._irregular

    def base(self, names: Sequence[str], split: str, beside: str) -> str | None:
        """The folder in which most of a few of the listed files lie by their names; None where no name fits any.

        beside  the folder of the annotations: preferred among equals, as are folders that name the split
        """
        votes: Counter[str] = Counter()
        for name in names[:: max(1, len(names) // 50)]:
            found = {folder for spelled in spellings(name) for folder in self._bases(spelled)}
            votes.update(found)

        def rank(folder: str) -> tuple[bool, int, bool, bool, bool, int, str]:
            said = find_split(f"{folder}/_")
            own, other = bool(said and said[0] == split), bool(said and split in ("train", "val", "test"))
            usual = posixpath.basename(folder).lower() in USUAL
            return other and not own, -votes[folder], not own, folder != beside, not usual, folder.count("/"), folder

        return min(votes, key=rank, default=None)

    def note(self, source: str) -> list[str]:
        """What to tell about names that were not found where they should be."""
        lines = []
        if self.guessed:
            name, path = next(iter(self.guessed.items()))
            lines.append(
                f"{source}: {plural(len(self.guessed), 'image')} found by the path's end, such as {path} for {name}."
            )
        if self.outside:
            lines.append(f"{source} names images outside {self.tree.root}, which are used: {first_of(self.outside)}.")
        return lines

    def _elsewhere(self, path: str) -> str | None:
        """A file outside the folder, or inside it by an absolute path."""
        whole = self.tree.root / path
        if not is_file(whole):
            return None
        inside = os.path.relpath(os.path.realpath(whole), os.path.realpath(self.tree.root)).replace(os.sep, "/")
        if inside in self._known:
            return inside
        self.outside.append(path)
        return path

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        """Plain file name, and its stem for names without a suffix -> the paths."""
        found: dict[str, list[str]] = defaultdict(list)
        for path in self.tree.pictures:
            plain = _plain(posixpath.basename(path))
            found[plain].append(path)
            found[posixpath.splitext(plain)[0]].append(path)
        return found

    def _bases(self, name: str) -> Iterable[str]:
        """The folders below which the whole name leads to a picture."""
        end = _plain(posixpath.normpath(name)).lstrip("/")
        for path in self._by_name.get(posixpath.basename(end), ()):
            plain = _plain(path)
            if f"/{plain}".endswith(f"/{end}") or f"/{posixpath.splitext(plain)[0]}".endswith(f"/{end}"):
                yield "/".join(path.split("/")[: -1 - end.count("/")])

    def _by_tail(self, name: str, near: Sequence[str], split: str) -> str | None:
        """The picture that has the longest end of the path in common with the name."""
        parts = _plain(name).split("/")
        best: dict[str, int] = {}
        for path in self._by_name.get(parts[-1], ()):
            said = find_split(posixpath.dirname(path) + "/_")
            listed = find_split(posixpath.dirname(name) + "/_")
            if said and said[0] not in ((listed or ("",))[0], split) and (split in ("train", "val", "test") or listed):
                continue
            folders = _plain(path).split("/")[:-1]
            best[path] = 2 * common_start(folders[::-1], parts[-2::-1]) + (posixpath.dirname(path) in near)
        top = [path for path, score in best.items() if score == max(best.values())]
        return top[0] if len(top) == 1 else None


def spellings(name: str) -> list[str]:
    """The name, and what it may stand for: with `/` for `\\`, without percent-encoding, the path of a URL."""
    found = [name]
    if "\\" in name:
        found.append(name.replace("\\", "/"))
    if "://" in name:
        found += [one.split("://", 1)[1].split("?")[0].split("#")[0] for one in found]
    if "%" in name:
        found += [unquote(one, errors="surrogateescape") for one in found]
    # C:\photos\a.jpg is an absolute path.
    return list(dict.fromkeys(one[2:] if one[1:3] == ":/" else one for one in found))


def common_start(first: Sequence[str], second: Sequence[str]) -> int:
    """How many entries two lists have in common before they differ."""
    same = [one == other for one, other in zip(first, second)]
    return same.index(False) if False in same else len(same)


def _plain(path: str) -> str:
    """The path in lower case and composed characters: macOS decomposes the names that others compose."""
    return path.lower() if path.isascii() else unicodedata.normalize("NFC", path).casefold()
