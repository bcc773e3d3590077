"""The batches of a whole run, from any step on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from headstart.structures import ImageBatch, Targets

Batch = tuple[ImageBatch, list[Targets]]


class Startable(Protocol):
    """A batch sampler whose next pass can begin anywhere: its order depends only on seed and epoch."""

    def __len__(self) -> int: ...
    def start(self, epoch: int, batch: int) -> None:
        """The next pass begins with batch number `batch` of epoch number `epoch`, both from 0."""
        ...


class BatchLoader(Protocol):
    """A loader over such a sampler: one pass yields the batches of the rest of an epoch."""

    @property
    def batch_sampler(self) -> Startable: ...

    def __iter__(self) -> Iterator[Batch]: ...


class ResumableBatches:
    """Yields the batches of steps `start` to `total` of a run as one pass, however many epochs that is.

    The epoch and the place in it follow from the step alone, so a resumed run continues with the very batch that
    the broken one would have seen next, and a run of a fixed number of steps may end inside an epoch.
    """

    def __init__(self, loader: BatchLoader, total: int, start: int = 0) -> None:
        self.loader = loader
        self.sampler = loader.batch_sampler
        self.total = total
        self.start = start

    @property
    def per_epoch(self) -> int:
        """Batches of a whole epoch."""
        return len(self.sampler)

    def __len__(self) -> int:
        return self.total - self.start

    def __iter__(self) -> Iterator[Batch]:
        step = self.start
        while step < self.total:
            epoch, place = divmod(step, self.per_epoch)
            self.sampler.start(epoch, place)
            for batch in self.loader:
                yield batch
                step += 1
                if step == self.total:
                    return
