"""Runs a detector over a loader and scores what it finds."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, cast

import torch
from torch import nn

from headstart.detectors.detector import Detector
from headstart.evaluation.metrics import Metrics
from headstart.structures import Detections, ImageBatch, Targets

if TYPE_CHECKING:
    from headstart.teachers.own_size import AtOwnSize

Progress = Callable[[int, int | None], None]
"""Called after each batch with the batches done and their number, None where that is not known."""


class Scorer(Protocol):
    """What `evaluate` asks of a scorer; CocoScorer and VocScorer are two."""

    def reset(self) -> None:
        """Forgets everything that was collected."""
        ...

    def update(self, batch: ImageBatch, detections: list[Detections]) -> None:
        """Adds the detections of one batch, in pixels of its padded input."""
        ...

    def compute(self) -> Metrics:
        """The numbers over everything that was collected; on every process the same."""
        ...


def evaluate(
    detector: Detector | AtOwnSize,
    loader: Iterable[tuple[ImageBatch, list[Targets]]],
    scorers: Scorer | Sequence[Scorer],
    *,
    device: torch.device | str = "cpu",
    autocast: torch.dtype | None = None,
    progress: Progress | None = None,
    translate: Callable[[Detections], Detections] | None = None,
) -> Metrics:
    """The scorers' numbers in one dictionary, `per_class` entries joined class by class.

    detector  it is moved to `device`, and every module of it is back in its own mode afterwards
    loader    yields (ImageBatch, targets); under torch.distributed each process has its own share
    autocast  the dtype to compute in, None for that of the weights
    progress  called after each batch with the batches done and their number (None if the loader has no length)
    translate what is done to the detections of each image before they are scored: other labels, for instance

    Raises ValueError if two scorers give the same name different values.
    """
    scorers = list(scorers) if isinstance(scorers, Sequence) else [scorers]
    for scorer in scorers:
        scorer.reset()
    device = torch.device(device)
    total = len(loader) if isinstance(loader, Sized) else None
    mixed = torch.autocast(device.type, dtype=autocast, enabled=autocast is not None)
    # no_grad, because anchors cached in inference mode could not be used for training afterwards.
    with evaluating(detector.to(device)), torch.no_grad(), mixed:
        for done, (batch, _) in enumerate(loader, start=1):
            detections = detector.detect(batch.to(device))
            if translate is not None:
                detections = [translate(found) for found in detections]
            for scorer in scorers:
                scorer.update(batch, detections)
            if progress is not None:
                progress(done, total)
    return cast(Metrics, join_results([scorer.compute() for scorer in scorers]))


@contextmanager
def evaluating(module: nn.Module) -> Generator[None, None, None]:
    """Evaluation mode inside; outside, every submodule has the mode it had, frozen ones stay frozen."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def join_results(results: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """Dictionaries of numbers as one, nested ones joined the same way.

    Raises ValueError if two give the same name different values.
    """
    joined: dict[str, object] = {}
    for result in results:
        for name, value in result.items():
            before = joined.setdefault(name, value)
            if isinstance(value, dict) and isinstance(before, dict):
                joined[name] = join_results([before, value])
            elif before != value:
                raise ValueError(f"two scorers give {name!r} different values, {before} and {value}")
    return joined
