"""The files below a folder of data, found in one walk."""

from __future__ import annotations

import os
import posixpath
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from headstart.data.images import SUFFIXES
from headstart.data.raw import ALL, SPLITS, find_split, plural
from headstart.errors import UserError

MOST = 5_000_000
"""Most files and folders; with more, the folder is hardly one data set but a whole disk."""

ALIKE = 100
"""With more files of a kind in one folder, they are taken to be alike: one for each image."""

DATA = (
    *(".csv", ".tsv", ".xlsx", ".mat", ".npy", ".npz", ".pkl", ".h5", ".hdf5", ".tfrecord", ".record", ".parquet"),
    *(".zip", ".tar", ".gz", ".rar", ".7z", ".heic", ".avif", ".dng", ".mp4", ".avi", ".mov", ".jsonl", ".ndjson"),
)
"""Suffixes of files that are not read, but look like data: they are counted."""


@dataclass
class Tree:
    """Paths are relative to the root, with `/`, in the order of their parts.

    pictures   image files
    files      suffix in lower case -> the other files that are not hidden
    hidden     hidden files and folders (`._a.jpg` of macOS, `__MACOSX`, `.cache`) that are, or hold, images
    irregular  pipes and devices
    closed     folders that may not be listed
    """

    root: Path
    pictures: list[str] = field(default_factory=list)
    files: dict[str, list[str]] = field(default_factory=dict)
    hidden: list[str] = field(default_factory=list)
    irregular: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)

    def with_suffix(self, *suffixes: str) -> list[str]:
        """The files with one of the suffixes."""
        return [file for suffix in suffixes for file in self.files.get(suffix, [])]

    def notes(self) -> tuple[str, ...]:
        """What was passed over, a sentence for each kind."""
        others = Counter({suffix: len(self.files[suffix]) for suffix in DATA if suffix in self.files})
        counts = ", ".join(plural(count, f"{suffix} file") for suffix, count in others.most_common())
        lines = [f"passed over, as it is in no format that is read: {counts}."] if others else []
        for one, many, paths in (
            ("hidden file or folder with images", "hidden files or folders with images", self.hidden),
            ("pipe or device", "pipes or devices", self.irregular),
            ("folder that may not be opened", "folders that may not be opened", self.closed),
        ):
            if paths:
                lines.append(f"passed over {plural(len(paths), one, many)}: {first_of(paths)}.")
        return tuple(lines)


def first_of(paths: list[str]) -> str:
    """The first path and how many follow."""
    return paths[0] + (f" and {len(paths) - 1:,} more" if len(paths) > 1 else "")


def worth_a_look(paths: list[str]) -> list[str]:
    """The files that have to be looked into to know what is in a folder: of many alike in one folder, some."""
    folders: dict[str, list[str]] = {}
    for path in paths:
        folders.setdefault(posixpath.dirname(path), []).append(path)
    return [
        path for found in folders.values() for path in (found if len(found) <= ALIKE else found[:: len(found) // 20])
    ]


def walk(root: Path) -> Tree:
    """All files below a folder. Linked folders are entered, but none inside itself; hidden ones are passed over.

    Raises UserError for a folder that cannot be listed or holds millions of files.
    """
    tree, count = Tree(root), 0
    todo: list[tuple[str, frozenset[tuple[int, int]], str]] = [("", frozenset(), "")]
    while todo:
        folder, above, hidden = todo.pop()
        try:
            about = (root / folder).stat()
            entries = list(os.scandir(root / folder))
        except OSError as error:
            if not folder:
                raise UserError(f"the data folder {root} cannot be listed: {error.strerror}.") from None
            tree.closed.append(folder)
            continue
        place = (about.st_dev, about.st_ino)
        if place in above:
            continue
        count += len(entries)
        if count > MOST:
            raise UserError(f"{root} holds more than {MOST:,} files; give the folder of the data set alone.")
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            secret = hidden or (path if entry.name.startswith(".") or entry.name == "__MACOSX" else "")
            if _is_folder(entry):
                if entry.name not in (".git", ".venv"):
                    todo.append((path, above | {place}, secret))
            else:
                _sort_in(tree, entry, path, secret)
    return _sorted(tree)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _sort_in(tree: Tree, entry: os.DirEntry[str], path: str, hidden: str) -> None:
    suffix = posixpath.splitext(entry.name)[1].lower()
    if hidden:
        if suffix in SUFFIXES and hidden not in tree.hidden[-1:]:
            tree.hidden.append(hidden)
        return
    try:
        regular = entry.is_file()
        dangling = not regular and entry.is_symlink()
    except OSError:
        regular, dangling = False, True
    if regular or dangling:  # a link to nothing is a missing file: it is named where it is needed
        (tree.pictures if suffix in SUFFIXES else tree.files.setdefault(suffix, [])).append(path)
    else:
        tree.irregular.append(path)


def _sorted(tree: Tree) -> Tree:
    for paths in (tree.pictures, *tree.files.values()):
        paths.sort(key=lambda path: path.split("/"))
    for paths in (tree.hidden, tree.irregular, tree.closed):
        paths[:] = sorted(set(paths))
    return tree


def group_by_split(paths: Iterable[str], what: str) -> tuple[dict[str, tuple[str, list[str]]], list[str]]:
    """Split, or "all" -> the word for it and the paths whose folders name it; and a note on what is passed over.

    what  the paths are, in a word. Beside training folders, those that name no split are left out
    """
    found: dict[str, tuple[str, list[str]]] = {}
    for path in paths:
        split, word = find_split(posixpath.join(posixpath.dirname(path), "_")) or (ALL, ALL)
        found.setdefault(split, (word, []))[1].append(path)
    notes = []
    if ALL in found and "train" in found:
        others = found.pop(ALL)[1]
        notes.append(f"{plural(len(others), what)} in folders of no split passed over: {first_of(others)}.")
    return {split: found[split] for split in (*SPLITS, ALL) if split in found}, notes
