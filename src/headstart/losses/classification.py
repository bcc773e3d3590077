"""Focal loss on logits."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def focal(logits: Tensor, labels: Tensor, weight: Tensor, *, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Sum of the sigmoid focal loss (arXiv:1708.02002), not normalised.

    logits (N, K); labels (N,) in 0..K, K being background; weight (N,) per row. Returns a scalar.
    Every entry is taken as background first and the few entries of objects are corrected: no one-hot tensor is made.
    """
    probability = logits.sigmoid()
    background = (1 - alpha) * probability.pow(gamma) * functional.softplus(logits)
    total = (background.sum(dim=1) * weight).sum()
    rows = (labels < logits.shape[1]).nonzero().flatten()
    columns = labels[rows]
    hit, chance = logits[rows, columns], probability[rows, columns]
    found = alpha * (1 - chance).pow(gamma) * functional.softplus(-hit)
    return total + ((found - background[rows, columns]) * weight[rows]).sum()


def binary(logits: Tensor, goal: Tensor, weight: Tensor | None = None) -> Tensor:
    """Sum of binary cross-entropy on logits, each entry times `weight`; all of one shape."""
    return functional.binary_cross_entropy_with_logits(logits, goal, weight, reduction="sum")


def softmax_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Sum of cross-entropy over rows: logits (N, K+1), labels (N,) in 0..K."""
    if not len(labels):
        return logits.sum() * 0
    return functional.cross_entropy(logits, labels, reduction="sum")
