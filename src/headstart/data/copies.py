"""Which pictures are copies of one another: files of the same bytes, and Roboflow's versions of one picture."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from pathlib import Path, PurePath

import numpy as np

TAIL = 4096
"""So many bytes at the end of a file are compared before whole files are read. The beginning says less: it is the
same in all pictures of one camera."""

ROBOFLOW = re.compile(r"^(.+)\.rf\.[0-9A-Za-z_-]{8,}$")
"""The name without its ending that Roboflow gives to a version of a picture: `NAME_jpg.rf.HASH`."""

Groups = list[list[int]]
"""Positions of files that belong together, at least two each."""


def same_bytes(files: Sequence[Path]) -> Groups:
    """The files that hold the same bytes.

    Only files of equal size are opened, of these only the ends are read, and only files with equal ends as a whole.
    A file that cannot be read is like no other.
    """
    groups = [list(range(len(files)))]
    for key in (_size, _tail, _digest):
        groups = [finer for group in groups for finer in _divide(group, [key(files[place]) for place in group])]
    return groups


def same_digests(digests: np.ndarray) -> Groups:
    """The files of the same checksum (N,), where the bytes were read before; 0 stands for one that is not known."""
    return list(_divide(list(range(len(digests))), [digest or None for digest in digests.tolist()]))


def same_source(files: Sequence[PurePath]) -> Groups:
    """The files that are versions of one picture by the names that Roboflow gives them, in whatever folders."""
    return list(_divide(list(range(len(files))), [roboflow_name(file) for file in files]))


def roboflow_name(file: PurePath) -> str | None:
    """The name of the picture that this one is a version of, None for a file that Roboflow did not name."""
    found = ROBOFLOW.match(file.stem)
    return found[1] if found else None


def join_groups(count: int, groups: Iterable[Sequence[int]]) -> np.ndarray:
    """(count,) int64: for each position the least one that it hangs together with through any of the groups."""
    first = list(range(count))

    def root(number: int) -> int:
        while first[number] != number:
            first[number] = first[first[number]]
            number = first[number]
        return number

    for group in groups:
        for other in group[1:]:
            one, two = root(group[0]), root(other)
            first[max(one, two)] = min(one, two)
    return np.array([root(number) for number in range(count)], np.int64)


def _divide(group: Sequence[int], keys: Iterable[Hashable | None]) -> Iterator[list[int]]:
    """The positions of a group by their keys; None is like no other."""
    found: dict[Hashable, list[int]] = defaultdict(list)
    for position, key in zip(group, keys):
        if key is not None:
            found[key].append(position)
    yield from (finer for finer in found.values() if len(finer) > 1)


def _size(file: Path) -> int | None:
    """Bytes of the file; None if it is empty or cannot be asked."""
    try:
        return file.stat().st_size or None
    except (OSError, ValueError):
        return None


def _tail(file: Path) -> bytes | None:
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - TAIL))
            return stream.read()
    except OSError:
        return None


def _digest(file: Path) -> bytes | None:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "blake2b").digest()
    except OSError:
        return None
