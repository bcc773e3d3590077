"""Data loaders whose batches depend on (seed, epoch, image) only: not on workers, processes or interruptions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from headstart.data.batch import collate
from headstart.data.dataset import DetectionDataset, Sample
from headstart.data.sampler import EachOnceBatchSampler, GroupedBatchSampler, Key
from headstart.data.transforms import Transform
from headstart.errors import UserError
from headstart.structures import ImageBatch, Targets

Batch = tuple[ImageBatch, list[Targets]]
"""Images (B, 3, H, W) with their sizes, and the annotations of each."""


class TransformedSamples(Dataset):
    """Samples by key (epoch, index), transformed with random numbers seeded by (seed, epoch, index)."""

    def __init__(self, dataset: DetectionDataset, transform: Transform, seed: int = 0) -> None:
        self.dataset, self.transform, self.seed = dataset, transform, seed

    def __getitem__(self, index: Key) -> Sample | UserError:
        epoch, number = index
        try:
            sample = self.dataset[number]
        except UserError as error:
            # Raised inside a worker it would reach the user wrapped in a traceback; the loader raises it instead.
            return error
        before = torch.get_rng_state()
        # Only the CPU generator: torch.manual_seed would also reset those of the accelerators.
        torch.default_generator.manual_seed(mix_seed(self.seed, epoch, number))
        try:
            return self.transform(sample)
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
) -> Loader:
    """Shuffled, grouped, augmented batches of process `rank` of `world`.

    batch_size  images per batch of one process
    workers     processes that read images; 0 reads in this one
    `loader.batch_sampler` is a `GroupedBatchSampler`, which chooses the epoch and where in it to begin.
    """
    sampler = GroupedBatchSampler(dataset.sizes, batch_size, seed=seed, rank=rank, world=world)
    return _loader(TransformedSamples(dataset, transform, seed), sampler, workers)


def val_loader(
    dataset: DetectionDataset,
    transform: Transform,
    *,
    batch_size: int,
    workers: int = 0,
    rank: int = 0,
    world: int = 1,
) -> Loader:
    """Every image exactly once over all processes, in a fixed order; the last batch may be smaller."""
    sampler = EachOnceBatchSampler(dataset.sizes, batch_size, rank=rank, world=world)
    return _loader(TransformedSamples(dataset, transform), sampler, workers)


def mix_seed(*numbers: int) -> int:
    """One 63-bit seed from several non-negative integers, well spread."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def _collate(samples: list[Sample | UserError]) -> Batch | UserError:
    failed = next((sample for sample in samples if isinstance(sample, UserError)), None)
    return failed or collate([sample for sample in samples if isinstance(sample, Sample)])


def _loader(dataset: TransformedSamples, sampler: GroupedBatchSampler | EachOnceBatchSampler, workers: int) -> Loader:
    return Loader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=_collate,
        persistent_workers=workers > 0,
    )
