"""Whether a data set is still the one that a run began with, wherever it lies now; and if not, what has changed."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from headstart.data.dataset import DetectionDataset
from headstart.errors import beginning

MOST = 2**30
"""Bytes of all names together."""

SHOWN = 3
"""Names of images in a sentence."""


class Fingerprint(TypedDict):
    """Of N images; some twenty bytes each, in tensors because last.ckpt keeps it.

    names        (bytes) uint8: the files' names inside the data set, compressed
    annotations  (N,) int64: a hash of each image's id, size, boxes, labels and which of them are ignored
    files        (N,) int64: a hash of each file's bytes (`DetectionDataset.digests`)
    """

    names: Tensor
    annotations: Tensor
    files: Tensor


def fingerprint(dataset: DetectionDataset) -> Fingerprint:
    """What the data set is made of, without where it lies."""
    packed = zlib.compress(b"\0".join(name.encode("utf-8", "surrogateescape") for name in _names(dataset)))
    heads = np.column_stack([np.array(dataset.ids, np.int64), dataset.sizes])
    hashes = [_hash(head, *dataset.annotations(index)) for index, head in enumerate(heads)]
    return {
        "names": torch.frombuffer(bytearray(packed), dtype=torch.uint8),
        "annotations": torch.tensor(hashes, dtype=torch.int64),
        "files": torch.from_numpy(dataset.digests.view(np.int64).copy()),
    }


def compare(saved: Fingerprint, dataset: DetectionDataset) -> list[str]:
    """What is different in the data set now, a few words each, with how many images and the first names; or nothing.

    The images are compared by their names.
    """
    found = fingerprint(dataset)
    before, now = _rows(saved), _rows(found)
    both = [name for name in now if name in before]
    other = [name for name in both if saved["annotations"][before[name]] != found["annotations"][now[name]]]
    pixels = [name for name in both if saved["files"][before[name]] != found["files"][now[name]]]
    told = [
        _tell("removed", [name for name in before if name not in now]),
        _tell("added", [name for name in now if name not in before]),
        _tell("with other boxes, labels, size or id", other),
        _tell("whose file is another one", pixels),
    ]
    changes = [words for words in told if words]
    return changes or ([] if list(before) == list(now) else ["the images stand in another order"])


def _hash(head: np.ndarray, boxes: np.ndarray, labels: np.ndarray, ignored: np.ndarray) -> int:
    """Of one image; `head` is its id, height and width."""
    found = hashlib.blake2b(np.ascontiguousarray(head, np.int64).tobytes(), digest_size=8)
    for values in (boxes.astype(np.float32), labels.astype(np.int64), ignored.astype(bool)):
        found.update(values.tobytes())
    return int.from_bytes(found.digest(), "little", signed=True)


def _names(dataset: DetectionDataset) -> list[str]:
    """The files' names relative to the data set's folder; of files elsewhere relative to what these have in common."""
    files = [dataset.file(index) for index in range(len(dataset))]
    inside = [file.is_relative_to(dataset.path) for file in files]
    outside = [file.absolute().parent for file, within in zip(files, inside) if not within]
    common = os.path.commonpath(outside) if outside else ""
    return [
        file.relative_to(dataset.path).as_posix() if within else Path(os.path.relpath(file, common)).as_posix()
        for file, within in zip(files, inside)
    ]


def _rows(of: Fingerprint) -> dict[str, int]:
    """Name -> its row; a name that is there several times has a number."""
    packed = of["names"].numpy().tobytes()
    joined = zlib.decompressobj().decompress(packed, MOST).decode("utf-8", "surrogateescape")
    seen: Counter[str] = Counter()
    rows: dict[str, int] = {}
    for row, name in enumerate(joined.split("\0")):
        seen[name] += 1
        rows[name if seen[name] == 1 else f"{name} ({seen[name]})"] = row
    return rows


def _tell(what: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    more = ", ..." if len(names) > SHOWN else ""
    shown = ", ".join(beginning(name) for name in names[:SHOWN])
    return f"{len(names)} image{'s' if len(names) > 1 else ''} {what} ({shown}{more})"
