"""Data loaders whose batches depend on (seed, epoch, image) only: not on workers, processes or interruptions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from headstart.data.batch import collate
from headstart.data.dataset import DetectionDataset, Sample
from headstart.data.mosaic import Mixing
from headstart.data.sampler import EachOnceBatchSampler, GroupedBatchSampler, Key, PartlyLabelledBatchSampler
from headstart.data.transforms import Transform
from headstart.errors import UserError
from headstart.structures import ImageBatch, Targets

Batch = tuple[ImageBatch, list[Targets]]
"""Images (B, 3, H, W) with their sizes, and the annotations of each."""


class TransformedSamples(Dataset):
    """Samples by key (epoch, index), transformed with random numbers seeded by (seed, epoch, index).

    `mixing` makes the samples of its epochs, `transform` those of the others. Indices from the length of `dataset` on
    are those of `unlabelled`; images are mixed with images of their own data set only.
    """

    def __init__(
        self,
        dataset: DetectionDataset,
        transform: Transform,
        seed: int = 0,
        mixing: Mixing | None = None,
        unlabelled: DetectionDataset | None = None,
    ) -> None:
        self.dataset, self.transform, self.seed, self.mixing = dataset, transform, seed, mixing
        self.unlabelled = unlabelled

    def __getitem__(self, index: Key) -> Sample | UserError:
        epoch, number = index
        source, place = self.dataset, number
        if self.unlabelled is not None and number >= len(source):
            source, place = self.unlabelled, number - len(source)
        before = torch.get_rng_state()
        # Only the CPU generator: torch.manual_seed would also reset those of the accelerators.
        torch.default_generator.manual_seed(mix_seed(self.seed, epoch, number))
        try:
            if self.mixing is not None and epoch < self.mixing.epochs:
                return self.mixing(source, place)
            return self.transform(source[place])
        except UserError as error:
            # Raised inside a worker it would reach the user wrapped in a traceback; the loader raises it instead.
            return error
        finally:
            torch.set_rng_state(before)


class Loader(DataLoader):
    """A DataLoader of `Batch` that raises the UserError of a bad image without the traceback of a worker."""

    def __iter__(self) -> Iterator[Batch]:  # ty: ignore[incompatible-method-override]
        for batch in super().__iter__():
            if isinstance(batch, UserError):
                raise batch
            yield batch


def train_loader(
    dataset: DetectionDataset,
    transform: Transform,
    *,
    batch_size: int,
    seed: int = 0,
    workers: int = 0,
    rank: int = 0,
    world: int = 1,
    mixing: Mixing | None = None,
    square: int | None = None,
    unlabelled: DetectionDataset | None = None,
    extra: int = 0,
) -> Loader:
    """Shuffled, grouped, augmented batches of process `rank` of `world`.

    batch_size  images per batch of one process
    workers     processes that read images; 0 reads in this one
    mixing      makes the images of the first epochs of several; landscape and portrait are not kept apart there
    square      side in pixels of the square that all batches are padded to, a multiple of 32; nor are they then
    unlabelled  images without labels; `extra` of them are in each batch of all processes together
    `loader.batch_sampler` is a `GroupedBatchSampler`, which chooses the epoch and where in it to begin.
    """
    mixed = math.inf if square is not None else 0 if mixing is None else mixing.epochs
    if unlabelled is None:
        sampler = GroupedBatchSampler(dataset.sizes, batch_size, seed=seed, rank=rank, world=world, mixed=mixed)
    else:
        sizes = dataset.sizes, unlabelled.sizes
        sampler = PartlyLabelledBatchSampler(*sizes, batch_size, extra, seed=seed, rank=rank, world=world, mixed=mixed)
    return _loader(TransformedSamples(dataset, transform, seed, mixing, unlabelled), sampler, workers, square)


def val_loader(
    dataset: DetectionDataset,
    transform: Transform,
    *,
    batch_size: int,
    workers: int = 0,
    rank: int = 0,
    world: int = 1,
    square: int | None = None,
) -> Loader:
    """Every image exactly once over all processes, in a fixed order; the last batch may be smaller.

    square  side in pixels of the square that all batches are padded to, a multiple of 32
    """
    sampler = EachOnceBatchSampler(dataset.sizes, batch_size, rank=rank, world=world)
    return _loader(TransformedSamples(dataset, transform), sampler, workers, square)


def mix_seed(*numbers: int) -> int:
    """One 63-bit seed from several non-negative integers, well spread."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def _collate(samples: list[Sample | UserError], square: int | None) -> Batch | UserError:
    failed = next((sample for sample in samples if isinstance(sample, UserError)), None)
    return failed or collate([sample for sample in samples if isinstance(sample, Sample)], square)


def _loader(
    dataset: TransformedSamples,
    sampler: GroupedBatchSampler | EachOnceBatchSampler,
    workers: int,
    square: int | None,
) -> Loader:
    return Loader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=partial(_collate, square=square),
        persistent_workers=workers > 0,
    )
