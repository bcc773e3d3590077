"""What teachers said, kept on disk: whose it is, how much it will be, and from when on it is used."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch

from headstart.config import Run, TeacherChoice
from headstart.data.remembered import cache_folder
from headstart.detectors.detector import Detector
from headstart.engine.display import Print
from headstart.engine.identity import describe_detector
from headstart.engine.precision import Precision
from headstart.engine.strategy import choose_device
from headstart.teachers import Frozen, OwnSize, Store
from headstart.teachers.stored import Stored, folder_of, stored

LIMIT = 20.0
"""GB that a cache may hold where nothing is said."""

FORMAT = 1
"""Raised when what is stored changes its meaning."""


def make_store(
    run: Run,
    choice: TeacherChoice,
    model: Detector,
    weights: str,
    precision: Precision,
    own: OwnSize | None,
    say: Print,
) -> Store | None:
    """Where the answers of this teacher are kept, if they are to be.

    weights  a checksum of the frozen model's weights, as it computes with them

    The name of its folder stands for all that its answers depend on besides the view: weights, how it is built and fed,
    its size, number format, memory layout, the kind of device and the version of torch.
    """
    if not choice.cache:
        return None
    folder = cache_folder() / "teachers" if choice.cache is True else Path(choice.cache).expanduser()
    device = choose_device(run.train.device).type
    facts = [FORMAT, weights, describe_detector(model), str(model), own, precision, device, str(torch.__version__)]
    name = hashlib.blake2b(repr(facts).encode("utf-8", "backslashreplace"), digest_size=12).hexdigest()
    limit = LIMIT if choice.cache_limit is None else choice.cache_limit
    return Store(folder, name, int(limit * 1e9), say)


def say_sizes(run: Run, teachers: Sequence[Frozen], images: int, say: Print) -> None:
    """How much the teachers' caches will hold, from what the methods asked of them for the first batches."""
    for teacher in stored(teachers):
        views = images * run.data.views
        whole = views * sum(teacher.sizes.values())
        ways = " in 2 views (as they are, and mirrored)" if run.data.views == 2 else ""
        what = ", ".join(f"{name} {size / 1e6:.3g} MB" for name, size in teacher.sizes.items()) or "nothing"
        limit = teacher.store.limit
        rest = "" if whole <= limit else f"; no more than {100 * limit / whole:.0f} % of it will be kept"
        padded = "" if run.data.square else ", for each size that batches are padded to (data.square: true has one)"
        say(
            f"Cache of the {teacher.title} in {folder_of(teacher)}: of an image {what}; for {images} images{ways} "
            f"about {whole / 1e9:.3g} GB{padded}, of at most {limit / 1e9:g} GB (teacher.cache_limit){rest}."
        )


def open_stores(teachers: Sequence[Frozen], say: Print) -> None:
    """From here on the caches are read and written. Says what is in them."""
    for teacher in stored(teachers):
        used = teacher.open()
        if used:
            say(f"There are {used / 1e9:.3g} GB in {teacher.store.folder} already.")


def make_frozen(
    model: Detector, class_map: dict[str, str | None], name: str, own: OwnSize | None, store: Store | None
) -> Frozen:
    """The teacher, with a cache or without."""
    if store is None:
        return Frozen(model, class_map, name=name, own=own)
    return Stored(model, class_map, store=store, name=name, own=own)
