"""Runs a detector over a loader and scores what it finds."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import nn

from headstart.structures import Detections, ImageBatch


class Scorer(Protocol):
    """What `evaluate` asks of a scorer; CocoScorer and VocScorer are two."""

    def reset(self) -> None: ...
    def update(self, batch: ImageBatch, detections: list[Detections]) -> None: ...
    def compute(self) -> dict: ...


def evaluate(
    detector: Any,
    loader: Iterable,
    scorers: Scorer | Sequence[Scorer],
    *,
    device: torch.device | str = "cpu",
    autocast: torch.dtype | None = None,
    progress: Callable[[int, int | None], None] | None = None,
    translate: Callable[[Detections], Detections] | None = None,
) -> dict:
    """The scorers' numbers in one dictionary, `per_class` entries joined class by class.

    detector  a Detector; it is moved to `device`, and every module of it is back in its own mode afterwards
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
    total = len(loader) if hasattr(loader, "__len__") else None  # ty: ignore[invalid-argument-type]
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
    return join_results([scorer.compute() for scorer in scorers])


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


def join_results(results: list[dict]) -> dict:
    """Dictionaries of numbers as one, nested ones joined the same way."""
    joined: dict = {}
    for result in results:
        for name, value in result.items():
            if name not in joined:
                joined[name] = value
            elif isinstance(value, dict) and isinstance(joined[name], dict):
                joined[name] = join_results([joined[name], value])
            elif joined[name] != value:
                raise ValueError(f"two scorers give {name!r} different values, {joined[name]} and {value}")
    return joined
