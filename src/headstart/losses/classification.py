"""Losses of classes on logits: sums, the caller divides by its one normaliser."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction, FunctionCtx, once_differentiable
from torch.nn import functional


def focal(logits: Tensor, labels: Tensor, weight: Tensor, *, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Sum of the sigmoid focal loss (arXiv:1708.02002), not normalised.

    logits (N, K); labels (N,) in 0..K, K being background; weight (N,) per row. Returns a scalar.
    """
    return _Focal.apply(logits, labels, weight, alpha, gamma)


class _Focal(torch.autograd.Function):
    """Loss and gradient from one look at the logits: autograd would take more than twice as long.

    Every entry is taken as background first and the few entries of objects are corrected: no one-hot tensor is made.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, logits: Tensor, labels: Tensor, weight: Tensor, alpha: float, gamma: float) -> Tensor:
        rows = (labels < logits.shape[1]).nonzero().flatten()
        columns, own = labels[rows], weight[rows]
        hit = logits[rows, columns]
        chance, effort = logits.sigmoid(), functional.softplus(logits)
        found, scarce = 1 - chance[rows, columns], functional.softplus(-hit)
        scale = chance.pow(gamma).mul_(weight[:, None] * (1 - alpha))
        background = scale * effort
        correction = alpha * found.pow(gamma) * scarce * own - background[rows, columns]
        # d/dx of p^gamma softplus(x), with p = sigmoid(x), is p^gamma (gamma (1 - p) softplus(x) + p)
        gradient = effort.mul_(1 - chance).mul_(gamma).add_(chance).mul_(scale)
        gradient[rows, columns] = -alpha * found.pow(gamma) * (gamma * (1 - found) * scarce + found) * own
        ctx.save_for_backward(gradient)
        return background.sum() + correction.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: BackwardCFunction, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * grads[0], None, None, None, None


def quality_focal(
    logits: Tensor, labels: Tensor, weight: Tensor, rows: Tensor, quality: Tensor, *, beta: float = 2.0
) -> Tensor:
    """Sum of the quality focal loss (arXiv:2006.04388): an object's score is to be the quality of its box.

    logits (N, K); labels (N,) in 0..K, K being background; weight (N,) per row; `rows` (P,) are those of the objects
    and quality (P,) in 0..1 is theirs, without a gradient. Every entry's binary cross-entropy with its goal (0 but for
    an object's own class) is weighted by |goal - probability|^beta. Returns a scalar.
    """
    hit = logits[rows, labels[rows]]
    effort = functional.binary_cross_entropy_with_logits(hit, quality, reduction="none")
    objects = ((quality - hit.sigmoid()).abs().pow(beta) * effort * weight[rows]).sum()
    # The other entries are the focal loss without its objects.
    return objects + focal(logits, labels, weight, alpha=0.0, gamma=beta)


def bce_with_logits(logits: Tensor, goal: Tensor, weight: Tensor | None = None) -> Tensor:
    """Sum of binary cross-entropy on logits: a scalar. `goal` (0..1) and `weight` have the shape of the logits."""
    return functional.binary_cross_entropy_with_logits(logits, goal, weight, reduction="sum")


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Sum of cross-entropy over rows: logits (N, K+1), labels (N,) in 0..K."""
    if not len(labels):
        return logits.sum() * 0
    return functional.cross_entropy(logits, labels, reduction="sum")
