"""Makes the training and the validation split of a folder that has no validation split."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from headstart.data.copies import join_groups, same_bytes, same_source
from headstart.data.problems import Problems
from headstart.data.raw import ALL, SPLITS, Layout, RawIndex, plural
from headstart.errors import UserError, did_you_mean

EMPTY = -1
"""Stands for a class in images without any box, so that these are shared out like those of a class."""

Counts = dict[int, int]
"""class -> in how many images it occurs."""


@dataclass(frozen=True)
class MadeSplit:
    """What was made of a folder: how many images train and validate, and what was kept together.

    share, seed  as they were asked for
    groups       how many groups of copies there are, each on one side;  copies: the images in them
    """

    share: float
    seed: int
    train: int
    val: int
    groups: int
    copies: int

    def sentence(self) -> str:
        """What to tell the user."""
        text = f"split {self.share:g} (seed {self.seed}): {self.train} images train, {self.val} validate"
        if self.groups:
            kept = "group of copies stays" if self.groups == 1 else "groups of copies stay"
            text += f"; {self.groups} {kept} on one side ({self.copies} images)"
        return f"{text}."


@dataclass(frozen=True)
class Divided:
    """All images of a folder, what is wrong with their annotations, which of them validate (N,) bool, and a summary."""

    raw: RawIndex
    problems: Problems
    validates: np.ndarray
    made: MadeSplit


class Whole:
    """A folder's only split on its way to two: read and divided once, when the first of them is asked for.

    name: what messages call the folder
    """

    def __init__(
        self, read: Callable[[Problems], RawIndex], root: Path, name: str, share: float, seed: int = 0
    ) -> None:
        self.read, self.root, self.name = read, root, name
        self.share, self.seed = share, seed

    @cached_property
    def divided(self) -> Divided:
        """The images and their sides. Raises UserError if a side is empty, and what the reader raises."""
        problems = Problems()
        raw = self.read(problems)
        names = [Path(image.file).as_posix() for image in raw.images]
        files = [self.root / image.file for image in raw.images]
        groups = join_groups(len(files), [*same_bytes(files), *same_source(files)])
        labels = [{box[4] for box in image.boxes} for image in raw.images]
        validates = choose_validation(labels, groups, names, self.share, self.seed)
        if validates.all() or not validates.any():
            count = f"{len(files)} images, which belong together" if len(files) > 1 else f"{len(files)} image"
            raise UserError(f"--split {self.share:g} would leave a side empty: {self.name} has {count}; add images.")
        sizes = np.unique(groups, return_counts=True)[1]
        made = MadeSplit(
            self.share,
            self.seed,
            train=int((~validates).sum()),
            val=int(validates.sum()),
            groups=int((sizes > 1).sum()),
            copies=int(sizes[sizes > 1].sum()),
        )
        return Divided(raw, problems, validates, made)

    def part(self, validates: bool, problems: Problems) -> RawIndex:
        """The images of one side; problems that name an image of the other side are left out."""
        divided = self.divided
        raw, own = divided.raw, divided.validates == validates
        others = {image.file for image, here in zip(raw.images, own) if not here}
        for problem in divided.problems:
            if problem.file not in others:
                problems.add(problem.file, problem.reason, problem.dropped)
        problems.notes += divided.problems.notes
        return RawIndex(raw.classes, [image for image, here in zip(raw.images, own) if here], raw.normalised)


def divide_layout(layout: Layout, root: Path, share: float, seed: int = 0) -> tuple[Layout, Whole]:
    """The layout with the splits "train" and "val" in place of the only one that it has, "all" or "train".

    Nothing is read before a split is. Raises UserError for a share that is none, and for a folder that has a validation
    split or nothing to divide.
    """
    demand_share(share)
    name = f"{root} ({layout.kind})"
    if "val" in layout.splits:
        raise UserError(
            f"{name} has a validation split, so --split {share:g} is not needed: leave it out; "
            "--val-split says which split on the disk validates."
        )
    source = next((split for split in (ALL, "train") if split in layout.splits), None)
    if source is None:
        raise UserError(f"{name} has no training images to divide, only {' and '.join(layout.splits)}.")
    whole = Whole(layout.splits[source], root, name, share, seed)
    rest = {split: read for split, read in layout.splits.items() if split != source}
    splits = {"train": partial(whole.part, False), "val": partial(whole.part, True)}
    return replace(layout, splits=splits | rest), whole


def choose_validation(
    labels: Sequence[Collection[int]], groups: np.ndarray, names: Sequence[str], share: float, seed: int = 0
) -> np.ndarray:
    """Which images validate, (N,) bool: about `share` of them, and of the images of each class.

    labels  the classes in each image;  groups: (N,) int, images of one number stay together
    names   what the choice depends on besides the seed: neither the order of the images nor the machine matters

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas, 2011): the class with the fewest images left is shared
    out first, each group to the side that lacks most of it. Where a class has two groups or more, one of them is
    wanted on each side, and in the end moved there if no other class loses its last by that.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for position, group in enumerate(groups.tolist()):
        members[group].append(position)
    units = [_Unit(own, _counts(own, labels), _lot(seed, own, names)) for own in members.values()]
    holders: dict[int, list[_Unit]] = defaultdict(list)
    for unit in units:
        for label in unit.counts:
            holders[label].append(unit)
    wanted = [dict.fromkeys(holders, 0.0), dict.fromkeys(holders, 0.0)]
    for label, own in holders.items():
        total = sum(unit.counts[label] for unit in own)
        val = min(max(share * total, 1.0), total - 1.0) if len(own) > 1 else share * total
        wanted[0][label], wanted[1][label] = total - val, val
    room = [(1 - share) * len(labels), share * len(labels)]
    _share_out(holders, wanted, room)
    _mend(holders)
    chosen = np.zeros(len(labels), bool)
    for unit in units:
        chosen[unit.members] = bool(unit.side)
    return chosen


def demand_share(share: float) -> None:
    """Raises UserError unless 0 < share < 1."""
    if not 0 < share < 1:
        raise UserError(f"split: the share of the images that validate, between 0 and 1 such as 0.2, found {share:g}.")


def read_split(text: str | float) -> tuple[str, float | None]:
    """The name of a split and the share: `test` -> ("test", None), `0.2` -> ("val", 0.2).

    Raises UserError for what is neither.
    """
    try:
        share = float(text)
    except ValueError:
        return split_name(str(text)), None
    demand_share(share)
    return "val", share


def split_name(text: str) -> str:
    """train, val, test or all, also for their other names (valid, validation ...). Raises UserError for others."""
    for split, names in (*SPLITS.items(), (ALL, (ALL,))):
        if text in names:
            return split
    known = [*SPLITS, ALL]
    near = did_you_mean(text, known, quoted=True, otherwise="")
    raise UserError(f"split must be {' or '.join(known)}, found {text!r}{near}")


def splits_of_run(name: str, layout: Layout, val_split: str | None, evaluates: bool) -> tuple[str, str | None]:
    """Which split of the folder trains, and which validates: `val_split`, or "val"; None unless the run `evaluates`.

    name  what messages call the folder
    Raises UserError, with what can be done, if one of them is missing.
    """
    if ALL in layout.splits:
        if evaluates:
            raise missing_split(name, layout, "val")
        return ALL, None
    if not evaluates:
        return "train", None
    val = split_name(val_split or "val")
    if val not in layout.splits and val_split is None and {"train", "test"} <= layout.splits.keys():
        raise UserError(
            f"{name} has no validation split, only train and test: --val-split test validates on the test images, "
            "--split 0.2 lets a fifth of the training images validate."
        )
    return "train", val


def missing_split(name: str, layout: Layout, split: str) -> UserError:
    """The error that says what there is instead, and what can be done. `name` is what messages call the folder."""
    if ALL in layout.splits:
        raw = layout.splits[ALL](Problems())
        boxes = sum(len(image.boxes) for image in raw.images)
        return UserError(
            f"{name} is not divided into training and validation images: found {plural(len(raw.images), 'image')} with "
            f"{plural(boxes, 'box', 'boxes')} in one piece; divide them with --split 0.2 (a fifth for validation), or "
            f"add the splits yourself ({layout.remedy})."
        )
    there = "only " + " and ".join(layout.splits) if layout.splits else "nor any other"
    sentence = f"{name} has no {split} split, {there}; add it ({layout.remedy})"
    if split == "val" and "train" in layout.splits:
        sentence += ", or let a fifth of the training images validate: --split 0.2"
    return UserError(f"{sentence}.")


def checksum(names: Iterable[str]) -> str:
    """16 hexadecimal digits that stand for a set of names, whatever their order."""
    text = "\n".join(sorted(names))
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


@dataclass
class _Unit:
    """Images that stay together: their positions, in how many of them each class is, their lot, and their side.

    side: 0 trains, 1 validates, None is not decided
    """

    members: list[int]
    counts: Counts
    lot: bytes
    side: int | None = None


def _counts(members: Sequence[int], labels: Sequence[Collection[int]]) -> Counts:
    counts: Counts = defaultdict(int)
    for position in members:
        for label in set(labels[position]) or {EMPTY}:
            counts[label] += 1
    return dict(counts)


def _lot(seed: int, members: Sequence[int], names: Sequence[str]) -> bytes:
    """Bytes to order by, in place of random numbers: the same on every machine and with every version of numpy."""
    first = min(names[position] for position in members)
    return hashlib.blake2b(f"{seed}/{first}".encode("utf-8", "surrogateescape"), digest_size=16).digest()


def _share_out(holders: Mapping[int, list[_Unit]], wanted: list[dict[int, float]], room: list[float]) -> None:
    """Decides the side of every unit; `wanted` and `room` are what each side still lacks of each class and in all."""
    left = {label: sum(unit.counts[label] for unit in own) for label, own in holders.items()}
    while left:
        label = min(left, key=lambda one: (left[one], one))
        # Large groups first: what is small can still make up for them.
        for unit in sorted(holders[label], key=lambda one: (-len(one.members), one.lot)):
            if unit.side is not None:
                continue
            lack = [(wanted[side][label], room[side]) for side in (0, 1)]
            unit.side = int(lack[1] > lack[0])
            room[unit.side] -= len(unit.members)
            for other, count in unit.counts.items():
                wanted[unit.side][other] -= count
                if other in left:
                    left[other] -= count
        del left[label]


def _mend(holders: Mapping[int, list[_Unit]]) -> None:
    """Moves a unit of a class that is on one side only to the other, if every class of it stays where it was, too."""
    units = {label: [sum(unit.side == side for unit in own) for side in (0, 1)] for label, own in holders.items()}
    for label in sorted(holders, key=lambda one: (len(holders[one]), one)):
        if len(holders[label]) < 2 or min(units[label]) > 0:
            continue
        full = int(units[label][1] > 0)
        for unit in sorted(holders[label], key=lambda one: (len(one.members), one.lot)):
            if all(units[other][full] > 1 for other in unit.counts):
                unit.side = 1 - full
                for other in unit.counts:
                    units[other][full] -= 1
                    units[other][1 - full] += 1
                break
