"""Which images go into which batch: grouped by aspect ratio, shared among processes, resumable anywhere."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from headstart.errors import UserError

Key = tuple[int, int]
"""(epoch, index): what a batch asks the data set for; the epoch makes the augmentation differ from epoch to epoch."""


class GroupedBatchSampler:
    """Batches of `batch_size` keys (epoch, index), landscape and portrait images apart, for process `rank` of `world`.

    The order of an epoch depends on (seed, epoch) only. All processes together take world * batch_size images of
    one orientation at a time, each its own slice. What remains of both orientations is mixed at the end, and the last
    round is filled up with the first images of the same epoch: every image is seen at least once per epoch, every
    process has the same number of batches, and all batches are full. Raises UserError for a batch (of all processes)
    that is larger than the data.

    sizes  (N, 2) height, width
    mixed  in so many epochs from the first on landscape and portrait images are not kept apart
    len()  batches of a whole epoch, also when an epoch is begun in its middle
    """

    def __init__(
        self, sizes: np.ndarray, batch_size: int, *, seed: int = 0, rank: int = 0, world: int = 1, mixed: float = 0
    ) -> None:
        if batch_size < 1:
            raise UserError(f"the batch size must be at least 1, found {batch_size}.")
        if seed < 0:
            raise UserError(f"the seed must be at least 0, found {seed}.")
        if not len(sizes):
            raise UserError("the training data holds no image.")
        if batch_size * world > len(sizes):
            raise UserError(
                f"a batch of {batch_size * world} images is more than the {len(sizes)} training images that there are; "
                f"use a batch of {len(sizes)} or fewer (--batch)."
            )
        self.portrait = np.asarray(sizes)[:, 0] > np.asarray(sizes)[:, 1]
        self.batch_size, self.seed, self.rank, self.world, self.mixed = batch_size, seed, rank, world, mixed
        self.epoch = 0
        self.first = 0

    def __len__(self) -> int:
        return -(-len(self.portrait) // (self.batch_size * self.world))

    def set_epoch(self, epoch: int) -> None:
        """The epoch of the next pass. Setting the same epoch again keeps the position given to `start`."""
        if epoch != self.epoch:
            self.epoch, self.first = epoch, 0

    def start(self, epoch: int, batch: int) -> None:
        """Lets the next pass begin with batch number `batch` of `epoch`; the passes after it begin at 0 again.

        A resumed run calls this with the number of batches it has already trained on in that epoch.
        """
        if not 0 <= batch <= len(self):
            raise UserError(f"epoch {epoch} has {len(self)} batches, so none can be resumed after batch {batch}.")
        self.epoch, self.first = epoch, batch

    def __iter__(self) -> Iterator[list[Key]]:
        epoch, first, self.first = self.epoch, self.first, 0
        for batch in self.rounds(epoch)[first:, self.rank]:
            yield [(epoch, index) for index in batch.tolist()]

    def rounds(self, epoch: int) -> np.ndarray:
        """The image numbers of a whole epoch, (len(self), world, batch_size) int64."""
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(len(self.portrait))
        together = self.batch_size * self.world
        portrait = self.portrait & (epoch >= self.mixed)
        whole, rest = [], []
        for wanted in (False, True):
            group = order[portrait[order] == wanted]
            cut = len(group) - len(group) % together
            whole.append(group[:cut].reshape(-1, together))
            rest.append(group[cut:])
        rounds = np.concatenate(whole)
        rounds = rounds[rng.permutation(len(rounds))]
        left = np.concatenate(rest)
        tail = np.concatenate([left, np.resize(order, -len(left) % together)]).reshape(-1, together)
        return np.concatenate([rounds, tail]).reshape(-1, self.world, self.batch_size)


class PartlyLabelledBatchSampler(GroupedBatchSampler):
    """Batches of which a fixed number of images have no labels: `extra` of those that all processes take together.

    An epoch is a pass over the labelled images, and their order is that of a `GroupedBatchSampler` whose batches lack
    the others. The unlabelled images go on from epoch to epoch in an endless sequence of passes, each in an order of
    its own: how often two of them have been seen differs by one at most, however many there are. Within an epoch they
    go into the batches of their orientation as far as there are any. Indices of unlabelled images follow those of the
    labelled ones. They are spread evenly over the batch, and so over the processes.

    sizes, unlabelled  (N, 2) and (U, 2) height, width;  batch_size, rank, world, mixed  as of the base class
    """

    def __init__(
        self,
        sizes: np.ndarray,
        unlabelled: np.ndarray,
        batch_size: int,
        extra: int,
        *,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        mixed: float = 0,
    ) -> None:
        together = batch_size * world
        super().__init__(sizes, together - extra, seed=seed, mixed=mixed)
        self.rank, self.processes, self.extra = rank, world, extra
        self.unlabelled = np.asarray(unlabelled)[:, 0] > np.asarray(unlabelled)[:, 1]
        steps = np.arange(together + 1) * extra // together
        self.places = np.diff(steps) > 0

    def rounds(self, epoch: int) -> np.ndarray:
        """The image numbers of a whole epoch, (len(self), world, batch_size) int64."""
        own = super().rounds(epoch)[:, 0]
        rounds = np.empty((len(own), len(self.places)), np.int64)
        rounds[:, ~self.places] = own
        rounds[:, self.places] = len(self.portrait) + self._deal(epoch, own)
        return rounds.reshape(len(own), self.processes, -1)

    def _deal(self, epoch: int, own: np.ndarray) -> np.ndarray:
        """The numbers of the unlabelled images in each round, (len(self), extra), where `own` are the labelled ones."""
        count, needed = len(self.unlabelled), len(own) * self.extra
        begin = epoch * needed
        passes = range(begin // count, (begin + needed - 1) // count + 1)
        orders = [np.random.default_rng([self.seed, number, 1]).permutation(count) for number in passes]
        sequence = np.concatenate(orders)[begin - passes[0] * count :][:needed]
        grouped = epoch >= self.mixed
        upright = (self.portrait & grouped)[own].mean(1)  # 0 or 1, but for the rounds that mix both
        wanted, shapes = np.repeat(upright, self.extra), (self.unlabelled & grouped)[sequence].astype(float)
        dealt, left, open_places = np.empty(needed, np.int64), [], np.ones(needed, bool)
        for shape in (0.0, 1.0):
            places, images = np.flatnonzero(wanted == shape), sequence[shapes == shape]
            fitting = min(len(places), len(images))
            dealt[places[:fitting]], open_places[places[:fitting]] = images[:fitting], False
            left.append(images[fitting:])
        dealt[open_places] = np.concatenate(left)
        return dealt.reshape(len(own), self.extra)


class EachOnceBatchSampler:
    """Validation batches in a fixed order, landscape images first; over all processes every image exactly once."""

    def __init__(self, sizes: np.ndarray, batch_size: int, *, rank: int = 0, world: int = 1) -> None:
        if batch_size < 1:
            raise UserError(f"the batch size must be at least 1, found {batch_size}.")
        order = np.argsort(sizes[:, 0] > sizes[:, 1], kind="stable")
        self.indices = order[rank::world].tolist()
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.indices) // self.batch_size)

    def __iter__(self) -> Iterator[list[Key]]:
        for first in range(0, len(self.indices), self.batch_size):
            yield [(0, index) for index in self.indices[first : first + self.batch_size]]
